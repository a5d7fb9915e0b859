// Searchers that learn, and trials that are stopped early, by hand.

#include <cmath>

#include "tests/coordinator/harness.h"

namespace hivq {
namespace {

class SearchTest : public CoreTest {
 protected:
  JobId submit_sweep(const std::string& search, int trials, const std::string& more = "",
                     const std::string& gang = "") {
    return submit_yaml(
        fmt::format("name: s\ntrain: {{epochs: 100, eval_every: 10}}\n{}sweep:\n  search: {}\n  trials: "
                    "{}\n  startup: 2\n{}  parameters:\n    train.lr: {{log_uniform: [1e-5, 1e-2]}}\n",
                    gang, search, trials, more));
  }
  size_t trials_of(JobId id) const {
    size_t count = 0;
    (void)store_.scan(Family::trials, key_of(id), [&](auto, auto) { return ++count > 0; });
    return count;
  }
  void finish(const GangId& gang, const Lease& lease, double auroc, uint64_t first = 1) {
    report(gang, lease, first, {EndItem{false, "", {{"auroc", auroc}}}});
    beat(gang);
  }
};

TEST_F(SearchTest, TrialsAreProposedWhenAGangCanTakeThem) {
  const JobId id = submit_sweep("tpe", 5);
  EXPECT_EQ(trials_of(id), 1u);  // so that it asks for a gang
  EXPECT_EQ(job(id).trials, 5u);
  join("a");
  EXPECT_EQ(trials_of(id), 1u);
  join("b");
  EXPECT_EQ(trials_of(id), 2u);
  finish("a", lease_of("a"), 0.5);
  EXPECT_EQ(trials_of(id), 3u);
  EXPECT_EQ(state({id, 2}), State::running);
}

TEST_F(SearchTest, ThePackOfAGangIsProposedAtOnce) {
  const JobId id = submit_sweep("tpe", 10, "", "gang: {fuse: 4}\n");
  join("a");
  const auto first = pack_of("a");
  EXPECT_EQ(first.size(), 4u);
  EXPECT_EQ(trials_of(id), 4u);
  for (const Part& part : first) report("a", part.lease, 1, {EndItem{false, "", {{"auroc", 0.5}}}});
  beat("a");
  EXPECT_EQ(pack_of("a").size(), 4u);
}

TEST_F(SearchTest, ProposalsDependOnResults) {
  std::string proposed[2];
  for (int run = 0; run < 2; ++run) {
    const JobId id = submit_sweep("tpe", 30);
    const GangId gang = "gang " + std::to_string(run);
    join(gang);
    for (int i = 0; i < 20; ++i) {
      const double lr = std::stod(trial({id, static_cast<uint64_t>(i)}).params.at("train.lr"));
      finish(gang, lease_of(gang), run == 0 ? lr : -lr);
    }
    proposed[run] = core_->next_proposal(id);
    from("client", Cancel{id});
    from(gang, Goodbye{gang, ""});
  }
  EXPECT_NE(proposed[0], proposed[1]);
}

TEST_F(SearchTest, ARestartedSearcherGoesOnAsTheOneBefore) {
  for (const char* search : {"tpe", "cma-es", "gp", "pbt\n  population: 4"}) {
    const JobId id = submit_sweep(search, 24);
    join("a");
    join("b");
    // Three on one gang, one on the other: a generation.
    for (const char* gang : {"a", "a", "a", "b"}) {
      const Lease lease = lease_of(gang);
      report(gang, lease, 1, checkpoint(5, {"part"}));
      finish(gang, lease, 0.1 * static_cast<double>((lease.trial.index * 7) % 5), 3);
    }
    const std::string next = core_->next_proposal(id);
    EXPECT_NE(next, "") << search;
    restart();
    EXPECT_EQ(core_->next_proposal(id), next) << search;
    from("client", Cancel{id});
    restart();
    for (const char* gang : {"a", "b"}) from(gang, Goodbye{gang, ""});
    sends_.clear();
  }
}

TEST_F(SearchTest, AllTrialsEndTheJob) {
  const JobId id = submit_sweep("cma-es", 11, "  population: 4\n");
  join("a");
  for (int i = 0; i < 11; ++i) finish("a", lease_of("a"), 0.5);
  EXPECT_EQ(job(id).state, State::finished);
  EXPECT_EQ(job(id).finished, 11u);
  EXPECT_EQ(trials_of(id), 11u);
}

TEST_F(SearchTest, ASearcherThatWaitsForItsGenerationLeavesGangsToOthers) {
  const JobId id = submit_sweep("cma-es", 8, "  population: 4\n");
  for (const char* gang : {"a", "b", "c", "d", "e"}) join(gang);
  EXPECT_EQ(trials_of(id), 4u);
  const JobId other = submit(1);
  EXPECT_EQ(state({other, 0}), State::running);
  for (const char* gang : {"a", "b", "c", "d"}) finish(gang, lease_of(gang), 0.5);
  EXPECT_EQ(trials_of(id), 8u);
}

TEST_F(SearchTest, CancellingEndsAJobWithTheTrialsThatItHas) {
  const JobId id = submit_sweep("tpe", 50);
  join("a");
  finish("a", lease_of("a"), 0.5);
  from("client", Cancel{id}, 3);
  EXPECT_EQ(job(id).state, State::cancelled);
  EXPECT_EQ(job(id).trials, 2u);
  EXPECT_EQ(job(id).finished, 1u);
  EXPECT_EQ(job(id).cancelled, 1u);
}

TEST_F(SearchTest, AHeldJobProposesNothing) {
  const JobId id = submit_sweep("tpe", 5);
  join("a");
  from("client", SetPaused{"k", id, true});
  finish("a", lease_of("a"), 0.5);
  EXPECT_EQ(trials_of(id), 1u);
  restart();
  EXPECT_EQ(trials_of(id), 1u);
  from("client", Cancel{id});  // with no trial at hand
  EXPECT_EQ(job(id).state, State::cancelled);
  EXPECT_TRUE(core_->all_jobs_ended());
}

TEST_F(SearchTest, AFailedTrialIsNoEndOfTheSearch) {
  const JobId id = submit_sweep("tpe", 3);
  join("a");
  report("a", lease_of("a"), 1, {EndItem{true, "its loss is not finite", {}}});
  beat("a");
  EXPECT_EQ(state({id, 0}), State::failed);
  EXPECT_EQ(state({id, 1}), State::running);
}

TEST_F(SearchTest, PbtGoesOnFromCheckpointsOfTheGenerationBefore) {
  const JobId id = submit_sweep("pbt", 8, "  population: 4\n");
  for (const char* gang : {"a", "b", "c", "d"}) join(gang);
  int i = 0;
  for (const char* gang : {"a", "b", "c", "d"}) {
    const Lease lease = lease_of(gang);
    report(gang, lease, 1, checkpoint(50, {fmt::format("weights of {}", gang)}));
    finish(gang, lease, 0.5 + 0.1 * i++, 3);
  }
  for (uint64_t index = 4; index < 8; ++index) {
    const TrialRow row = trial({id, index});
    EXPECT_EQ(row.start_step, 50);
    EXPECT_EQ(row.params.at("train.start_from"), to_string(row.start));
  }
  EXPECT_EQ(trial({id, 4}).start, (TrialId{id, 3})) << "the worst goes on from the best";
  EXPECT_EQ(trial({id, 5}).start, (TrialId{id, 1}));
  const auto pack = pack_of("d");
  ASSERT_EQ(pack.size(), 1u);
  EXPECT_TRUE(pack[0].warm);
}

// ---- Early stopping ----

constexpr const char* asha = "  stop: {by: asha, min_epochs: 10, reduction: 2}\n";

TEST_F(SearchTest, ATrialThatFallsBehindEndsEarly) {
  const JobId id = submit_sweep("random", 2, asha);
  join("a");
  join("b");
  const Lease good = lease_of("a"), bad = lease_of("b");
  report("a", good, 1, {metrics(0, 0.5), metrics(7, 0.9)});
  report("b", bad, 1, {metrics(0, 0.5), metrics(7, 0.6), metrics(8, 0.99)});
  const TrialRow row = trial({id, bad.trial.index});
  EXPECT_EQ(row.state, State::finished);
  EXPECT_TRUE(row.stopped);
  EXPECT_EQ(row.reason, "stopped early by asha at epoch 10");
  EXPECT_EQ(row.final.at("auroc"), 0.6);  // what came after is not heard
  const auto refused = sent<Refused>("b");
  ASSERT_FALSE(refused.empty());
  EXPECT_EQ(refused[0].lease, bad);
  EXPECT_EQ(refused[0].reason, row.reason);
  EXPECT_EQ(state({id, good.trial.index}), State::running);
  // The gang does not hear of it: what it sends is refused again, and after a restart too.
  report("b", bad, 4, {metrics(9, 0.7)});
  EXPECT_EQ(sent<Refused>("b").size(), 1u);
  restart();
  report("b", bad, 4, {metrics(9, 0.7)});
  EXPECT_EQ(sent<Refused>("b").size(), 1u);
  EXPECT_EQ(trial({id, bad.trial.index}).final.at("auroc"), 0.6);
}

TEST_F(SearchTest, TheLastTrialOfAJobMayBeStopped) {
  const JobId id = submit_sweep("random", 2, asha);
  join("a");
  report("a", lease_of("a"), 1, {metrics(7, 0.9), EndItem{false, "", {{"auroc", 0.9}}}});
  beat("a");
  report("a", lease_of("a"), 1, {metrics(7, 0.1), metrics(9, 0.2)});
  EXPECT_EQ(job(id).state, State::finished);
  EXPECT_EQ(job(id).finished, 2u);
  beat("a");  // nothing is left of it
  EXPECT_TRUE(core_->all_jobs_ended());
}

TEST_F(SearchTest, RungsAreRememberedAcrossARestart) {
  const JobId id = submit_sweep("random", 3, asha);
  join("a");
  join("b");
  const Lease a = lease_of("a"), b = lease_of("b");
  report("a", a, 1, {metrics(7, 0.9)});
  restart();
  report("b", b, 1, {metrics(7, 0.6)});
  EXPECT_TRUE(trial({id, b.trial.index}).stopped);
  EXPECT_FALSE(trial({id, a.trial.index}).stopped);
}

TEST_F(SearchTest, AResumedTrialIsNotJudgedTwice) {
  submit_sweep("random", 2, asha);
  join("a");
  join("b");
  const Lease a = lease_of("a"), b = lease_of("b");
  report("a", a, 1, {metrics(7, 0.5)});  // the first at its rung goes on
  report("b", b, 1, {metrics(7, 0.9)});  // a better one: of two now the first
  from("a", Goodbye{"a", "it goes"});
  join("c");
  const Lease again = lease_of("c");
  ASSERT_EQ(again.trial, a.trial);
  report("c", again, 1, {metrics(7, 0.5)});
  EXPECT_EQ(state(a.trial), State::running);
  EXPECT_EQ(trial(a.trial).curve.size(), 1u);
  report("c", again, 2, {metrics(14, 0.5)});
  EXPECT_EQ(trial(a.trial).curve_epochs, (std::vector<int64_t>{10, 20}));
}

TEST_F(SearchTest, TheLastEpochIsNoReasonToStop) {
  const JobId id = submit_yaml(
      "name: s\ntrain: {epochs: 10, eval_every: 10}\nsweep:\n  search: random\n  trials: 2\n"
      "  stop: {by: asha, min_epochs: 10, reduction: 2}\n  parameters:\n    train.lr: {uniform: [0.1, 1]}\n");
  join("a");
  join("b");
  const Lease a = lease_of("a"), b = lease_of("b");
  report("a", a, 1, {metrics(7, 0.9)});
  report("b", b, 1, {metrics(7, 0.1), EndItem{false, "", {{"auroc", 0.1}}}});
  EXPECT_FALSE(trial({id, b.trial.index}).stopped);
  EXPECT_EQ(state({id, b.trial.index}), State::finished);
}

// ---- Metrics that evaluations lack ----

TEST_F(SearchTest, ALossIsAnObjectiveLikeAnyOther) {
  const JobId id = submit_yaml(
      "name: s\nsweep:\n  search: nsga2\n  trials: 8\n  metrics: [{name: auroc}, {name: loss, goal: minimize}]\n"
      "  parameters:\n    train.lr: {uniform: [0.1, 1]}\n");
  join("a");
  const Lease lease = lease_of("a");
  const auto loss = [](int64_t step, double value) { return MetricsItem{step, {{"loss", value}, {"lr", 0.5}}}; };
  report("a", lease, 1, {metrics(0, 0.5), loss(6, 0.8), metrics(7, 0.9), loss(8, 0.4)});
  restart();  // what is kept is stored
  report("a", lease, 5, {EndItem{false, "", {{"auroc", 0.95}, {"ap", 0.6}}}});
  const std::map<std::string, double> kept = {{"auroc", 0.95}, {"ap", 0.6}, {"loss", 0.4}};
  EXPECT_EQ(trial({id, 0}).final, kept);
}

TEST_F(SearchTest, AStopperJudgesTheLastLossAtEvaluations) {
  const JobId id = submit_sweep("random", 2, std::string("  metric: loss\n  goal: minimize\n") + asha);
  join("a");
  join("b");
  const Lease a = lease_of("a"), b = lease_of("b");
  const auto loss = [](int64_t step, double value) { return MetricsItem{step, {{"loss", value}}}; };
  report("a", a, 1, {metrics(0, 0.5), loss(1, 0.9), loss(2, 0.3)});
  EXPECT_TRUE(trial(a.trial).curve.empty());
  report("a", a, 4, {metrics(2, 0.5)});
  EXPECT_EQ(trial(a.trial).curve, (std::vector<double>{0.3}));
  EXPECT_EQ(trial(a.trial).curve_epochs, (std::vector<int64_t>{10}));
  report("b", b, 1, {loss(2, 0.4), metrics(2, 0.99)});
  EXPECT_TRUE(trial({id, b.trial.index}).stopped);
}

TEST_F(SearchTest, ManyIdleGangsAreServedInSeveralSteps) {
  for (int i = 0; i < 100; ++i) join(fmt::format("gang {:02}", i));
  const JobId id = submit_sweep("tpe", 500);
  EXPECT_EQ(trials_of(id), 65u);  // the first one, and 64 of the step
  pass(200);
  EXPECT_EQ(trials_of(id), 100u);
  EXPECT_EQ(core_->running_trials(id), 100u);
}

// ---- Earlier sweeps ----

TEST_F(SearchTest, CurvesOfAnotherMetricAreNotLearnedFrom) {
  const JobId first = submit_sweep("random", 2, std::string("  metric: ap\n") + asha);
  join("a");
  for (int i = 0; i < 2; ++i) {
    const Lease lease = lease_of("a");
    report("a", lease, 1, {MetricsItem{7, {{"auroc", 0.9}, {"ap", 0.2}}}, EndItem{false, "", {{"auroc", 0.9}}}});
    beat("a");
  }
  ASSERT_EQ(job(first).state, State::finished);
  const auto learned = [&](const std::string& metric) {
    const JobId id = submit_sweep("tpe", 3, "  warm_start: [1]\n  metric: " + metric + "\n");
    return store_.row<EarlierRow>(Family::searchers, key_of(id)).trials.at(0);
  };
  EXPECT_EQ(learned("ap").curve, (std::vector<double>{0.2}));
  EXPECT_TRUE(std::isnan(learned("auroc").curve.at(0)));
  EXPECT_EQ(learned("auroc").curve_epochs, (std::vector<int64_t>{10}));
}

TEST_F(SearchTest, ASweepLearnsFromEarlierOnes) {
  const JobId first = submit_sweep("random", 12);
  join("a");
  for (int i = 0; i < 12; ++i) {
    finish("a", lease_of("a"), std::stod(trial({first, static_cast<uint64_t>(i)}).params.at("train.lr")));
  }
  ASSERT_EQ(job(first).state, State::finished);
  const JobId cold = submit_sweep("tpe", 5);
  const std::string first_cold = trial({cold, 0}).params.at("train.lr");
  from("client", Cancel{cold});
  beat("a");
  const JobId warm = submit_sweep("tpe", 5, "  warm_start: [1]\n");
  EXPECT_NE(trial({warm, 0}).params.at("train.lr"), first_cold);
  const std::string next = core_->next_proposal(warm);
  restart();
  EXPECT_EQ(core_->next_proposal(warm), next);
  EXPECT_FALSE(store_.rows(Family::searchers).empty());
  from("client", Cancel{warm});
  EXPECT_TRUE(store_.rows(Family::searchers).empty());
}

TEST_F(SearchTest, AnEarlierSweepMustExist) {
  from("client", Submit{"k", "t.yaml",
                        "name: s\nsweep:\n  search: tpe\n  trials: 3\n  warm_start: [9]\n  parameters:\n"
                        "    train.lr: {uniform: [0.1, 1]}\n"});
  const auto failed = sent<Failed>("client");
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_EQ(failed[0].reason, "t.yaml: sweep.warm_start names job 9, but there is none; `hivq list` shows them");
}

TEST_F(SearchTest, AnOlderJobIsAskedFirst) {
  const JobId older = submit_sweep("tpe", 4), younger = submit_sweep("tpe", 4);
  join("a");
  EXPECT_EQ(state({older, 0}), State::running);
  EXPECT_EQ(trials_of(younger), 1u);
  finish("a", lease_of("a"), 0.5);
  EXPECT_EQ(state({older, 1}), State::running);
  EXPECT_EQ(trials_of(younger), 1u);
}

}  // namespace
}  // namespace hivq
