#pragma once

// The coordinator as a deterministic state machine: an input and the time in, effects out. No clock, socket, thread or
// file.
//
// The shell commits the effects' writes as one batch and only then lets sends and launches out, so whatever a gang or a
// client hears is on disk. Everything that the core must remember is in the writes: a core made from the store's rows
// goes on where the last one stopped.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "cluster/pools.h"
#include "coordinator/rows.h"
#include "coordinator/schedule.h"
#include "jobs/roots.h"
#include "jobs/search/searcher.h"
#include "jobs/search/stopper.h"
#include "jobs/spec.h"

namespace hivq {

/// A job that has ended, for those that learn from it.
struct EndedJob {
  std::string metric, yaml;
  std::vector<TrialRow> trials;
};

/// A trial of a job that has ended, for a client that has not heard of it yet.
struct EndedTrial {
  TrialRow row;
  LeaseRow lease;
};

struct CoreOptions {
  Millis gang_timeout = 10'000;     // a gang that is silent for so long is lost
  Millis restart_grace = 30'000;    // the same, right after a start: gangs need time to connect again
  Millis launch_timeout = 180'000;  // from the start of a gang to its Hello, where its pool says nothing else
  Millis study_timeout = 60'000;    // a study's trial whose client is silent for so long has failed
  Millis yield_again = 5'000;       // a gang that has not given its pack back by then is asked again
  uint64_t input_bytes = uint64_t{256} << 20;  // that all gangs together may have on their way to us
  std::vector<Pool> pools;           // where it may launch gangs itself; of those that fit a trial the first that can
  Millis longest_retry = 600'000;    // that a trial waits before it is tried again
  uint64_t most_events = 1'000'000;  // that are kept
  Policy policy = {};
  Roots roots = {};  // folders in which trials may read
  /// A stored job that has ended: it changes no more. Asked once, when a job that learns from it is submitted.
  std::function<Result<EndedJob>(JobId)> ended_job;
  /// The same for a trial of one; nothing where there is none.
  std::function<Result<std::optional<EndedTrial>>(const TrialId&)> ended_trial;
};

// ---- Inputs ----
struct Received {
  std::string identity;  // of the ZeroMQ peer; a gang's is its GangId
  Message message;
};
struct LaunchStarted {
  std::string launch;
  std::string handle;
};
struct LaunchEnded {
  std::string launch;
  std::string reason;      // with the end of its output
  bool blameless = false;  // nothing is wrong with the pool: it was preempted, or never asked for
};
/// What the engine says of a launch that is on its way.
struct LaunchWaits {
  std::string launch;
  bool queued;       // it waits for its turn in the engine's queue: the time until its Hello does not run
  std::string text;  // why it is not there yet; may be empty
};
/// Time has passed; at least once a second.
struct Tick {};
/// The coordinator is about to end: its own gangs shall give their trials back, and none is leased any more.
struct Closing {};
/// Something that the shell has seen and that belongs among the events: who did what, who was refused.
struct Noted {
  std::string text;
};
using Input = std::variant<Received, LaunchStarted, LaunchEnded, LaunchWaits, Tick, Closing, Noted>;

// ---- Effects ----
struct Send {
  std::string identity;
  Message message;
};
struct Launch {
  std::string launch;
  uint64_t ranks;
  std::string pool;
};
struct Effects {
  std::vector<Write> writes;
  std::vector<Send> sends;
  std::vector<Launch> launches;
  std::vector<std::string> stops;  // launches to end
  std::vector<std::string> log;    // lines for people
};

/// A trial's checkpoints by step.
using Kept = std::map<int64_t, CheckpointRow>;
/// Reads those of a trial of an ended job, as they were committed last. Errors: of the store.
using ReadCheckpoints = std::function<Result<Kept>(const TrialId&)>;

/// The rows that a core is made from: all jobs (of ended ones only id, key and state), and of those that have not ended
/// the trials, leases and checkpoints.
struct Snapshot {
  std::vector<JobRow> jobs;
  std::vector<TrialRow> trials;
  std::vector<LeaseRow> leases;
  std::vector<Hello> gangs;
  std::vector<LaunchRow> launches;
  std::vector<DrainRow> drains;
  std::vector<std::string> drain_keys;
  std::vector<UsageRow> usage;
  std::map<TrialId, Kept> checkpoints;                          // of jobs that have not ended
  std::map<std::pair<TrialId, int64_t>, CheckpointRow> starts;  // of ended jobs, that trials start from
  std::map<JobId, EarlierRow> earlier;
  uint64_t first_event = 1, next_event = 1, next_epoch = 1;
};

/// What is known of a gang beyond its Hello; not stored.
struct GangState {
  Hello hello;
  std::set<Lease> leases;             // ours for it: a pack
  std::optional<Millis> yield_asked;  // when it was last asked to give the pack back
  bool preempted = false;             // … for a trial of higher priority
  bool connected = false;             // heard since the start
  bool leaving = false;               // asked to
  Millis heard = 0;
  Millis busy = 0;                     // when it had something to do last, or joined
  std::map<Lease, Progress> progress;  // as it said last
};

class Core {
 public:
  /// `ended`: where what has left the memory is read. Effects: the cleaning up of what a crash left behind.
  Core(CoreOptions options, Snapshot snapshot, ReadCheckpoints ended, Millis now, Effects& effects);

  void step(const Input& input, Millis now, Effects& effects);

  const std::map<GangId, GangState>& gangs() const { return gangs_; }
  /// The gang that runs a trial; nullptr: none does.
  const GangState* gang_of(const TrialId& trial) const;
  /// A job that has not ended is a study.
  bool is_study(JobId job) const;
  /// A job that has not ended, with its counts of trials up to now; nullptr: it has ended, or there is none.
  const JobRow* open_job(JobId job) const;
  /// Trials of a job that are leased.
  uint64_t running_trials(JobId job) const;
  /// Why the trials of a job wait, one sentence for people; empty if none does.
  std::string waiting_reason(JobId job) const;
  /// The gang gets no new trials.
  bool drained(const GangState& gang) const { return drain_of(gang) != nullptr; }
  const Scheduler& scheduler() const { return scheduler_; }
  /// The time of the last input.
  Millis now() const { return now_; }
  /// The job is held: its trials wait, and those that run are to be given back.
  bool paused(JobId job) const;
  bool all_jobs_ended() const { return jobs_.empty(); }
  /// The gang was launched by this coordinator and ends with it.
  bool ends_with_us(const GangState& gang) const;
  /// One of these has a trial.
  bool local_gangs_busy() const;
  /// Launches of a pool that have not ended.
  uint64_t gangs_of(const std::string& pool) const;
  /// The parameters that a job's searcher would propose now, for people; empty where it would not propose.
  std::string next_proposal(JobId job) const;

 private:
  struct Trial {
    TrialRow row;
    std::optional<LeaseRow> lease;  // the newest
  };
  struct Job {
    JobRow row;
    JobSpec spec;
    std::unique_ptr<Searcher> searcher;
    std::unique_ptr<Stopper> stopper;  // nullptr: it stops no trial
    std::set<std::string> metrics;     // that the sweep looks at
    std::map<uint64_t, Trial> trials;
    std::set<JobId> after = {};                  // that it waits for
    std::vector<TrialRow> earlier = {};          // of a study: those that its searcher learned from at its start
    std::map<std::string, uint64_t> asked = {};  // of a study: trials by the key of their client's question
    bool held() const { return row.paused || !after.empty(); }
  };
  struct Running;  // the input at hand: time and effects

  void on(Running&, const Received&);
  void on(Running&, const LaunchStarted&);
  void on(Running&, const LaunchEnded&);
  void on(Running&, const LaunchWaits&);
  void on(Running&, const Tick&);
  void on(Running&, const Closing&);
  void on(Running& run, const Noted& noted) { event(run, noted.text); }

  // Gangs: core_gangs.cpp.
  void on(Running&, const std::string& peer, const Hello&);
  void on(Running&, const std::string& peer, const Heartbeat&);
  void on(Running&, const std::string& peer, const Goodbye&);
  uint64_t credit() const;
  void answer_claim(Running&, const std::string& peer, const Lease&);
  void lose_gang(Running&, const GangId&, const std::string& reason, bool goodbye = false);

  // The stream of a lease: core_stream.cpp.
  void on(Running&, const std::string& peer, const Report&);
  void take_items(Running&, const std::string& peer, Trial&, const Report&);
  static Status lawful(const LeaseRow&, const Item&);
  bool apply(Running&, Job&, Trial&, uint64_t number, const Item&);
  bool apply_metrics(Running&, Job&, Trial&, const MetricsItem&);
  void put_curves(Running&, const TrialId&);
  void end_stream(Running&, Job&, Trial&, const Item&);

  // Pictures and figures: core_pictures.cpp.
  static Status lawful_picture(const PictureItem&);
  static void apply_picture(Running&, const TrialId&, const PictureItem&);
  void on(Running&, const std::string& peer, const AttachFigure&, uint64_t request);

  // Checkpoints and which are kept: core_checkpoints.cpp.
  void on(Running&, const std::string& peer, const Pin&, uint64_t request);
  void apply_checkpoint(Running&, Job&, Trial&, const CheckpointItem&);
  void measure_checkpoint(Running&, Job&, Trial&, int64_t step, double metric);
  void retain(Running&, const Job&, const TrialId&);
  void retain_best_trials(Running&, const Job&);
  bool held(const TrialId& trial, int64_t step) const { return starts_.contains({trial, step}); }
  void put_checkpoint(Running&, const TrialId&, const CheckpointRow&);
  void erase_checkpoint(Running&, const TrialId&, const CheckpointRow&);
  Result<Kept> checkpoints_of(const TrialId&) const;
  void forget_ended();
  void drop_staged(Running&, LeaseRow&);
  void add_use(Running&, const std::string& chunk, const TrialId&, int64_t step);
  void drop_use(Running&, const std::string& chunk, const TrialId&, int64_t step);

  // Jobs and their ends: core_jobs.cpp.
  using Reasons = std::map<JobId, std::string>;
  void load(Running&, Snapshot&);
  Reasons load_jobs(Running&, std::vector<JobRow>&);
  void load_trials(Running&, std::vector<TrialRow>&, const Reasons& invalid);
  void load_leases(Running&, std::vector<LeaseRow>&);
  Status prepare(Job&, const Submit&, EarlierRow& earlier) const;
  void on(Running&, const std::string& peer, const Submit&, uint64_t request);
  void on(Running&, const std::string& peer, const Cancel&, uint64_t request);
  static Result<Job> make_job(JobRow row, const std::string& file);
  Result<Trial> make_trial(const Job&, uint64_t index, const Proposal&) const;
  void add_trial(Running&, Job&, Trial);
  void end_lease(Running&, Trial&);
  void lose_lease(Running&, Trial&, const std::string& reason);
  void end_trial(Running&, Job&, Trial&, State, const std::string& reason);
  void end_job_if_done(Running&, Job&, const std::string& reason, bool cancelled = false);

  // Studies, whose trials clients run: core_study.cpp.
  void on(Running&, const std::string& peer, const FindStudy&, uint64_t request);
  void on(Running&, const std::string& peer, const AskTrial&, uint64_t request);
  void on(Running&, const std::string& peer, const SuggestValue&, uint64_t request);
  void on(Running&, const std::string& peer, const ReportTrial&, uint64_t request);
  void on(Running&, const std::string& peer, const EndTrial&, uint64_t request);
  std::optional<Body> study_already(const Job& wanted) const;
  Body ask_trial(Running&, const AskTrial&);
  Trial& give_trial(Running&, Job&, const std::string& key, const Proposal&);
  Result<std::string> suggest(Running&, Job&, Trial&, const SuggestValue&);
  Status add_parameter(Running&, Job&, const std::string& name, const SearchRange&);
  void take_points(Running&, Job&, Trial&, const std::vector<MetricsItem>&);
  void judge_study(Job&, Trial&, int64_t step, double value);
  Body end_study_trial(Running&, const EndTrial&);
  Trial* trial_of(const Lease&);
  Result<EndedTrial> find_trial(const TrialId&) const;
  std::string why_ended(const Lease&) const;
  void hold_study_trial(Trial&);
  void end_silent(Running&, Millis away);
  std::string study_waits(const Job&) const;

  // What searchers are told and asked: core_search.cpp.
  static Params params_of(const Job&, const TrialRow&);
  static void tell_all(Job&);
  static Observation observation_of(const Job&, const TrialRow&);
  static void tell(Job&, const TrialRow&);
  void remember(Job&, const Snapshot&);
  Result<EarlierRow> earlier_trials(const SweepSpec&) const;
  void propose_ahead(Running&);
  bool propose_next(Running&, Job&);
  uint64_t room_for(const Job&, const std::vector<GangId>& idle) const;
  void propose_no_more(Running&, Job&);
  static void keep_metrics(const Job&, const std::map<std::string, double>& values,
                           std::map<std::string, double>& kept);
  bool keep_last(Running&, Job&, Trial&, const MetricsItem&);
  bool judge(Running&, Job&, Trial&, int64_t step);

  // Trials that are given back, jobs that are held, or go first: core_pause.cpp.
  void on(Running&, const std::string& peer, const SetPaused&, uint64_t request);
  void on(Running&, const std::string& peer, const SetPriority&, uint64_t request);
  static bool is_new_wish(JobRow&, const std::string& key);
  void set_paused(Running&, Job&, bool paused);
  void set_priority(Running&, Job&, int64_t priority);
  /// Asks a gang to give its whole pack back: the trials then wait, each with a checkpoint of its last step, and no
  /// attempt is counted. It is asked again until it has. For whoever needs the gang for something else.
  void yield(Running&, GangState&);
  void yield_again(Running&);
  void take_back(Running&, Trial&);
  bool must_yield(const GangState&) const;
  void keep_pack(GangState&);

  // What takes gangs away from trials: core_drain.cpp.
  void preempt(Running&);
  void on(Running&, const std::string& peer, const SetDrained&, uint64_t request);
  const DrainRow* drain_of(const GangState&) const;
  Result<std::string> drain_target(const std::string& said) const;
  void set_drained(Running&, const DrainRow&, bool drained);
  void forget_drain(Running&, const GangId&);
  bool all_drained(const Job&) const;

  // Jobs that come after others, retries and time limits: core_times.cpp.
  Status wait_for_jobs(Job&) const;
  void settle(Running&);
  void begin_after(Running&, Job&);
  void begin_after_invalid(Running&, const Reasons& invalid);
  bool starts_later(const Job&, const TrialSpec&) const;
  void cancel_job(Running&, Job&, const std::string& reason);
  Millis retry_wait(const Job&, const Trial&) const;
  void retry_due(Running&);
  void end_overdue(Running&);
  void watch_time(const Job&, const Trial&, bool there);

  // What trials start from: core_start.cpp.
  Status set_start(Trial&, const TrialSpec&) const;
  bool needs_start(const Trial&) const;
  void hold_start(Running&, const Trial&);
  void release_start(Running&, const Trial&);
  void load_starts(Running&, Snapshot&);
  int64_t checkpoint_step(const TrialId&) const;

  // Trials to gangs: core_place.cpp.
  void place(Running&);
  void lease(Running&, const Placement&);
  void assign(Running&, GangState&);
  Part part_of(const Trial&, const TrialSpec&) const;
  void wait(const Trial&);
  void wait_no_more(const Trial&);
  Terms terms_of(const Job&) const;
  void offer(const GangId&);
  void keep_usage(Running&);
  void begin_job(Running&, Job&);

  // Gangs that are launched, and pools that grow and shrink: core_pools.cpp.
  struct OwnLaunch {
    LaunchRow row;
    Millis since = 0;        // from then on its gang has so much time to say Hello, or it is in the queue
    bool queued = false;     // in its engine's queue
    bool lost = false;       // its gang was, and its engine may start it again
    bool dismissed = false;  // it is not needed
    std::string text;        // why it is not there yet, as its engine says
    Millis unwanted = 0;     // since when no trial that waits could use it; 0: one could
  };
  struct PoolState {
    Pool pool;
    Labels labels;           // of its gangs
    uint64_t fruitless = 0;  // launches in a row whose gang ended before it had a trial …
    uint64_t setbacks = 0;   // … those by no fault of their own among them …
    std::string trouble;     // … and why the last one did
    Millis next_launch = 0;
    std::set<uint64_t> proven;            // sizes of gangs that came: it is no mistake of the pool if others do not
    uint64_t launches = 0, stopping = 0;  // that have not ended; of these those that were asked to
  };
  void load_launches(Running&, std::vector<LaunchRow>);
  PoolState* pool_of(const std::string& launch);
  const PoolState* pool_of(const std::string& launch) const { return const_cast<Core*>(this)->pool_of(launch); }
  Kind kind_of(const OwnLaunch&) const;
  static Kind kind_of(const PoolState&, const Need&);
  bool on_its_way(const OwnLaunch&) const;
  void launch_gangs(Running&);
  bool keep_minimum(Running&);
  void launch(Running&, PoolState&, uint64_t ranks);
  bool grow(Running&);
  struct ComingGang {
    Kind kind;
    std::string stuck_in;  // the pool in whose engine's queue it has been for long
  };
  std::vector<ComingGang> coming_gangs() const;
  uint64_t fitting_gangs(const Need&) const;
  bool make_room(Running&, const PoolState&, const Need&);
  void shrink(Running&);
  void shrink(Running&, PoolState&);
  std::optional<Millis> idle_since(const OwnLaunch&) const;
  void end_idle(Running&, const GangId&, const std::string& why, const std::string& leave);
  bool spoke(const std::string& launch) const;
  bool may_speak(Running&, const GangId&, const Hello&);
  void stop_silent_launches(Running&);
  void gang_of_launch_lost(Running&, const GangState&, const std::string& reason, bool goodbye);
  void stop_launch(Running&, const std::string& launch);
  void mark_useful(Running&, const std::string& launch);
  void give_up_launching(Running&);
  void try_pools_again();
  std::string growing(const Need&, bool any) const;
  void put(Running&, const LaunchRow&);

  static Result<TrialSpec> spec_of(const Job&, uint64_t index);
  Job* job(JobId id);
  Trial* trial(const TrialId& id);
  const Trial* trial(const TrialId& id) const { return const_cast<Core*>(this)->trial(id); }
  void put(Running&, const JobRow&);
  void put(Running&, const TrialRow&);
  void put(Running&, const LeaseRow&);
  void event(Running&, std::string text);

  CoreOptions options_;
  std::map<JobId, Job> jobs_;                 // that have not ended
  std::map<std::string, JobId> submissions_;  // by key: one that comes again is the same one
  JobId next_job_ = 1;
  uint64_t first_event_ = 1, next_event_ = 1;  // the oldest that is kept, and the next one
  uint64_t next_epoch_ = 1;
  std::map<GangId, GangState> gangs_;
  Scheduler scheduler_;
  std::set<JobId> searching_;                       // whose searchers have not proposed all of their trials yet
  Millis now_ = 0;                                  // of the input at hand
  std::set<std::pair<Millis, TrialId>> retries_;    // trials that wait until then
  std::set<std::pair<Millis, TrialId>> deadlines_;  // of trials that run
  std::set<std::pair<Millis, JobId>> job_deadlines_;
  std::map<JobId, std::set<JobId>> dependents_;  // jobs that wait for one
  std::map<JobId, State> outcomes_;              // of jobs that have ended
  std::vector<JobId> settling_;                  // jobs that have ended in this step, and others wait for them
  std::map<std::string, DrainRow> drains_;       // by target
  std::vector<std::string> drain_keys_;
  Millis next_preemption_ = 0;
  ReadCheckpoints read_ended_;
  mutable std::map<TrialId, Kept> checkpoints_;  // of jobs that have not ended, and of others that were needed lately
  mutable std::vector<JobId> ended_now_;         // those others: since the last tick …
  std::vector<JobId> ended_before_;              // … and before it: whatever was decided about these is committed
  struct Start {
    CheckpointRow checkpoint;
    uint64_t trials = 0;  // that have no checkpoint of their own yet
  };
  std::map<std::pair<TrialId, int64_t>, Start> starts_;       // what trials start from, by trial and step
  std::map<TrialId, Millis> study_heard_;                     // when the client of a study's trial spoke last
  std::map<JobId, std::map<uint64_t, Trial>> ended_studies_;  // until the store surely has them: see forget_ended()
  bool closing_ = false;
  Millis grace_until_ = 0;
  Millis last_tick_ = 0;

  std::vector<PoolState> pools_;
  std::map<std::string, OwnLaunch> launches_;
  std::set<std::string> stopping_;  // launches that were asked to end
  bool grow_ = false;               // it is time to see whether a pool should
};

}  // namespace hivq
