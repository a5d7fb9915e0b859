#include "tests/coordinator/simulation.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>

namespace hivq {
namespace {

/// HIVQ_SIM_SEEDS=N runs N seeds instead, HIVQ_SIM_FIRST=S from seed S. HIVQ_SIM_FAULTS lets only these faults happen
/// (as a failing run tells), HIVQ_SIM_TRACE=1 prints what happened.
uint64_t number_of(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// As "12350.0 a gang dies, 400.2 lost to client-0".
std::set<SimulationFault> faults_of(const std::string& text) {
  std::set<SimulationFault> faults;
  std::stringstream stream(text);
  SimulationFault fault;
  for (char point = 0; stream >> fault.at >> point >> fault.number >> std::ws && std::getline(stream, fault.what, ',');)
    faults.insert(fault);
  return faults;
}

std::string text_of(const std::set<SimulationFault>& faults) {
  std::string text;
  for (const auto& fault : faults) {
    text += fmt::format("{}{}.{} {}", text.empty() ? "" : ",", fault.at, fault.number, fault.what);
  }
  return text;
}

SimulationOptions options_of(uint64_t seed) {
  SimulationOptions options{seed};
  if (const char* faults = std::getenv("HIVQ_SIM_FAULTS")) options.faults = faults_of(faults);
  options.trace = number_of("HIVQ_SIM_TRACE", 0) != 0;
  return options;
}

/// Of a run that failed: the fewest faults with which it does, what then happened, and how to see it again.
std::string explanation(const SimulationOptions& failing) {
  SimulationOptions least = minimise(failing);
  least.trace = true;
  const auto result = simulate(least);
  constexpr size_t most_lines = 100;
  const size_t left_out = result.trace.size() - std::min(most_lines, result.trace.size());
  return fmt::format(
      "seed {}, with {} of its {} faults: {}\n{}{}\nagain: HIVQ_SIM_FIRST={} HIVQ_SIM_SEEDS=1 "
      "HIVQ_SIM_FAULTS=\"{}\" HIVQ_SIM_TRACE=1\n",
      least.seed, least.faults->size(), simulate(failing).faults.size(), result.violation,
      left_out > 0 ? fmt::format("… {} lines before\n", left_out) : "",
      fmt::join(result.trace.begin() + static_cast<ptrdiff_t>(left_out), result.trace.end(), "\n"), least.seed,
      text_of(*least.faults));
}

TEST(Simulation, KeepsTheInvariantsUnderFaults) {
  uint64_t first = number_of("HIVQ_SIM_FIRST", 1), seeds = number_of("HIVQ_SIM_SEEDS", 200);
  SimulationResult sum;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    const SimulationOptions options = options_of(seed);
    auto result = simulate(options);
    if (options.trace) fmt::print("{}\n", fmt::join(result.trace, "\n"));
    EXPECT_EQ(result.violation, "") << explanation(options);
    sum.commits += result.commits;
    sum.crashes += result.crashes;
    sum.lost_messages += result.lost_messages;
    sum.repeated_messages += result.repeated_messages;
    sum.lost_gangs += result.lost_gangs;
    sum.paused_gangs += result.paused_gangs;
    sum.attempts += result.attempts;
    sum.finished += result.finished;
    sum.failed += result.failed;
    sum.cancelled += result.cancelled;
    sum.points += result.points;
    sum.packs += result.packs;
    sum.pauses += result.pauses;
    sum.yields += result.yields;
    sum.warm_starts += result.warm_starts;
    sum.collected += result.collected;
    sum.preemptions += result.preemptions;
    sum.drains += result.drains;
    sum.overdue += result.overdue;
    sum.retries += result.retries;
    sum.later_jobs += result.later_jobs;
    sum.stopped += result.stopped;
    sum.learning += result.learning;
    sum.compared += result.compared;
    sum.study_trials += result.study_trials;
    sum.dead_programs += result.dead_programs;
    sum.silent += result.silent;
    sum.launched += result.launched;
    sum.shrunk += result.shrunk;
    sum.queued += result.queued;
    sum.requeued += result.requeued;
    sum.lost_launches += result.lost_launches;
    sum.virtual_seconds += result.virtual_seconds;
  }
  fmt::print(
      "{} seeds, {:.1f} virtual hours: {} commits, {} crashes, {} messages lost, {} repeated, {} gangs lost, {} "
      "stopped for a while; {} trials finished, {} failed, {} cancelled in {} attempts; {} points; {} packs of "
      "several trials, {} jobs paused, {} trials given back, {} started from others; {} gangs taken away for a higher "
      "priority, {} wishes to drain, {} "
      "trials beyond a limit, {} retries later, {} jobs after others; {} trials of searchers that learn, {} stopped "
      "early, {} proposals "
      "compared with those after a restart; {} trials of studies, {} of their programs died, {} trials were given up; "
      "{} "
      "gangs launched by pools, {} ended with nothing to do, {} queued by their engine, {} of these put back, {} lost "
      "by a "
      "crash\n",
      seeds, sum.virtual_seconds / 3600, sum.commits, sum.crashes, sum.lost_messages, sum.repeated_messages,
      sum.lost_gangs, sum.paused_gangs, sum.finished, sum.failed, sum.cancelled, sum.attempts, sum.points, sum.packs,
      sum.pauses, sum.yields, sum.warm_starts, sum.preemptions, sum.drains, sum.overdue, sum.retries, sum.later_jobs,
      sum.learning, sum.stopped, sum.compared, sum.study_trials, sum.dead_programs, sum.silent, sum.launched,
      sum.shrunk, sum.queued, sum.requeued, sum.lost_launches);
  if (seeds < 20) return;
  // The faults did happen, and most trials lived through them.
  EXPECT_GT(sum.crashes, seeds / 4);
  EXPECT_GT(sum.lost_messages, seeds);
  EXPECT_GT(sum.lost_gangs, seeds);
  EXPECT_GT(sum.packs, seeds);
  EXPECT_GT(sum.pauses, seeds / 4);
  EXPECT_GT(sum.yields, seeds / 4);
  EXPECT_GT(sum.warm_starts, seeds / 10);
  EXPECT_GT(sum.collected, 10 * seeds);
  EXPECT_GT(sum.preemptions, seeds / 20);
  EXPECT_GT(sum.drains, seeds / 4);
  EXPECT_GT(sum.overdue, seeds / 20);
  EXPECT_GT(sum.retries, 0u);  // a trial must lose two gangs for one
  EXPECT_GT(sum.later_jobs, seeds / 20);
  EXPECT_GT(sum.attempts, sum.finished + sum.failed);  // those of a job that never began have none
  EXPECT_GT(sum.learning, seeds);
  EXPECT_GT(sum.stopped, seeds / 10);
  EXPECT_GT(sum.compared, seeds);
  EXPECT_GT(sum.study_trials, seeds);
  EXPECT_GT(sum.dead_programs, seeds / 4);
  EXPECT_GT(sum.silent, seeds / 10);
  EXPECT_GT(sum.finished, 2 * sum.failed);
  EXPECT_GT(sum.launched, seeds);
  EXPECT_GT(sum.shrunk, seeds / 4);
  EXPECT_GT(sum.queued, seeds / 10);
  EXPECT_GT(sum.requeued, seeds / 50);
  EXPECT_GT(sum.lost_launches, 0u);
}

TEST(Simulation, KeepsTheInvariantsInALargerCluster) {
  auto result = simulate({number_of("HIVQ_SIM_FIRST", 1), 10});
  EXPECT_EQ(result.violation, "");
}

TEST(Simulation, AHigherPriorityIsServedSoonInACrowdedCluster) {
  uint64_t preemptions = 0;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    auto result = simulate({seed, 1, Bug::none, true});
    EXPECT_EQ(result.violation, "") << "seed " << seed;
    preemptions += result.preemptions;
  }
  EXPECT_GT(preemptions, 10u);
}

TEST(Simulation, ASeedReproducesARunExactly) {
  for (uint64_t seed : {3, 14, 15}) {
    auto once = simulate({seed}), again = simulate({seed});
    EXPECT_EQ(once.store, again.store);
    EXPECT_EQ(once.commits, again.commits);
  }
}

/// The first seed that shows the bug by violating an invariant.
SimulationOptions failing_with(Bug bug) {
  for (uint64_t seed = 1;; ++seed) {
    SimulationOptions options{seed, 1, bug};
    const auto result = simulate(options);
    if (!result.violation.empty() && result.faults.size() >= 10) return options;
  }
}

TEST(Simulation, OfAFailingSeedTheFaultsThatItTakesAreFound) {
  for (const Bug bug : {Bug::answers_before_commit, Bug::forgets_pauses}) {
    const SimulationOptions failing = failing_with(bug);
    const SimulationResult whole = simulate(failing);
    SimulationOptions replayed = failing;
    replayed.faults = whole.faults;
    EXPECT_EQ(simulate(replayed).store, whole.store) << "the same faults are the same run";
    EXPECT_EQ(faults_of(text_of(whole.faults)), whole.faults);

    const SimulationOptions least = minimise(failing);
    const std::string violated = whole.violation.substr(0, 1);
    EXPECT_EQ(simulate(least).violation.substr(0, 1), violated);
    EXPECT_LE(2 * least.faults->size(), whole.faults.size());
    EXPECT_FALSE(least.faults->empty());
    for (const SimulationFault& fault : *least.faults) {
      SimulationOptions without = least;
      without.faults->erase(fault);
      EXPECT_NE(simulate(without).violation.substr(0, 1), violated) << fault.what << " is not needed";
    }
    const std::string told = explanation(failing);
    for (const SimulationFault& fault : *least.faults) EXPECT_NE(told.find(fault.what), told.npos) << told;
    fmt::print("seed {}: {} of {} faults: {}\n", failing.seed, least.faults->size(), whole.faults.size(),
               simulate(least).violation);
  }
}

/// Whether some seed finds this invariant violated.
bool found(Bug bug, const std::string& invariant) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    auto result = simulate({seed, 1, bug, bug == Bug::never_preempts});
    if (!result.violation.starts_with(invariant)) continue;
    fmt::print("seed {}: {}\n", seed, result.violation);
    return true;
  }
  return false;
}

TEST(Simulation, FindsAnswersThatAreLetOutBeforeTheCommit) { EXPECT_TRUE(found(Bug::answers_before_commit, "1")); }
TEST(Simulation, FindsItemsThatAreStoredTwice) { EXPECT_TRUE(found(Bug::stores_repeats, "1")); }
TEST(Simulation, FindsThatTheStreamsOfAPackAreMixed) { EXPECT_TRUE(found(Bug::mixes_streams, "1")); }
TEST(Simulation, FindsATrialThatIsGivenBackWithoutItsCheckpoint) { EXPECT_TRUE(found(Bug::yields_in_vain, "1")); }
TEST(Simulation, FindsThatChunksGoWhichACheckpointNames) { EXPECT_TRUE(found(Bug::collects_what_is_named, "1")); }
TEST(Simulation, FindsThatPointsOfAStudyAreDropped) { EXPECT_TRUE(found(Bug::drops_points, "1")); }
TEST(Simulation, FindsThatAStudyDrawsOtherValuesAfterARestart) { EXPECT_TRUE(found(Bug::draws_anew, "3")); }
TEST(Simulation, FindsThatOldEpochsAreAccepted) { EXPECT_TRUE(found(Bug::takes_old_epochs, "2")); }
TEST(Simulation, FindsThatProposalsChange) { EXPECT_TRUE(found(Bug::proposes_anew, "3")); }
TEST(Simulation, FindsThatASearcherForgetsHowTrialsEnded) { EXPECT_TRUE(found(Bug::forgets_results, "3")); }
TEST(Simulation, FindsThatIdleGangsAreNotHeard) { EXPECT_TRUE(found(Bug::deaf_to_idle_gangs, "4")); }
TEST(Simulation, FindsThatAPauseIsForgotten) { EXPECT_TRUE(found(Bug::forgets_pauses, "4")); }
TEST(Simulation, FindsThatADrainIsForgotten) { EXPECT_TRUE(found(Bug::forgets_drains, "4")); }
TEST(Simulation, FindsThatLabelsAreIgnored) { EXPECT_TRUE(found(Bug::ignores_labels, "4")); }
TEST(Simulation, FindsThatAJobBeginsBeforeWhatItComesAfter) { EXPECT_TRUE(found(Bug::forgets_order, "4")); }
TEST(Simulation, FindsThatATrialRunsBeyondItsLimit) { EXPECT_TRUE(found(Bug::forgets_limits, "4")); }
TEST(Simulation, FindsThatQuotasAreExceeded) { EXPECT_TRUE(found(Bug::ignores_quotas, "6")); }
TEST(Simulation, FindsThatALowerPriorityKeepsItsGang) { EXPECT_TRUE(found(Bug::never_preempts, "7")); }
TEST(Simulation, FindsThatGangsOfPoolsAreForgotten) { EXPECT_TRUE(found(Bug::forgets_launches, "8")); }
TEST(Simulation, FindsThatAPoolGrowsTooFar) { EXPECT_TRUE(found(Bug::ignores_maximum, "8")); }
TEST(Simulation, FindsThatAPoolDoesNotShrink) { EXPECT_TRUE(found(Bug::never_shrinks, "8")); }
TEST(Simulation, FindsATrialThatNeverEnds) { EXPECT_TRUE(found(Bug::trial_without_end, "5")); }

}  // namespace
}  // namespace hivq
