#pragma once

// What travels between the coordinator and its gangs and clients. Every message is one msgpack map
// {v: version, type: name, id: request id, body: fields}; resending any of them is safe.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "common/clock.h"
#include "common/ids.h"
#include "common/result.h"
#include "common/wire.h"

namespace hivq {

inline constexpr int wire_version = 2;
inline constexpr int oldest_wire_version = 2;  // that this program still understands; 1 knew no packs

// ---- A trial's stream: what a gang reports under one lease, in order, numbered from 1. EndItem or YieldItem ends it.
// ----

/// Metrics of one step of the optimiser; step 0 is the untrained model.
struct MetricsItem {
  static constexpr const char* type = "metrics";
  int64_t step = 0;
  std::map<std::string, double> values;
  HIVQ_FIELDS(step, values)
};
/// A line of the trial's log.
struct LogItem {
  static constexpr const char* type = "log";
  std::string text;
  HIVQ_FIELDS(text)
};
/// Part of a checkpoint, at most `chunk_bytes` long; named by the SHA-256 of its bytes.
struct ChunkItem {
  static constexpr const char* type = "chunk";
  std::string hash;
  std::string bytes;
  HIVQ_FIELDS(hash, bytes)
};
/// A checkpoint is whole: its chunks, in order, have all gone before.
struct CheckpointItem {
  static constexpr const char* type = "checkpoint";
  int64_t step = 0;
  uint64_t size = 0;
  std::vector<std::string> chunks;
  HIVQ_FIELDS(step, size, chunks)
};
/// A test image of the trial's last evaluation, and what the model made of it. Another one of the same number takes its
/// place. PNGs of 8 bits, `most_picture_side` pixels a side and `most_picture_bytes` at most.
struct PictureItem {
  static constexpr const char* type = "picture";
  uint64_t number = 0;  // its place among the trial's pictures, below most_pictures
  int64_t step = 0;     // of the model
  std::string name;     // what the data set calls the image
  std::string class_name;
  bool anomalous = false;
  double score = 0;
  std::string image;
  std::string truth;                 // grey, white where it is defective; empty: not known, or nothing is
  std::string map;                   // grey, from map_low (black) to map_high (white) …
  double map_low = 0, map_high = 1;  // … the ends of the maps of all test images
  HIVQ_FIELDS(number, step, name, class_name, anomalous, score, image, truth, map, map_low, map_high)
};
/// The trial has ended.
struct EndItem {
  static constexpr const char* type = "end";
  bool failed = false;
  std::string reason;                   // of a failure
  std::map<std::string, double> final;  // the last evaluation's metrics
  HIVQ_FIELDS(failed, reason, final)
};
/// The gang gives the trial back, as Yield asked: whatever it did under the lease is in the last checkpoint.
struct YieldItem {
  static constexpr const char* type = "yield";
  uint64_t unused = 0;
  HIVQ_FIELDS(unused)
};
using Item = std::variant<MetricsItem, LogItem, ChunkItem, CheckpointItem, EndItem, YieldItem, PictureItem>;

inline constexpr size_t chunk_bytes = 4 << 20;
inline constexpr uint64_t most_pictures = 64;     // of a trial
inline constexpr size_t most_picture_name = 300;  // bytes of its name, and of its class's
inline constexpr uint32_t most_picture_side = 256;
inline constexpr size_t most_picture_bytes = 256 << 10;  // more than such a PNG takes, whatever is on it
inline constexpr uint64_t most_figures = 8;              // of a trial
inline constexpr size_t most_figure_bytes = 4 << 20;

/// The manifest of a checkpoint: which chunks make up its bytes.
struct Manifest {
  int64_t step = 0;
  uint64_t size = 0;
  std::vector<std::string> chunks;  // SHA-256, in order
  HIVQ_FIELDS(step, size, chunks)
};

// ---- Gang to coordinator ----

/// The first message of a gang, and its answer to HelloAgain.
struct Hello {
  static constexpr const char* type = "hello";
  std::string gang;
  std::string host;
  std::string devices;  // "2 CPU ranks", "8 × NVIDIA H100"
  std::string launch;   // which launch of the coordinator started it; empty: started by hand
  std::string program;  // version of the worker
  uint64_t ranks = 0;
  uint64_t pid = 0;    // of rank 0
  uint64_t epoch = 0;  // of the newest lease that it has seen: a coordinator with a new store gives newer ones
  std::map<std::string, std::string> labels = {};  // pool: a100
  HIVQ_FIELDS(gang, host, devices, launch, program, ranks, pid, epoch, labels)
};
/// How far a trial has come.
struct Progress {
  Lease lease;
  int64_t step = 0;         // of the optimiser
  int64_t total_steps = 0;  // of the whole trial; 0: not known yet
  std::string phase;        // "features 120/1500", "training"
  HIVQ_FIELDS(lease, step, total_steps, phase)
};
/// Once a second: the gang lives, and these are the leases that it believes in.
struct Heartbeat {
  static constexpr const char* type = "heartbeat";
  std::string gang;
  std::vector<Progress> trials;
  HIVQ_FIELDS(gang, trials)
};
/// Consecutive items of a lease's stream; the first has number `first`.
struct Report {
  static constexpr const char* type = "report";
  std::string gang;
  Lease lease;
  uint64_t first = 1;
  std::vector<std::string> items;  // packed, see pack_item
  HIVQ_FIELDS(gang, lease, first, items)
};
struct FetchChunk {
  static constexpr const char* type = "fetch_chunk";
  std::string hash;
  HIVQ_FIELDS(hash)
};
/// The gang is going: its rank 0 ends in order.
struct Goodbye {
  static constexpr const char* type = "goodbye";
  std::string gang;
  std::string reason;
  HIVQ_FIELDS(gang, reason)
};

// ---- Coordinator to gang ----

/// The coordinator does not know the gang (any more): it shall say Hello.
struct HelloAgain {
  static constexpr const char* type = "hello_again";
  uint64_t unused = 0;
  HIVQ_FIELDS(unused)
};
struct Welcome {
  static constexpr const char* type = "welcome";
  std::string coordinator;  // version
  uint64_t credit = 0;      // as in Heard
  bool pictures = false;    // it takes PictureItems, which older ones do not know
  HIVQ_FIELDS(coordinator, credit, pictures)
};
/// The answer to a heartbeat: the coordinator lives.
struct Heard {
  static constexpr const char* type = "heard";
  uint64_t credit = 0;  // bytes that the gang may have on their way at once; one item always. 0: as it likes
  HIVQ_FIELDS(credit)
};
/// One trial of a pack.
struct Part {
  Lease lease;
  std::string spec;     // resolved, YAML
  Manifest checkpoint;  // to start from; without chunks: untrained
  bool warm = false;    // the checkpoint is another trial's: its model and codebooks, from step 0
  HIVQ_FIELDS(lease, spec, checkpoint, warm)
};
/// Leases: run these trials side by side. Packs of a gang follow each other: a newer one ends the one before.
struct Assign {
  static constexpr const char* type = "assign";
  std::vector<Part> parts;  // their leases have one epoch
  HIVQ_FIELDS(parts)
};
/// The gang shall give the pack with this epoch back: stop at the next step, report a checkpoint of it and YieldItem.
struct Yield {
  static constexpr const char* type = "yield";
  uint64_t epoch = 0;
  HIVQ_FIELDS(epoch)
};
/// Everything of the lease's stream up to and including `last` is on disk.
struct Ack {
  static constexpr const char* type = "ack";
  Lease lease;
  uint64_t last = 0;
  HIVQ_FIELDS(lease, last)
};
/// The lease is not valid (any more): the gang drops the trial.
struct Refused {
  static constexpr const char* type = "refused";
  Lease lease;
  std::string reason;
  HIVQ_FIELDS(lease, reason)
};
struct Chunk {
  static constexpr const char* type = "chunk";
  std::string hash;
  std::string bytes;
  std::string error;  // not empty: the coordinator cannot give it
  HIVQ_FIELDS(hash, bytes, error)
};
/// The gang shall end: the coordinator has no use for it.
struct Leave {
  static constexpr const char* type = "leave";
  std::string reason;
  HIVQ_FIELDS(reason)
};

// ---- Client to coordinator; each has one answer, or Failed ----

/// A new job. `key` makes a resent submission the same submission.
struct Submit {
  static constexpr const char* type = "submit";
  std::string key;
  std::string file;       // its name, for errors
  std::string yaml;       // resolved: overrides applied, defaults written out
  std::string user = {};  // whose share it is
  HIVQ_FIELDS(key, file, yaml, user)
};
/// What the job of a specification would take, without submitting it.
struct EstimateJob {
  static constexpr const char* type = "estimate_job";
  std::string file, yaml, user;
  HIVQ_FIELDS(file, yaml, user)
};
/// Why a job, or the trials of it that wait, have no gang.
struct ExplainJob {
  static constexpr const char* type = "explain_job";
  JobId job = 0;
  HIVQ_FIELDS(job)
};
/// No new trials for a gang or a host, or again. `key` makes a resent one, however late it arrives, the same one.
struct SetDrained {
  static constexpr const char* type = "set_drained";
  std::string key;
  std::string target;  // a gang, by its name or how that begins, or host:NAME
  bool drained = true;
  bool to_the_end = false;  // trials that run there run to their end, instead of being given back
  HIVQ_FIELDS(key, target, drained, to_the_end)
};
struct Cancel {
  static constexpr const char* type = "cancel";
  JobId job = 0;
  HIVQ_FIELDS(job)
};
/// Holds a job's trials, or lets them go on. `key` makes a resent one, however late it arrives, the same one.
struct SetPaused {
  static constexpr const char* type = "set_paused";
  std::string key;
  JobId job = 0;
  bool paused = true;
  HIVQ_FIELDS(key, job, paused)
};
/// Another priority for a job: what waits goes first or last by it, what runs may be taken away by it. `key` as above.
struct SetPriority {
  static constexpr const char* type = "set_priority";
  std::string key;
  JobId job = 0;
  int64_t priority = 0;
  HIVQ_FIELDS(key, job, priority)
};
struct ListJobs {
  static constexpr const char* type = "list_jobs";
  uint64_t unused = 0;
  HIVQ_FIELDS(unused)
};
struct ShowJob {
  static constexpr const char* type = "show_job";
  JobId job = 0;
  HIVQ_FIELDS(job)
};
/// Points of every metric of a trial whose name starts with `prefix`.
struct QueryMetrics {
  static constexpr const char* type = "query_metrics";
  TrialId trial;
  std::string prefix;
  uint64_t newest = 0;  // so many of each metric's last points; 0: all
  uint64_t most = 0;    // and of these so many at most, the ends and extremes of equal spans of steps; 0: all
  HIVQ_FIELDS(trial, prefix, newest, most)
};
struct QueryLogs {
  static constexpr const char* type = "query_logs";
  TrialId trial;
  uint64_t after = 0;  // so many lines are known already: for following
  HIVQ_FIELDS(trial, after)
};
/// A checkpoint of a trial; its chunks are then asked for with FetchChunk, and stay while they are.
struct FetchCheckpoint {
  static constexpr const char* type = "fetch_checkpoint";
  TrialId trial;
  int64_t step = -1;  // -1: the newest
  HIVQ_FIELDS(trial, step)
};
/// A checkpoint stays whatever its job's retention says, or does not any more. Asking again changes nothing.
struct Pin {
  static constexpr const char* type = "pin";
  TrialId trial;
  int64_t step = -1;  // -1: the newest
  bool pinned = true;
  HIVQ_FIELDS(trial, step, pinned)
};
/// The pictures and figures of a trial, without their bytes.
struct ListPictures {
  static constexpr const char* type = "list_pictures";
  TrialId trial;
  HIVQ_FIELDS(trial)
};
/// One PNG of a trial.
struct FetchPicture {
  static constexpr const char* type = "fetch_picture";
  TrialId trial;
  uint64_t number = 0;  // of the picture or figure
  std::string part;     // image, truth or map of a picture; figure
  HIVQ_FIELDS(trial, number, part)
};
/// A figure that was drawn of a trial goes with it, in the place of an older one of the same number. Asking again
/// changes nothing.
struct AttachFigure {
  static constexpr const char* type = "attach_figure";
  TrialId trial;
  uint64_t figure = 0;  // 1: errors by class, 2: images with their maps, as the paper numbers them; up to most_figures
  std::string png;      // most_figure_bytes at most
  HIVQ_FIELDS(trial, figure, png)
};
/// Answered as soon as something of the job has changed after `version`, or when `wait` is over.
struct Watch {
  static constexpr const char* type = "watch";
  JobId job = 0;
  uint64_t version = 0;  // of the last answer; 0: of none, answered at once
  Millis wait = 0;       // at most most_watch
  HIVQ_FIELDS(job, version, wait)
};
inline constexpr Millis most_watch = 30'000;
/// Copies the whole store into a folder of the coordinator's machine, while it goes on.
struct Backup {
  static constexpr const char* type = "backup";
  std::string folder;  // absolute
  uint64_t keep = 0;   // older backups in it are erased, but for so many, this one among them; 0: none is
  HIVQ_FIELDS(folder, keep)
};
struct QueryGangs {
  static constexpr const char* type = "query_gangs";
  uint64_t unused = 0;
  HIVQ_FIELDS(unused)
};

// ---- Studies: a client's own program runs the trials ----

/// The study of this name; its answer is Submitted.
struct FindStudy {
  static constexpr const char* type = "find_study";
  std::string name;
  HIVQ_FIELDS(name)
};
/// A trial to run. `key`: random; asked again with the same one it is the same trial.
struct AskTrial {
  static constexpr const char* type = "ask_trial";
  JobId job = 0;
  std::string key;
  HIVQ_FIELDS(job, key)
};
/// The value of a parameter in the trial. One that the study does not know joins its space.
struct SuggestValue {
  static constexpr const char* type = "suggest_value";
  Lease lease;
  std::string name;
  std::string range;  // YAML: "{uniform: [0, 1]}"
  HIVQ_FIELDS(lease, name, range)
};
/// Points of the trial's curves, whose steps (epochs) rise; of a step that is stored already nothing is changed.
/// Without points: the client lives, and asks whether the trial is to stop.
struct ReportTrial {
  static constexpr const char* type = "report_trial";
  Lease lease;
  std::vector<MetricsItem> points;
  HIVQ_FIELDS(lease, points)
};
/// The trial has ended.
struct EndTrial {
  static constexpr const char* type = "end_trial";
  Lease lease;
  std::string state;  // finished | stopped (early, its metrics are those of the last report) | failed
  std::map<std::string, double> metrics;  // beside those that were reported
  std::string reason;
  HIVQ_FIELDS(lease, state, metrics, reason)
};

/// A value of SQL: NULL, INTEGER, REAL, TEXT; on the wire msgpack's own nil, integer, float and string.
struct SqlValue : std::variant<std::monostate, int64_t, double, std::string> {
  using variant::variant;
  template <typename Packer>
  void msgpack_pack(Packer& packer) const {
    std::visit(
        [&](const auto& value) {
          if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::monostate>) {
            packer.pack_nil();
          } else {
            packer.pack(value);
          }
        },
        static_cast<const variant&>(*this));
  }
  void msgpack_unpack(const msgpack::object& object);
};
using SqlRow = std::vector<SqlValue>;

/// One SELECT over what is stored (coordinator/sql.h), a batch of its answer at a time. `key`: random, the same for all
/// batches of an answer, which are asked for one after the other.
struct QuerySql {
  static constexpr const char* type = "query_sql";
  std::string key;
  std::string question;
  uint64_t batch = 0;  // from 0
  HIVQ_FIELDS(key, question, batch)
};

// ---- Coordinator to client ----

struct AskedTrial {
  static constexpr const char* type = "asked_trial";
  std::string state;   // trial | wait (ask again later) | ended (there are no more)
  std::string reason;  // of the last two
  Lease lease;
  std::map<std::string, std::string> params = {};  // that the search chose for what the study knows by now
  HIVQ_FIELDS(state, reason, lease, params)
};
struct SuggestedValue {
  static constexpr const char* type = "suggested_value";
  std::string value;  // as in TrialView::params
  HIVQ_FIELDS(value)
};
struct TrialReported {
  static constexpr const char* type = "trial_reported";
  bool stop = false;   // the trial shall end, for this reason
  bool ended = false;  // it has, and nothing was stored: cancelled, or its client was silent for too long
  std::string reason;
  HIVQ_FIELDS(stop, ended, reason)
};
struct TrialEnded {
  static constexpr const char* type = "trial_ended";
  std::string state, reason;  // as stored
  HIVQ_FIELDS(state, reason)
};
struct Failed {
  static constexpr const char* type = "failed";
  std::string reason;
  HIVQ_FIELDS(reason)
};
struct Submitted {
  static constexpr const char* type = "submitted";
  JobId job = 0;
  HIVQ_FIELDS(job)
};
struct Cancelled {
  static constexpr const char* type = "cancelled";
  uint64_t trials = 0;  // that had not ended yet; 0: the job had ended before
  HIVQ_FIELDS(trials)
};
/// The job is held, or is not.
struct PausedSet {
  static constexpr const char* type = "paused_set";
  uint64_t running = 0;  // trials that still run; where the job is held, their gangs were asked to give them back
  uint64_t waiting = 0;
  HIVQ_FIELDS(running, waiting)
};
struct PrioritySet {
  static constexpr const char* type = "priority_set";
  int64_t priority = 0;  // that it has now
  HIVQ_FIELDS(priority)
};
struct DrainSet {
  static constexpr const char* type = "drain_set";
  std::string target;    // in full
  uint64_t gangs = 0;    // that it is about, of those that are there
  uint64_t running = 0;  // trials on them
  HIVQ_FIELDS(target, gangs, running)
};
struct Explanation {
  static constexpr const char* type = "explanation";
  std::string text;  // a sentence
  HIVQ_FIELDS(text)
};
struct Estimate {
  static constexpr const char* type = "estimate";
  uint64_t trials = 0;
  double rank_hours = -1;         // of a GPU each, or of a CPU rank; -1: not known
  uint64_t similar = 0;           // stored trials that this is measured from …
  int64_t checkpoint_bytes = -1;  // of all trials' newest; -1: not known
  std::string note;               // what is not known, and why
  HIVQ_FIELDS(trials, rank_hours, similar, checkpoint_bytes, note)
};
struct JobView {
  JobId id = 0;
  std::string name, state, reason;
  Millis submitted = 0, ended = 0;
  uint64_t trials = 0, finished = 0, failed = 0, running = 0, cancelled = 0;
  std::string metric, goal;
  std::string user = {}, project = {};
  int64_t priority = 0;
  uint64_t queued = 0;  // trials that wait for a gang; others are paused, wait for another job, …
  HIVQ_FIELDS(id, name, state, reason, submitted, ended, trials, finished, failed, running, cancelled, metric, goal,
              user, project, priority, queued)
};
struct JobList {
  static constexpr const char* type = "job_list";
  std::vector<JobView> jobs;
  HIVQ_FIELDS(jobs)
};
struct CheckpointView {
  int64_t step = 0;
  uint64_t size = 0;  // bytes
  Millis at = 0;
  std::optional<double> metric;  // the job's, of the last evaluation up to the step
  bool pinned = false;
  HIVQ_FIELDS(step, size, at, metric, pinned)
};
struct TrialView {
  TrialId id;
  std::string state, reason, variant;
  std::map<std::string, std::string> params;
  std::map<std::string, double> initial;  // evaluation of the untrained model
  std::map<std::string, double> final;    // last evaluation
  uint64_t attempts = 0;
  Millis started = 0, ended = 0;
  int64_t step = 0, total_steps = 0;  // progress, where the trial runs
  std::string phase, gang;
  uint64_t beside = 0;                      // other trials that its gang trains side by side with it
  int64_t checkpoint_step = -1;             // of the newest; -1: none stored
  std::vector<CheckpointView> checkpoints;  // that are kept, by step
  HIVQ_FIELDS(id, state, reason, variant, params, initial, final, attempts, started, ended, step, total_steps, phase,
              gang, beside, checkpoint_step, checkpoints)
};
struct JobDetail {
  static constexpr const char* type = "job_detail";
  JobView job;
  std::string yaml;
  std::string waiting;  // why nothing runs, if so
  std::vector<TrialView> trials;
  HIVQ_FIELDS(job, yaml, waiting, trials)
};
struct MetricPoint {
  int64_t step = 0;
  double value = 0;
  HIVQ_FIELDS(step, value)
};
struct MetricSeries {
  static constexpr const char* type = "metric_series";
  std::map<std::string, std::vector<MetricPoint>> series;  // by name, in the order of the steps
  HIVQ_FIELDS(series)
};
struct LogLines {
  static constexpr const char* type = "log_lines";
  std::vector<std::string> lines;
  std::vector<Millis> times;  // when each was stored
  HIVQ_FIELDS(lines, times)
};
struct TrialCheckpoint {
  static constexpr const char* type = "trial_checkpoint";
  Manifest manifest;
  HIVQ_FIELDS(manifest)
};
struct PictureView {
  uint64_t number = 0;
  int64_t step = 0;
  std::string name, class_name;
  bool anomalous = false;
  double score = 0, map_low = 0, map_high = 1;
  uint64_t width = 0, height = 0;  // pixels
  std::string image, truth, map;   // SHA-256 of the PNGs; truth may be empty
  HIVQ_FIELDS(number, step, name, class_name, anomalous, score, map_low, map_high, width, height, image, truth, map)
};
struct FigureView {
  uint64_t figure = 0;
  Millis at = 0;  // when it was attached
  uint64_t width = 0, height = 0;
  std::string hash;  // SHA-256 of the PNG
  HIVQ_FIELDS(figure, at, width, height, hash)
};
struct PictureList {
  static constexpr const char* type = "picture_list";
  std::vector<PictureView> pictures;  // by number
  std::vector<FigureView> figures;
  HIVQ_FIELDS(pictures, figures)
};
struct Picture {
  static constexpr const char* type = "picture";
  std::string hash;  // SHA-256 of …
  std::string png;
  HIVQ_FIELDS(hash, png)
};
struct FigureAttached {
  static constexpr const char* type = "figure_attached";
  uint64_t figure = 0;
  HIVQ_FIELDS(figure)
};
struct Pinned {
  static constexpr const char* type = "pinned";
  int64_t step = 0;
  HIVQ_FIELDS(step)
};
struct Changed {
  static constexpr const char* type = "changed";
  uint64_t version = 0;  // for the next Watch; grows across restarts
  bool changed = false;  // false: the wait is over
  HIVQ_FIELDS(version, changed)
};
struct BackedUp {
  static constexpr const char* type = "backed_up";
  uint64_t number = 0;  // of the backup in its folder
  uint64_t bytes = 0;   // of it, those that it shares with older ones too
  HIVQ_FIELDS(number, bytes)
};
struct GangView {
  std::string id, host, devices, launch, phase;
  uint64_t ranks = 0;
  std::vector<TrialId> trials;  // that it runs side by side
  bool connected = false;
  bool drained = false;
  std::map<std::string, std::string> labels = {};
  HIVQ_FIELDS(id, host, devices, launch, phase, ranks, trials, connected, drained, labels)
};
struct GangList {
  static constexpr const char* type = "gang_list";
  std::vector<GangView> gangs;
  HIVQ_FIELDS(gangs)
};

struct SqlAnswer {
  static constexpr const char* type = "sql_answer";
  uint64_t batch = 0;
  std::vector<std::string> columns;
  std::vector<SqlRow> rows;
  bool end = false;  // there are no more; then without rows
  HIVQ_FIELDS(batch, columns, rows, end)
};

using Body =
    std::variant<Hello, Heartbeat, Report, FetchChunk, Goodbye, HelloAgain, Welcome, Heard, Assign, Yield, Ack, Refused,
                 Chunk, Leave, Submit, EstimateJob, ExplainJob, SetDrained, Cancel, SetPaused, ListJobs, ShowJob,
                 QueryMetrics, QueryLogs, FetchCheckpoint, QueryGangs, QuerySql, Failed, Submitted, Cancelled,
                 PausedSet, DrainSet, Explanation, Estimate, JobList, JobDetail, MetricSeries, LogLines,
                 TrialCheckpoint, GangList, SqlAnswer, Pin, Watch, Backup, Pinned, Changed, BackedUp, ListPictures,
                 FetchPicture, AttachFigure, PictureList, Picture, FigureAttached, SetPriority, PrioritySet, FindStudy,
                 AskTrial, SuggestValue, ReportTrial, EndTrial, AskedTrial, SuggestedValue, TrialReported, TrialEnded>;

struct Message {
  uint64_t id = 0;  // of a request; its answer carries the same
  Body body;
};

std::string encode(const Message& message);
/// Errors: no msgpack, a newer version of the wire, a type that this program does not know.
Result<Message> decode(std::string_view bytes);

std::string pack_item(const Item& item);
Result<Item> unpack_item(std::string_view bytes);

}  // namespace hivq
