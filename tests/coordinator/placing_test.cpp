// How trials get gangs, through the core: priorities, quotas, labels, preemption, drain, jobs after others, retries,
// time limits, and what is said of it.

#include <gtest/gtest.h>

#include "coordinator/queries.h"
#include "tests/coordinator/harness.h"

namespace hivq {
namespace {

class Placing : public CoreTest {
 protected:
  void with(const std::string& policy) {
    options_.policy = parse_policy(policy, "policy.yaml").value();
    restart();
  }
  /// A job of some trials; `terms` are lines of its file.
  JobId submit_terms(const std::string& terms, int trials = 1, const std::string& user = "ada") {
    std::string seeds;
    for (int i = 0; i < trials; ++i) seeds += (i == 0 ? "" : ", ") + std::to_string(i);
    from("client",
         Submit{"", "test.yaml", "name: test\n" + terms + "sweep: {parameters: {train.seed: [" + seeds + "]}}\n", user},
         7);
    auto answers = sent<Submitted>("client");
    return answers.empty() ? 0 : answers.back().job;
  }
  std::string refusal() {
    auto failed = sent<Failed>("client");
    return failed.empty() ? "" : failed.back().reason;
  }
  void hello_labelled(const GangId& gang, uint64_t ranks, const Labels& labels, const std::string& host = "h") {
    Hello hello;
    hello.gang = gang;
    hello.ranks = ranks;
    hello.labels = labels;
    hello.host = host;
    from(gang, hello);
    beat(gang);
  }
  void end(const GangId& gang, const Lease& lease, bool failed = false) {
    report(gang, lease, 1, {EndItem{failed, failed ? "not finite" : "", {}}});
    acknowledged(gang);
  }
  void give_back(const GangId& gang, const Lease& lease) {
    report(gang, lease, 1, {YieldItem{}});
    acknowledged(gang);
  }
  DrainSet drain(const std::string& target, bool drained = true, bool to_the_end = false, const std::string& key = "") {
    from("client", SetDrained{key, target, drained, to_the_end}, 9);
    auto answers = sent<DrainSet>("client");
    return answers.empty() ? DrainSet{} : answers.back();
  }
  size_t yields(const GangId& gang) { return sent<Yield>(gang).size(); }
};

// ---- Priority and preemption ----

TEST_F(Placing, AHigherPriorityTakesAGangAwayAndTheTrialGoesOnLater) {
  with("preempt_seconds: 5\nmin_run_seconds: 10\n");
  join("g1");
  submit_terms("");
  Lease low = lease_of("g1");
  beat("g1", low);
  submit_terms("priority: 3\n");
  for (int i = 0; i < 9; ++i) pass(1000), beat("g1", low);
  EXPECT_EQ(yields("g1"), 0u);  // the attempt has not run for long enough
  for (int i = 0; i < 3; ++i) pass(1000), beat("g1", low);
  EXPECT_GE(yields("g1"), 1u);
  report("g1", low, 1, {checkpoint(7, {"w"})[0], checkpoint(7, {"w"})[1], YieldItem{}});
  EXPECT_EQ(trial({1, 0}).attempts, 0u);
  Lease high = lease_of("g1");
  EXPECT_EQ(high.trial, (TrialId{2, 0}));
  end("g1", high);
  auto again = pack_of("g1");
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].lease.trial, (TrialId{1, 0}));
  EXPECT_EQ(again[0].checkpoint.step, 7);
}

TEST_F(Placing, AGangThatDoesNotAnswerIsAskedAgain) {
  with("preempt_seconds: 0\nmin_run_seconds: 0\n");
  join("g1");
  submit_terms("");
  Lease low = lease_of("g1");
  submit_terms("priority: 3\n");
  for (int i = 0; i < 8; ++i) pass(1000), beat("g1", low);
  EXPECT_EQ(yields("g1"), 2u);
}

TEST_F(Placing, AfterARestartTheGangIsAskedOnceMore) {
  with("preempt_seconds: 0\nmin_run_seconds: 0\n");
  join("g1");
  submit_terms("");
  Lease low = lease_of("g1");
  submit_terms("priority: 3\n");
  pass(2000);
  EXPECT_EQ(yields("g1"), 1u);
  restart();
  beat("g1", low);
  pass(2000);
  EXPECT_EQ(yields("g1"), 1u);
}

TEST_F(Placing, AnotherPriorityReordersWhatWaitsAcrossARestart) {
  submit_terms("");
  const JobId second = submit_terms("priority: 3\n"), third = submit_terms("", 2);
  from("client", SetPriority{"up", third, 7}, 9);
  EXPECT_EQ(sent<PrioritySet>("client").back().priority, 7);
  restart();
  EXPECT_EQ(core_->open_job(third)->priority, 7);
  join("g1"), join("g2"), join("g3");
  EXPECT_EQ(lease_of("g1").trial, (TrialId{third, 0}));
  EXPECT_EQ(lease_of("g2").trial, (TrialId{third, 1}));
  EXPECT_EQ(lease_of("g3").trial, (TrialId{second, 0}));
}

TEST_F(Placing, WhatRunsCanBeTakenAwayByItsNewPriority) {
  with("preempt_seconds: 0\nmin_run_seconds: 0\n");
  join("g1");
  const JobId first = submit_terms("priority: 5\n");
  Lease lease = lease_of("g1");
  beat("g1", lease);
  submit_terms("priority: 3\n");
  for (int i = 0; i < 4; ++i) pass(1000), beat("g1", lease);
  EXPECT_EQ(yields("g1"), 0u);
  from("client", SetPriority{"down", first, 1}, 9);
  for (int i = 0; i < 4; ++i) pass(1000), beat("g1", lease);
  EXPECT_GE(yields("g1"), 1u);
}

TEST_F(Placing, AWishForAPriorityThatComesLateAgainChangesNothing) {
  const JobId id = submit_terms("");
  for (const auto& [key, priority, then] : {std::tuple{"a", 5, 5}, {"b", -2, -2}, {"a", 5, -2}}) {
    from("client", SetPriority{key, id, priority}, 9);
    EXPECT_EQ(sent<PrioritySet>("client").back().priority, then) << key;
  }
}

TEST_F(Placing, APriorityThatMayNotBeIsASentence) {
  with("users: {ada: {max_priority: 4}}\n");
  const JobId id = submit_terms("");
  from("client", SetPriority{"a", id, 5}, 9);
  EXPECT_NE(refusal().find("user ada may use at most 4"), std::string::npos) << refusal();
  from("client", SetPriority{"b", id, INT64_MIN}, 9);
  EXPECT_NE(refusal().find("it must be from -1000000 to 1000000"), std::string::npos) << refusal();
  from("client", SetPriority{"c", 99, 1}, 9);
  EXPECT_EQ(refusal(), "there is no job 99; `hivq list` shows them");
  from("client", Cancel{id}, 9);
  from("client", SetPriority{"d", id, 1}, 9);
  EXPECT_NE(refusal().find("has ended"), std::string::npos) << refusal();
}

TEST_F(Placing, APriorityAboveThePolicysIsRefused) {
  with("users: {ada: {max_priority: 5}}\n");
  EXPECT_EQ(submit_terms("priority: 6\n"), 0u);
  EXPECT_EQ(refusal(),
            "test.yaml: priority is 6; user ada may use at most 5: lower it, or ask for a higher max_priority in the "
            "policy");
  EXPECT_NE(submit_terms("priority: 6\n", 1, "bob"), 0u);
}

// ---- Quotas, shares and labels ----

TEST_F(Placing, AQuotaHoldsAcrossARestart) {
  with("users: {ada: {max_ranks: 2}}\n");
  join("g1"), join("g2");
  submit_terms("", 2);
  Lease lease = lease_of("g1");
  restart();
  beat("g1", lease), beat("g2");
  EXPECT_TRUE(pack_of("g2").empty());
  EXPECT_NE(core_->waiting_reason(1).find("user ada has 2 ranks of a quota of 2 running"), std::string::npos)
      << core_->waiting_reason(1);
  end("g1", lease);
  EXPECT_FALSE(pack_of("g1").empty() && pack_of("g2").empty());
}

TEST_F(Placing, WhatAProjectHasUsedIsKeptOverARestart) {
  join("g1");
  submit_terms("project: one\n", 3);
  Lease lease = lease_of("g1");
  for (int i = 0; i < 60; ++i) pass(1000), beat("g1", lease);
  restart();
  beat("g1", lease);
  submit_terms("project: two\n");
  end("g1", lease);
  EXPECT_EQ(lease_of("g1").trial, (TrialId{2, 0}));
}

TEST_F(Placing, ATrialWaitsForAGangWithItsLabels) {
  hello_labelled("g1", 2, {});
  submit_terms("gang: {labels: {pool: a100}}\n");
  EXPECT_TRUE(pack_of("g1").empty());
  EXPECT_NE(core_->waiting_reason(1).find("hivq-worker --coordinator … --label pool=a100"), std::string::npos)
      << core_->waiting_reason(1);
  hello_labelled("g2", 1, {{"pool", "a100"}, {"zone", "x"}});
  EXPECT_EQ(lease_of("g2").trial, (TrialId{1, 0}));
  EXPECT_EQ(core_->waiting_reason(1), "");
}

// ---- Drain ----

TEST_F(Placing, ADrainedGangGivesItsTrialsBackAndGetsNoNewOnesAcrossARestartToo) {
  join("gang-1"), join("gang-2");
  submit_terms("", 3);
  Lease first = lease_of("gang-1"), second = lease_of("gang-2");
  auto answer = drain("gang-1");
  EXPECT_EQ(answer.gangs, 1u);
  EXPECT_EQ(answer.running, 1u);
  EXPECT_EQ(yields("gang-1"), 1u);
  EXPECT_EQ(yields("gang-2"), 0u);
  give_back("gang-1", first);
  beat("gang-1");
  EXPECT_TRUE(pack_of("gang-1").empty());
  restart();
  beat("gang-1"), beat("gang-2", second);
  EXPECT_TRUE(pack_of("gang-1").empty());
  EXPECT_TRUE(core_->drained(core_->gangs().at("gang-1")));
  drain("gang-1", false);
  beat("gang-1");
  EXPECT_EQ(lease_of("gang-1").trial, (TrialId{1, 0}));
}

TEST_F(Placing, AHostIsDrainedWithTheGangsThatComeLater) {
  hello_labelled("g1", 1, {}, "node7");
  drain("host:node7");
  submit_terms("");
  beat("g1");
  hello_labelled("g2", 1, {}, "node7");
  EXPECT_TRUE(pack_of("g1").empty());
  EXPECT_TRUE(pack_of("g2").empty());
  EXPECT_EQ(core_->waiting_reason(1), "every gang that fits is drained; `hivq gangs` shows which");
  hello_labelled("g3", 1, {}, "node8");
  EXPECT_EQ(pack_of("g3").size(), 1u);
}

TEST_F(Placing, DrainedToTheEndATrialStays) {
  join("gang-1");
  submit_terms("", 2);
  Lease lease = lease_of("gang-1");
  drain("gang-1", true, true);
  EXPECT_EQ(yields("gang-1"), 0u);
  end("gang-1", lease);
  beat("gang-1");
  EXPECT_TRUE(pack_of("gang-1").empty());
}

TEST_F(Placing, AGangIsNamedByTheBeginningOfItsNameAndARepetitionChangesNothing) {
  join("aa11"), join("aa22");
  from("client", SetDrained{"", "aa", true, false}, 1);
  EXPECT_EQ(refusal(), "2 gangs have a name that begins with aa; give more of it");
  from("client", SetDrained{"", "b", true, false}, 1);
  EXPECT_EQ(refusal(), "there is no gang b; `hivq gangs` shows them (a host is written host:NAME)");
  EXPECT_EQ(drain("aa1", true, false, "k1").target, "aa11");
  drain("aa1", false, false, "k2");
  drain("aa1", true, false, "k1");  // late
  EXPECT_FALSE(core_->drained(core_->gangs().at("aa11")));
  restart();
  drain("aa1", true, false, "k1");
  EXPECT_FALSE(core_->drained(core_->gangs().at("aa11")));
}

// ---- Jobs after others ----

TEST_F(Placing, AJobBeginsWhenWhatItComesAfterHasFinished) {
  join("g1"), join("g2");
  submit_terms("");
  submit_terms("after: [1]\n");
  Lease lease = lease_of("g1");
  EXPECT_TRUE(pack_of("g2").empty());
  EXPECT_EQ(core_->waiting_reason(2), "it waits for the end of job 1");
  restart();
  beat("g1", lease), beat("g2");
  EXPECT_TRUE(pack_of("g2").empty());
  end("g1", lease);
  EXPECT_EQ(lease_of("g1").trial, (TrialId{2, 0}));
}

TEST_F(Placing, ItIsCancelledWithAReasonWhenThatFailed) {
  join("g1");
  submit_terms("");
  submit_terms("after: [1]\n", 2);
  submit_terms("after: [2]\n");
  submit_terms("after: [1]\nafter_any: true\n");
  end("g1", lease_of("g1"), true);
  EXPECT_EQ(job(2).state, State::cancelled);
  EXPECT_EQ(job(2).reason, "job 1, which it comes after, has failed");
  EXPECT_EQ(job(3).reason, "job 2, which it comes after, has been cancelled");
  EXPECT_EQ(trial({3, 0}).reason, "job 2, which it comes after, has been cancelled");
  EXPECT_EQ(lease_of("g1").trial, (TrialId{4, 0}));
}

TEST_F(Placing, ItMayStartFromATrialThatHasYetToTrain) {
  join("g1");
  submit_terms("");
  submit_terms("after: [1]\ntrain: {start_from: 1/0}\n");
  Lease lease = lease_of("g1");
  auto items = checkpoint(3, {"weights"});
  items.emplace_back(EndItem{});
  report("g1", lease, 1, items);
  auto pack = pack_of("g1");
  ASSERT_EQ(pack.size(), 1u);
  EXPECT_TRUE(pack[0].warm);
  EXPECT_EQ(pack[0].checkpoint.step, 3);
  // And one whose source left nothing fails.
  submit_terms("after: [2]\ntrain: {start_from: 2/0}\n");
  end("g1", pack[0].lease);
  EXPECT_EQ(state({3, 0}), State::failed);
  EXPECT_NE(trial({3, 0}).reason.find("there is no checkpoint"), std::string::npos) << trial({3, 0}).reason;
}

TEST_F(Placing, AJobBeginsAfterOneThatIsNotValidInThisVersion) {
  join("g1");
  submit_terms("");
  submit_terms("after: [1]\nafter_any: true\ntrain: {start_from: 1/0}\n");
  submit_terms("after: [1]\n");
  report("g1", lease_of("g1"), 1, checkpoint(3, {"weights"}));
  JobRow row = job(1);
  row.yaml += "something: new\n";
  const std::vector<Write> change{{Family::jobs, key_of(JobId{1}), pack(row)}};
  store_.commit(change);
  restart();
  EXPECT_EQ(job(1).state, State::failed);
  EXPECT_EQ(job(3).state, State::cancelled);
  beat("g1");
  auto pack = pack_of("g1");
  ASSERT_EQ(pack.size(), 1u);
  EXPECT_EQ(pack[0].lease.trial, (TrialId{2, 0}));
  EXPECT_TRUE(pack[0].warm);
  EXPECT_EQ(pack[0].checkpoint.step, 3);
}

TEST_F(Placing, AJobAfterOneThatIsNotThereOrHasFailedIsRefused) {
  EXPECT_EQ(submit_terms("after: [1]\n"), 0u);
  EXPECT_EQ(refusal(), "test.yaml: after names job 1, but there is none; `hivq list` shows them");
  submit_terms("");
  from("client", Cancel{1}, 1);
  EXPECT_EQ(submit_terms("after: [1]\n"), 0u);
  EXPECT_EQ(refusal(), "test.yaml: after names job 1, which has been cancelled; leave it out, or set after_any: true");
  EXPECT_EQ(submit_terms("after: [1]\nafter_any: true\n"), 2u);
}

TEST_F(Placing, CancellingAJobThatComesLaterLeavesNothingBehind) {
  join("g1");
  submit_terms("");
  submit_terms("after: [1]\n");
  from("client", Cancel{2}, 1);
  end("g1", lease_of("g1"));
  EXPECT_TRUE(core_->all_jobs_ended());
  EXPECT_EQ(job(2).state, State::cancelled);
}

// ---- Retries ----

TEST_F(Placing, TheFirstRetryIsAtOnceAndEachMoreWaitsTwiceAsLong) {
  submit_terms("retry_seconds: 4\n");
  Millis waits[] = {0, 4000, 8000};
  int gang = 0;
  auto lose = [&] {
    const GangId id = fmt::format("g{}", gang++);
    join(id);
    EXPECT_EQ(pack_of(id).size(), 1u) << id;
    from(id, Goodbye{id, "out of memory"});
  };
  for (Millis wait : waits) {
    lose();
    if (wait == 0) continue;
    EXPECT_NE(core_->waiting_reason(1).find(fmt::format("is tried again in {} s", wait / 1000)), std::string::npos)
        << core_->waiting_reason(1);
    restart(wait - 200);
    input(Tick{});
    EXPECT_EQ(core_->scheduler().waiting(), 0u);
    pass(200);
    EXPECT_EQ(core_->scheduler().waiting(), 1u);
  }
}

TEST_F(Placing, TheWaitHasALimit) {
  options_.longest_retry = 10'000;
  restart();
  submit_terms("retry_seconds: 4\nmax_attempts: 100\n");
  for (int i = 0; i < 9; ++i) {
    const GangId id = fmt::format("g{}", i);
    join(id);
    from(id, Goodbye{id, ""});
    pass(10'000);
    EXPECT_EQ(core_->scheduler().waiting(), 1u);
  }
}

// ---- Time limits ----

TEST_F(Placing, ATrialThatRunsTooLongFailsOverAllItsAttempts) {
  join("g1");
  submit_terms("max_trial_seconds: 10\n", 2);
  Lease lease = lease_of("g1");
  for (int i = 0; i < 6; ++i) pass(1000), beat("g1", lease);
  from("g1", Goodbye{"g1", ""});
  pass(60'000);  // waiting does not count
  join("g2");
  Lease again = lease_of("g2");
  EXPECT_EQ(again.trial, (TrialId{1, 0}));
  restart(1000);
  for (int i = 0; i < 2; ++i) beat("g2", again), pass(1000);
  EXPECT_EQ(state({1, 0}), State::running);
  beat("g2", again), pass(1200);
  EXPECT_EQ(state({1, 0}), State::failed);
  EXPECT_EQ(trial({1, 0}).reason, "it ran for longer than max_trial_seconds, which is 10");
  EXPECT_EQ(sent<Refused>("g2").size(), 1u);
  beat("g2");
  EXPECT_EQ(lease_of("g2").trial, (TrialId{1, 1}));
}

TEST_F(Placing, AJobThatTakesTooLongEndsWithWhatHasFinished) {
  submit_terms("max_job_seconds: 10\n", 3);
  pass(60'000);  // its time begins with its first trial
  join("g1");
  end("g1", lease_of("g1"));
  Lease lease = lease_of("g1");
  restart(1000);
  for (int i = 0; i < 10; ++i) beat("g1", lease), pass(1000);
  EXPECT_EQ(job(1).state, State::cancelled);
  EXPECT_EQ(job(1).finished, 1u);
  EXPECT_EQ(job(1).cancelled, 2u);
  EXPECT_EQ(job(1).reason, "the job took longer than max_job_seconds, which is 10");
}

TEST_F(Placing, TheTimeOfAGangIsDividedAmongAPack) {
  join("g1", 4);
  submit_fused(2, 2);
  auto pack = pack_of("g1");
  ASSERT_EQ(pack.size(), 2u);
  pass(3000);
  for (const auto& part : pack) end("g1", part.lease);
  EXPECT_EQ(trial({1, 0}).ran, 3000);
  EXPECT_EQ(trial({1, 0}).rank_millis, 6000);
}

}  // namespace
}  // namespace hivq
