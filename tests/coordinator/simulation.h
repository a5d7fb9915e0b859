#pragma once

// A whole cluster in one thread: the real Core and the real GangSession, a virtual clock, a network that loses,
// repeats, delays and reorders, gangs that die, pause and return, a coordinator that crashes at any commit boundary, a
// slow disk. A seed reproduces a run exactly.

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace hivq {

/// A mistake planted on purpose, to see that the simulation finds it; with the invariant that it breaks.
enum class Bug {
  none,
  answers_before_commit,   // 1: a crash lets out the answers of a round that was not committed
  stores_repeats,          // 1: a report that comes again passes for a new one
  mixes_streams,           // 1: a gang reports every trial of a pack what the first one gave
  yields_in_vain,          // 1: a gang gives a trial back without a checkpoint of its last step
  collects_what_is_named,  // 1: chunks go although a checkpoint names them again
  takes_old_epochs,        // 2: a report with an old epoch passes for one of the newest lease
  proposes_anew,           // 3: after a restart the searcher proposes other trials
  forgets_results,         // 3: after a restart the searcher is not told how trials ended
  deaf_to_idle_gangs,      // 4: the coordinator does not hear that a gang is idle
  forgets_pauses,          // 4: after a restart no job is paused
  forgets_drains,          // 4: after a restart no gang is drained
  ignores_labels,          // 4: every gang passes for one that carries the labels
  forgets_order,           // 4: after a restart no job comes after another
  forgets_limits,          // 4: after a restart no trial has a time limit
  ignores_quotas,          // 6: the coordinator knows no quotas
  trial_without_end,       // 5: the end of a trial is never reported
  drops_points,            // 1: a report of a study's trial is acknowledged and its points are not kept
  draws_anew,              // 3: after a restart a study has another seed
  forgets_launches,        // 8: after a restart the coordinator knows no gang of its pools
  ignores_maximum,         // 8: a pool grows beyond its maximum
  never_shrinks,           // 8: gangs that have nothing to do stay for ever
  never_preempts,          // 7: nothing is taken from a lower priority
};

/// Something that goes wrong. Where it is asked for, it does at the first occasion from its moment on.
struct SimulationFault {
  int64_t at = 0;       // milliseconds since the beginning
  uint64_t number = 0;  // of the occasions at this moment
  std::string what;     // "lost to client-0", "a gang dies"
  auto operator<=>(const SimulationFault&) const = default;
};

struct SimulationOptions {
  uint64_t seed = 1;
  int scale = 1;  // times as many gangs and trials
  Bug bug = Bug::none;
  bool crowded = false;  // without faults, few gangs, long trials of low priority and later ones of a higher
  std::optional<std::set<SimulationFault>> faults = {};  // what goes wrong; nothing: the seed decides
  bool trace = false;
};

struct SimulationResult {
  std::string violation;  // empty: all invariants held
  std::string store;      // SHA-256 of the final store: the same for the same seed
  uint64_t commits = 0, crashes = 0, lost_messages = 0, repeated_messages = 0, lost_gangs = 0, paused_gangs = 0;
  uint64_t attempts = 0, finished = 0, failed = 0, cancelled = 0, points = 0;
  uint64_t packs = 0;               // of several trials
  uint64_t pauses = 0, yields = 0;  // of jobs, of trials
  uint64_t warm_starts = 0;
  uint64_t collected = 0;  // chunks that nobody named any more, and notes of others
  uint64_t preemptions = 0, drains = 0, overdue = 0, retries = 0, later_jobs = 0;  // overdue: trials beyond their limit
  uint64_t stopped = 0;                                                            // trials, early
  uint64_t learning = 0;  // trials of jobs whose searchers learn
  uint64_t compared = 0;  // proposals with those of a core that was made anew from the store
  uint64_t study_trials = 0, dead_programs = 0, silent = 0;  // silent: trials whose program was not heard of for too long
  uint64_t launched = 0, shrunk = 0, queued = 0, requeued = 0, lost_launches = 0;  // gangs of pools; lost: by a crash
  double virtual_seconds = 0;
  std::set<SimulationFault> faults;
  std::vector<std::string> trace;  // with SimulationOptions::trace: what went wrong and what the coordinator said, in order
};

SimulationResult simulate(const SimulationOptions& options);

/// Of a run that violates an invariant one that violates the same with as few faults as are found by leaving out ever
/// smaller parts of them: without any one of those that are left it does not. (Zeller and Hildebrandt, "Simplifying and
/// isolating failure-inducing input", IEEE Transactions on Software Engineering 28 (2002), algorithm ddmin.)
SimulationOptions minimise(SimulationOptions failing);

}  // namespace hivq
