#pragma once

// The scheduler: which waiting trials go to which idle gang, and which running ones make room for them. Pure: no clock,
// no I/O. The order in which trials get gangs:
//
// 1. the higher priority of their jobs;
// 2. fair share: the project, and in it the user, that has the least of its weight: the ranks that run for it now plus
//    those that ran for it on average, older ones counting less by a half-life (the usage of Slurm's multifactor
//    priority beside the dominant share of DRF, Ghodsi et al., NSDI 2011, for one resource);
// 3. the older job, and in it the older trial.
//
// A trial that no idle gang fits, or whose project or user is at its quota, does not hold up those behind it. A gang is
// one MPI world and never split or joined, so nothing is gained by keeping one idle: instead of holding gangs for large
// trials, flexible trials take the smallest gang that fits them, and a need that has had no gang for
// `Policy::reserve_after` has the next one that fits before trials of its priority that could run elsewhere, too.
//
// A decision walks neither trials nor gangs: its time grows with the logarithm of both, with the number of different
// (priority, need) that wait, and with the users who wait at their quota.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "common/clock.h"
#include "common/ids.h"
#include "coordinator/policy.h"
#include "jobs/spec.h"

namespace hivq {

/// What a trial asks of its gang.
struct Need {
  uint64_t ranks = 0;  // 0: any
  Labels labels;       // that the gang carries, among others
  auto operator<=>(const Need&) const = default;
};

/// What a gang is.
struct Kind {
  uint64_t ranks = 0;
  Labels labels;
  bool operator==(const Kind&) const = default;
};

bool fits(const Need& need, const Kind& kind);
/// Every gang that fits `a` fits `b`, but not the other way round.
bool stricter(const Need& a, const Need& b);
/// `a gang of 8 ranks with pool=a100`.
std::string to_string(const Need& need);

/// With whom a trial may train side by side on one gang: trials of a job and a need whose Fusion is equal may.
struct Fusion {
  std::string key;    // of their shape
  int64_t step = -1;  // where they stand; -1: untrained
  uint64_t most = 1;  // trials of a pack
  auto operator<=>(const Fusion&) const = default;
};

/// On whose account a job runs.
struct Terms {
  JobId job = 0;
  int64_t priority = 0;  // higher goes first
  std::string project, user;
};

/// A pack of trials for a gang.
struct Placement {
  std::vector<TrialId> trials;
  GangId gang;
};

/// What a project, or a user in it, has used: to be kept, so that a restart forgets nothing.
struct Usage {
  std::string project, user;
  bool whole = false;  // of the project as a whole; `user` is empty
  double mean = 0;     // ranks that ran on average, at `at`; what runs since then is not in it
  Millis at = 0;
};

/// Trials of one need that wait.
struct Demand {
  Need need;
  uint64_t trials = 0;
  int64_t priority = 0;  // the highest of them …
  JobId oldest = 0;      // … and the oldest job that has it
};

class Scheduler {
 public:
  explicit Scheduler(Policy policy = {});
  ~Scheduler();
  Scheduler(Scheduler&&) noexcept;
  Scheduler& operator=(Scheduler&&) noexcept;

  const Policy& policy() const;

  // ---- What waits ----

  void add(const Terms& job, const Need& need, uint64_t trial, const Fusion& fusion, Millis now);
  /// Nothing happens where it does not wait.
  void remove(const TrialId& trial);
  uint64_t waiting() const;
  /// Of a job.
  uint64_t waiting(JobId job) const;
  /// What waits, the first in order first.
  std::vector<Demand> demands() const;
  /// How many trials of this need gangs of so many ranks could take now: those whose quotas leave room for one. (Of
  /// two jobs on one account each counts as if it were alone.)
  uint64_t startable(const Need& need, uint64_t ranks) const;
  /// The trials that wait for a gang of this need.
  std::vector<TrialId> trials_of(const Need& need) const;

  // ---- Gangs ----

  /// A gang that is there, or is of another kind now. It is busy until set_idle().
  void put_gang(const GangId& gang, const Kind& kind, Millis now);
  void remove_gang(const GangId& gang, Millis now);
  /// Whether it may be given a pack.
  void set_idle(const GangId& gang, bool idle);
  bool idle(const GangId& gang) const;
  std::vector<GangId> idle_gangs() const;
  /// A pack that runs since before the start, as the store has it.
  void restore_run(const GangId& gang, const Terms& job, Millis started);
  /// The gang's pack has ended, or was given back.
  void ended(const GangId& gang, Millis now);
  /// The job of the gang's pack has another priority.
  void set_priority(const GangId& gang, int64_t priority);
  /// The gang was asked to give its pack back, or after all shall keep it.
  void set_yielding(const GangId& gang, bool yielding);

  // ---- Decisions ----

  /// The next pack and its gang; the trials wait no more, the gang is busy, its ranks are on the job's account.
  std::optional<Placement> next(Millis now);
  /// Gangs, 16 at most, that shall give their packs back so that trials of a higher priority, which have waited for
  /// long enough and whose quotas leave room, can start: those with the least priority, of these those of whom has most
  /// of its share, of these what began last. No more than can be used: yielding gangs that fit count as coming. The
  /// caller tells with set_yielding().
  std::vector<GangId> preempt(Millis now);

  // ---- Fair share ----

  /// What changed since the last call.
  std::vector<Usage> take_usage();
  /// Before anything waits or runs.
  void restore_usage(const Usage& usage);
  /// Ranks of what runs for a project or user now.
  uint64_t running_ranks_of_project(const std::string& project) const;
  uint64_t running_ranks_of_user(const std::string& user) const;

  // ---- For people ----

  /// Why no trial of the job that waits here has a gang, as one sentence; empty: none waits here.
  std::string why(JobId job) const;

  struct State;  // schedule_state.h

 private:
  std::unique_ptr<State> state_;
};

}  // namespace hivq
