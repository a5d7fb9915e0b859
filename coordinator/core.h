#pragma once

// The coordinator as a deterministic state machine: an input and the time in, effects out. No clock, socket, thread or file.
//
// The shell commits the effects' writes as one batch and only then lets sends and launches out, so whatever a gang or a
// client hears is on disk. Everything that the core must remember is in the writes: a core made from the store's rows goes
// on where the last one stopped.

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "coordinator/rows.h"
#include "coordinator/schedule.h"
#include "jobs/searcher.h"
#include "jobs/spec.h"

namespace hivq {

struct CoreOptions {
  Millis gang_timeout = 10'000;     // a gang that is silent for so long is lost
  Millis restart_grace = 30'000;    // the same, right after a start: gangs need time to connect again
  Millis launch_timeout = 180'000;  // from mpirun to the gang's Hello
  uint64_t local_gangs = 0;         // that this coordinator may launch itself
  uint64_t local_ranks = 1;         // of a local gang for a trial that does not say
};

// ---- Inputs ----
struct Received {
  std::string identity;  // of the ZeroMQ peer; a gang's is its GangId
  Message message;
};
struct LaunchStarted {
  std::string launch;
  int64_t pid;
  uint64_t start_time;
};
struct LaunchEnded {
  std::string launch;
  std::string reason;  // with the end of its output
};
struct Tick {};
using Input = std::variant<Received, LaunchStarted, LaunchEnded, Tick>;

// ---- Effects ----
struct Send {
  std::string identity;
  Message message;
};
struct Launch {
  std::string launch;
  uint64_t ranks;
};
struct Effects {
  std::vector<Write> writes;
  std::vector<Send> sends;
  std::vector<Launch> launches;
  std::vector<std::string> stops;  // launches to end
  std::vector<std::string> log;    // lines for people
};

/// The rows that a core is made from: all jobs, and of those that have not ended the trials and leases.
struct Snapshot {
  std::vector<JobRow> jobs;
  std::vector<TrialRow> trials;
  std::vector<LeaseRow> leases;
  std::vector<Hello> gangs;
  std::vector<LaunchRow> launches;
  std::map<TrialId, Manifest> checkpoints;  // of every job
  std::set<std::string> blobs;              // hashes of the chunks that are stored
  uint64_t next_event = 1, next_epoch = 1;
};

/// What is known of a gang beyond its Hello; not stored.
struct GangState {
  Hello hello;
  std::optional<Lease> lease;  // ours for it
  bool idle = false;           // it says so
  bool connected = false;      // heard since the start
  Millis heard = 0;
  Heartbeat progress;
};

class Core {
 public:
  /// Effects: the cleaning up of what a crash left behind.
  Core(CoreOptions options, Snapshot snapshot, Millis now, Effects& effects);

  void step(const Input& input, Millis now, Effects& effects);

  const std::map<GangId, GangState>& gangs() const { return gangs_; }
  /// Progress of a trial that runs.
  const GangState* gang_of(const TrialId& trial) const;
  /// Why the trials of a job wait, for people; empty if they do not.
  std::string waiting_reason(JobId job) const;
  bool all_jobs_ended() const { return jobs_.empty(); }

 private:
  struct Trial {
    TrialRow row;
    std::optional<LeaseRow> lease;
    uint64_t ranks = 0;
  };
  struct Job {
    JobRow row;
    JobSpec spec;
    std::unique_ptr<Searcher> searcher;
    std::map<uint64_t, Trial> trials;
  };
  struct Running;  // the input at hand: time and effects

  void on(Running&, const Received&);
  void on(Running&, const LaunchStarted&);
  void on(Running&, const LaunchEnded&);
  void on(Running&, const Tick&);

  void on(Running&, const std::string& peer, const Hello&);
  void on(Running&, const std::string& peer, const Heartbeat&);
  void on(Running&, const std::string& peer, const Report&);
  void on(Running&, const std::string& peer, const Goodbye&);
  void on(Running&, const std::string& peer, const Submit&, uint64_t request);
  void on(Running&, const std::string& peer, const Cancel&, uint64_t request);

  bool apply(Running&, Job&, Trial&, uint64_t number, const Item&);
  void apply_checkpoint(Running&, Trial&, const CheckpointItem&);
  Result<Job> make_job(JobRow row) const;
  uint64_t ranks_of(const Job&, uint64_t index) const;
  Result<TrialSpec> spec_of(const Job&, uint64_t index) const;

  void place(Running&);
  void assign(Running&, Trial&, GangState&);
  void launch_gangs(Running&);
  void give_up_launching(Running&, const std::string& reason);
  void lose_gang(Running&, const GangId&, const std::string& reason);
  void lose_lease(Running&, Trial&, const std::string& reason);
  void end_trial(Running&, Job&, Trial&, State, const std::string& reason);
  void drop_staged(Running&, LeaseRow&);
  void release(Running&, const std::string& chunk);

  Job* job(JobId id);
  Trial* trial(const TrialId& id);
  void put(Running&, const JobRow&);
  void put(Running&, const TrialRow&);
  void put(Running&, const LeaseRow&);
  void event(Running&, std::string text);

  CoreOptions options_;
  std::map<JobId, Job> jobs_;  // that have not ended
  std::map<std::string, JobId> submissions_;
  JobId next_job_ = 1;
  uint64_t next_event_ = 1;
  uint64_t next_epoch_ = 1;
  std::map<GangId, GangState> gangs_;
  std::map<std::string, LaunchRow> launches_;
  std::set<WaitingTrial> waiting_;
  std::map<TrialId, Manifest> checkpoints_;
  std::map<std::string, uint64_t> chunk_uses_;  // by hash: manifests and staging leases that name it
  Millis grace_until_ = 0;
  uint64_t fruitless_launches_ = 0;  // in a row, that ended before their gang said Hello
  Millis next_launch_ = 0;
  uint64_t launch_count_ = 0;
};

}  // namespace hivq
