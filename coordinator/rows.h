#pragma once

// What the store holds: the column families, their keys and their rows.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/messages.h"

namespace hivq {

/// One column family a kind. The order is that of family_names.
enum class Family {
  jobs,
  trials,
  leases,
  gangs,
  points,       // of metrics: rows of points.h
  checkpoints,  // manifests
  blobs,        // their chunks, by SHA-256
  uses,         // who names a chunk
  garbage,      // chunks that lost a use: when that was
  logs,
  events,
  searchers,
  meta,
  pictures  // and figures
};
inline constexpr const char* family_names[] = {"jobs", "trials",  "leases", "gangs",  "points",    "checkpoints", "blobs",
                                               "uses", "garbage", "logs",   "events", "searchers", "meta",        "pictures"};
inline constexpr size_t family_count = std::size(family_names);

/// One change of the store: a value, or nothing to erase the key.
struct Write {
  Family family;
  std::string key;
  std::optional<std::string> value;
  bool merge = false;  // the value comes into what is there: merge_points(); for points only
  bool once = false;   // written only where the key is not there: its value never changes
};

enum class State { pending, running, finished, failed, cancelled };
inline constexpr const char* state_names[] = {"waiting", "running", "finished", "failed", "cancelled"};
inline const char* to_string(State state) {
  auto index = static_cast<size_t>(state);
  return index < std::size(state_names) ? state_names[index] : "unknown";
}
inline bool ended(State state) { return state >= State::finished; }

/// Written when the job is submitted, is paused or goes on, and when it ends; until then its counts are those of its
/// trials' rows.
struct JobRow {
  JobId id = 0;
  std::string key;  // of the submission
  std::string name, yaml, reason, metric, goal;
  State state = State::pending;
  Millis submitted = 0, ended = 0;
  uint64_t trials = 0, finished = 0, failed = 0, cancelled = 0;
  bool paused = false;
  std::vector<std::string> pause_keys;  // of the last wishes: to pause it, to let it go on, of another priority
  std::string user, project;
  int64_t priority = 0;
  Millis started = 0;  // its first trial
  HIVQ_FIELDS(id, key, name, yaml, reason, metric, goal, state, submitted, ended, trials, finished, failed, cancelled,
              paused, pause_keys, user, project, priority, started)
};

struct TrialRow {
  TrialId id;
  State state = State::pending;
  std::string reason, variant;
  std::map<std::string, std::string> params;
  std::map<std::string, double> initial;  // evaluation of the untrained model
  std::map<std::string, double> final;    // last evaluation …
  int64_t final_step = -1;                // … and its step; -1: not known
  uint64_t attempts = 0;                  // leases, without those that were given back
  uint64_t ranks = 0;                     // that its gang must have; 0: any
  uint64_t fuse = 1;                      // trials that its gang may train side by side
  TrialId start;                          // another trial whose checkpoint it starts from …
  int64_t start_step = -1;                // … of this step; -1: untrained
  Millis started = 0, ended = 0;
  std::string fusion;  // the key of those that it may train side by side with; empty: none, or of schema 1
  Millis not_before = 0;   // it waits until then before it is tried again
  Millis ran = 0;          // under leases that have ended
  double rank_millis = 0;  // of the gangs meanwhile: with others on a gang, its part of them
  bool stopped = false;  // early: its last metrics are those of the evaluation before
  // Where the sweep stops trials early: its evaluations, each at a step and after so many epochs.
  std::vector<int64_t> curve_steps, curve_epochs;
  std::vector<double> curve;
  // Of a study's trial that runs: what the search chose for the space that it knew. `params` are those that it asked for.
  std::map<std::string, std::string> proposed;
  HIVQ_FIELDS(id, state, reason, variant, params, initial, final, final_step, attempts, ranks, fuse, start, start_step,
              started, ended, fusion, not_before, ran, rank_millis, stopped, curve_steps, curve_epochs, curve, proposed)
};

/// Family searchers, by job: the ended trials of earlier sweeps that its searcher learned from at its start.
struct EarlierRow {
  std::vector<TrialRow> trials;
  HIVQ_FIELDS(trials)
};

/// The newest lease of a trial.
struct LeaseRow {
  Lease lease;
  std::string gang;                 // of a study's trial its client: study/KEY
  uint64_t last = 0;                // the last item of its stream that is stored
  bool live = false;                // reports are accepted
  bool done = false;                // its stream came to its end
  std::vector<std::string> staged;  // chunks of a checkpoint that is not whole yet
  Millis at = 0;                    // when it was given
  uint64_t pack = 1;                // trials that were given together …
  uint64_t ranks = 0;               // … to a gang of so many
  HIVQ_FIELDS(lease, gang, last, live, done, staged, at, pack, ranks)
};

/// A checkpoint that is kept.
struct CheckpointRow {
  Manifest manifest;
  Millis at = 0;
  std::optional<double> metric;  // the job's, of the last evaluation up to its step
  bool pinned = false;           // by a user: it stays until it is unpinned
  bool spare = false;            // retention does not ask for it: it goes with its last pin and the last start from it
  HIVQ_FIELDS(manifest, at, metric, pinned, spare)
};

/// A gang of this coordinator's own, started through the launcher.
struct LaunchRow {
  std::string id;
  uint64_t ranks = 0;
  std::string pool = "local";
  std::string handle;  // what its engine calls it, see cluster/launcher.h; empty: not started yet, or not known to be
  Millis at = 0;
  bool useful = false;  // its gang has had a trial, or was asked to end: its end is no failure to start
  std::string gang;     // that spoke for it last
  std::vector<std::string> earlier;  // gangs that spoke for it before: its engine has started it again since
  int64_t pid = 0;                   // of a version that knew only processes: load_launch() makes the handle of these
  uint64_t start_time = 0;
  HIVQ_FIELDS(id, ranks, pool, handle, at, useful, gang, earlier, pid, start_time)
};

/// A gang or a host that gets no new trials.
struct DrainRow {
  std::string target;       // a gang, or host:NAME
  bool to_the_end = false;  // what runs there runs to its end
  HIVQ_FIELDS(target, to_the_end)
};

/// What a project, or a user in it, has used: see Usage in schedule.h.
struct UsageRow {
  std::string project, user;
  bool whole = false;
  double mean = 0;
  Millis at = 0;
  HIVQ_FIELDS(project, user, whole, mean, at)
};

struct EventRow {
  Millis at = 0;
  std::string text;
  HIVQ_FIELDS(at, text)
};

// Family pictures: PictureView and FigureView are the rows of a trial; the bytes lie apart from them.

/// Numbers in keys are big-endian, so that keys sort as numbers do.
inline void append(std::string& key, uint64_t number) {
  for (int shift = 56; shift >= 0; shift -= 8) key.push_back(static_cast<char>(number >> shift & 0xff));
}
inline std::string key_of(uint64_t number) {
  std::string key;
  append(key, number);
  return key;
}
inline uint64_t number_at(std::string_view key, size_t at) {
  uint64_t number = 0;
  for (size_t i = 0; i < 8; ++i) number = number << 8 | static_cast<unsigned char>(key[at + i]);
  return number;
}
inline std::string key_of(const TrialId& trial) {
  std::string key;
  append(key, trial.job);
  append(key, trial.index);
  return key;
}
inline TrialId trial_at(std::string_view key, size_t at = 0) { return {number_at(key, at), number_at(key, at + 8)}; }
/// Of a trial's checkpoint; those of a trial lie side by side, the newest last.
inline std::string checkpoint_key(const TrialId& trial, int64_t step) {
  std::string key = key_of(trial);
  append(key, static_cast<uint64_t>(step));
  return key;
}
inline constexpr int64_t staged_step = -1;  // of a use by a checkpoint that is not whole yet
/// That a checkpoint names a chunk.
inline std::string use_key(const std::string& chunk, const TrialId& trial, int64_t step) {
  return chunk + checkpoint_key(trial, step);
}
inline std::string gang_key(const std::string& id) { return "gang/" + id; }
inline std::string launch_key(const std::string& id) { return "launch/" + id; }
inline std::string drain_key(const std::string& target) { return "drain/" + target; }
inline constexpr const char* drain_keys_key = "drain_keys";  // of the last wishes to drain or not to
inline std::string usage_key(const std::string& project, const std::string& user, bool whole) {
  return "usage/" + project + (whole ? std::string() : '\0' + user);
}
/// A row holds the points of one metric of one trial whose steps lie in one range of so many; the rows of a curve lie
/// side by side in the order of their steps. A later attempt that runs a step again replaces its points: a curve never
/// has a step twice, and no step that was acknowledged disappears.
inline constexpr int64_t steps_of_row = 1024;
inline std::string points_key(const TrialId& trial, std::string_view name, int64_t step) {
  std::string key = key_of(trial);
  key.append(name).push_back('\0');
  append(key, static_cast<uint64_t>(step / steps_of_row));
  return key;
}
/// The metric's name in such a key.
inline std::string_view points_name(std::string_view key) { return key.substr(16, key.size() - 25); }
/// What lies in family pictures under a trial and a number.
enum class PictureKey : char { picture = 'p', map = 'm', figure = 'f', figure_png = 'g' };
/// Of all of a kind; those of one kind lie side by side, in the order of their numbers.
inline std::string picture_keys(const TrialId& trial, PictureKey kind) {
  return key_of(trial) + static_cast<char>(kind);
}
inline std::string picture_key(const TrialId& trial, PictureKey kind, uint64_t number) {
  std::string key = picture_keys(trial, kind);
  append(key, number);
  return key;
}
/// An image or a ground truth, by its SHA-256: one for all trials of a job. No trial has this index.
inline constexpr uint64_t shared_index = ~uint64_t{0};
inline std::string shared_picture_key(JobId job, const std::string& hash) {
  return key_of(TrialId{job, shared_index}) + hash;
}
inline std::string log_key(const Lease& lease, uint64_t number) {
  std::string key = key_of(lease.trial);
  append(key, lease.epoch);
  append(key, number);
  return key;
}

}  // namespace hivq

MSGPACK_ADD_ENUM(hivq::State)
