#include "coordinator/schedule.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <tuple>

namespace hivq {
namespace {

constexpr Millis hour = 3'600'000;

/// A scheduler, and a clock that a test moves by hand.
class Scheduling : public testing::Test {
 protected:
  void with(const std::string& policy) { scheduler_ = Scheduler(parse_policy(policy, "policy.yaml").value()); }

  /// Trials of a job that wait: `count` of them from `first` on.
  void wait(JobId job, uint64_t count, Need need = {}, int64_t priority = 0, const std::string& project = "default",
            const std::string& user = "ada", uint64_t first = 0) {
    for (uint64_t i = first; i < first + count; ++i) {
      scheduler_.add({job, priority, project, user}, need, i, {"", -1, 1}, now_);
    }
  }
  /// Trials of a job that may train side by side.
  void wait_fusable(JobId job, uint64_t count, uint64_t most, Need need = {}) {
    for (uint64_t i = 0; i < count; ++i) scheduler_.add({job, 0, "default", "ada"}, need, i, {"shape", -1, most}, now_);
  }
  /// An idle gang.
  void gang(const GangId& id, uint64_t ranks = 1, Labels labels = {}) {
    scheduler_.put_gang(id, {ranks, std::move(labels)}, now_);
    scheduler_.set_idle(id, true);
  }
  /// The gang's pack ends, and it is idle again.
  void end(const GangId& id) {
    scheduler_.ended(id, now_);
    scheduler_.set_idle(id, true);
  }
  /// What is placed now: `1/0:a 1/1+1/2:b `.
  std::string placed() {
    std::string text;
    while (auto placement = scheduler_.next(now_)) {
      for (const auto& trial : placement->trials)
        text += to_string(trial) + (trial == placement->trials.back() ? ":" : "+");
      text += placement->gang + " ";
    }
    return text;
  }
  /// The gangs that are asked for their packs now.
  std::string preempted() {
    std::string text;
    for (const GangId& id : scheduler_.preempt(now_)) {
      scheduler_.set_yielding(id, true);
      text += id + " ";
    }
    return text;
  }

  Scheduler scheduler_;
  Millis now_ = 1'700'000'000'000;
};

// ---- Order and fit ----

TEST_F(Scheduling, TheOldestTrialsOfTheOldestJobGoFirst) {
  wait(2, 1);
  wait(1, 2, {}, 0, "default", "ada", 4);
  gang("a"), gang("b", 8);
  EXPECT_EQ(placed(), "1/4:a 1/5:b ");
}

TEST_F(Scheduling, ATrialGoesOnlyToAGangOfItsSize) {
  wait(1, 1, {2, {}});
  wait(1, 1, {4, {}}, 0, "default", "ada", 1);
  gang("a", 1), gang("b", 4), gang("c", 2);
  EXPECT_EQ(placed(), "1/0:c 1/1:b ");
}

TEST_F(Scheduling, ATrialGoesOnlyToAGangThatCarriesItsLabels) {
  wait(1, 3, {0, {{"pool", "a100"}}});
  wait(2, 1, {2, {{"pool", "a100"}, {"zone", "x"}}});
  gang("a", 2), gang("b", 2, {{"pool", "h100"}}), gang("c", 2, {{"pool", "a100"}});
  gang("d", 4, {{"pool", "a100"}, {"zone", "x"}});
  EXPECT_EQ(placed(), "1/0:c 1/1:d ");
  gang("e", 2, {{"pool", "a100"}, {"rack", "7"}, {"zone", "x"}});
  EXPECT_EQ(placed(), "1/2:e ");
}

TEST_F(Scheduling, ATrialThatNoGangFitsDoesNotHoldUpTheOthers) {
  wait(1, 2, {8, {}});
  wait(3, 1);
  wait(2, 1, {2, {}});
  gang("a", 2), gang("b", 2);
  EXPECT_EQ(placed(), "2/0:a 3/0:b ");
}

TEST_F(Scheduling, AHigherPriorityGoesFirstWhoeverIsOlder) {
  wait(1, 1, {}, -5);
  wait(2, 1);
  wait(3, 1, {}, 7);
  gang("a");
  EXPECT_EQ(placed(), "3/0:a ");
  gang("b"), gang("c");
  EXPECT_EQ(placed(), "2/0:b 1/0:c ");
}

TEST_F(Scheduling, FlexibleTrialsLeaveLargeAndLabelledGangsToOthers) {
  wait(1, 2);
  gang("a", 8), gang("b", 1, {{"pool", "a100"}}), gang("c", 1);
  EXPECT_EQ(placed(), "1/0:c 1/1:b ");
  wait(2, 1, {8, {}});
  EXPECT_EQ(placed(), "2/0:a ");
}

TEST_F(Scheduling, WhatIsRemovedIsNotPlaced) {
  wait(1, 3);
  scheduler_.remove({1, 0});
  scheduler_.remove({1, 0});
  scheduler_.remove({9, 9});
  EXPECT_EQ(scheduler_.waiting(), 2u);
  EXPECT_EQ(scheduler_.waiting(1), 2u);
  gang("a");
  EXPECT_EQ(placed(), "1/1:a ");
  scheduler_.remove({1, 2});
  EXPECT_EQ(scheduler_.waiting(), 0u);
  end("a");
  EXPECT_EQ(placed(), "");
}

TEST_F(Scheduling, AGangThatIsGoneOrOfAnotherKindIsNotUsedAsItWas) {
  gang("a", 2), gang("b", 4);
  scheduler_.remove_gang("a", now_);
  scheduler_.put_gang("b", {8, {}}, now_);
  wait(1, 1, {2, {}});
  wait(2, 1, {4, {}});
  wait(3, 1, {8, {}});
  EXPECT_EQ(placed(), "");
  scheduler_.set_idle("b", true);
  EXPECT_EQ(placed(), "3/0:b ");
}

// ---- Packs ----

TEST_F(Scheduling, TrialsOfOneShapeGoTogetherUpToTheSizeOfAPack) {
  wait_fusable(1, 5, 3);
  gang("a");
  EXPECT_EQ(placed(), "1/0+1/1+1/2:a ");
  end("a");
  EXPECT_EQ(placed(), "1/3+1/4:a ");
}

TEST_F(Scheduling, IdleGangsShareTheTrialsEvenly) {
  gang("a"), gang("b");
  wait_fusable(1, 5, 8);
  EXPECT_EQ(placed(), "1/0+1/1+1/2:a 1/3+1/4:b ");
  gang("c"), gang("d"), gang("e");
  wait_fusable(2, 2, 8);
  EXPECT_EQ(placed(), "2/0:c 2/1:d ");
}

TEST_F(Scheduling, OnlyTrialsOfOneJobOneShapeAndOneStepGoTogether) {
  auto add = [&](JobId job, uint64_t trial, const std::string& shape, int64_t step) {
    scheduler_.add({job, 0, "default", "ada"}, {}, trial, {shape, step, 8}, now_);
  };
  add(1, 0, "shape", -1), add(1, 4, "shape", -1), add(1, 5, "shape", -1);
  add(1, 1, "another", -1);
  add(1, 2, "shape", 40), add(1, 3, "shape", 40);
  add(2, 0, "shape", -1);
  gang("a");
  EXPECT_EQ(placed(), "1/0+1/4+1/5:a ");
  gang("b");
  EXPECT_EQ(placed(), "1/1:b ");
  gang("c"), gang("d");
  EXPECT_EQ(placed(), "1/2:c 1/3:d ");
}

// ---- Fair share ----

TEST_F(Scheduling, ProjectsTakeTurnsByTheirWeights) {
  with("projects: {vision: {weight: 3}, audio: {weight: 1}}\n");
  wait(1, 40, {}, 0, "audio");
  wait(2, 40, {}, 0, "vision");
  for (int i = 0; i < 20; ++i) gang(fmt::format("{:02}", i));
  placed();
  EXPECT_EQ(scheduler_.running_ranks_of_project("vision"), 15u);
  EXPECT_EQ(scheduler_.running_ranks_of_project("audio"), 5u);
}

TEST_F(Scheduling, UsersShareTheirProjectsShareAndNotMore) {
  wait(1, 40, {}, 0, "one", "ada");
  wait(2, 40, {}, 0, "two", "bob");
  wait(3, 40, {}, 0, "two", "eve");
  for (int i = 0; i < 16; ++i) gang(fmt::format("{:02}", i));
  placed();
  EXPECT_EQ(scheduler_.running_ranks_of_user("ada"), 8u);
  EXPECT_EQ(scheduler_.running_ranks_of_user("bob"), 4u);
  EXPECT_EQ(scheduler_.running_ranks_of_user("eve"), 4u);
}

TEST_F(Scheduling, WhoHasUsedLessOfLateGoesFirstUntilItIsForgotten) {
  with("half_life_hours: 1\n");
  gang("a");
  wait(1, 9, {}, 0, "one");
  wait(2, 9, {}, 0, "two");
  EXPECT_EQ(placed(), "1/0:a ");
  now_ += 2 * hour;
  end("a");
  for (const char* next : {"2/0:a ", "2/1:a "}) {  // an hour is soon made good for …
    EXPECT_EQ(placed(), next);
    now_ += hour / 4;
    end("a");
  }
  EXPECT_EQ(placed(), "2/2:a ");
  now_ += hour / 4;
  end("a");
  now_ += 40 * hour;  // … and in the end outweighed by a minute
  EXPECT_EQ(placed(), "2/3:a ");
  now_ += 60'000;
  end("a");
  EXPECT_EQ(placed(), "1/1:a ");
}

TEST_F(Scheduling, ARestartRemembersWhatWasUsed) {
  gang("a", 4);
  wait(1, 1, {}, 0, "one", "ada");
  placed();
  now_ += hour;
  std::vector<Usage> kept = scheduler_.take_usage();
  EXPECT_TRUE(scheduler_.take_usage().empty());
  auto order = [&](Scheduler& scheduler, Millis at) {
    scheduler.add({5, 0, "one", "ada"}, {}, 0, {}, at);
    scheduler.add({6, 0, "two", "bob"}, {}, 0, {}, at);
    scheduler.ended("a", at);
    scheduler.set_idle("a", true);
    return to_string(scheduler.next(at)->trials[0]);
  };
  Scheduler again;
  again.put_gang("a", {4, {}}, now_);
  for (const auto& usage : kept) again.restore_usage(usage);
  again.restore_run("a", {1, 0, "one", "ada"}, now_ - hour);
  EXPECT_EQ(again.running_ranks_of_project("one"), 4u);
  EXPECT_EQ(order(again, now_ + hour), "6/0");
  EXPECT_EQ(order(scheduler_, now_ + hour), "6/0");
  const auto before = scheduler_.take_usage(), after = again.take_usage();
  ASSERT_EQ(before.size(), 4u);
  ASSERT_EQ(after.size(), 4u);
  for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(before[i].mean, after[i].mean);  // to the last bit
  Scheduler fresh;  // one that remembers nothing takes the older job
  fresh.put_gang("a", {4, {}}, now_);
  EXPECT_EQ(order(fresh, now_), "5/0");
}

// ---- Quotas ----

TEST_F(Scheduling, NobodyRunsMoreThanAQuotaAllows) {
  with("projects: {small: {max_ranks: 5}}\nusers: {\"*\": {max_ranks: 4}, bob: {max_ranks: 0}}\n");
  wait(1, 9, {2, {}}, 0, "large", "ada");
  wait(2, 9, {2, {}}, 0, "small", "bob");
  for (int i = 0; i < 9; ++i) gang(fmt::format("{}", i), 2);
  placed();
  EXPECT_EQ(scheduler_.running_ranks_of_user("ada"), 4u);
  EXPECT_EQ(scheduler_.running_ranks_of_user("bob"), 4u);
  EXPECT_EQ(placed(), "");
  end("0");
  EXPECT_NE(placed(), "");
  EXPECT_NE(scheduler_.why(1).find("quota"), std::string::npos) << scheduler_.why(1);
}

TEST_F(Scheduling, AQuotaHoldsOverProjectsAndLetsSmallerGangsBe) {
  with("users: {ada: {max_ranks: 6}}\n");
  wait(1, 1, {4, {}}, 0, "one", "ada");
  wait(2, 1, {4, {}}, 0, "two", "ada");
  wait(3, 1, {}, 0, "two", "ada");
  gang("a", 4), gang("b", 4), gang("c", 2);
  EXPECT_EQ(placed(), "1/0:a 3/0:c ");
}

// ---- No starvation ----

TEST_F(Scheduling, ALargeTrialHasItsTurnAlthoughFlexibleOnesTakeEveryGang) {
  with("reserve_seconds: 60\n");
  gang("a", 8), gang("b", 1);
  wait(1, 1000);
  placed();
  wait(2, 5, {8, {}});
  now_ += 30'000;
  end("a");
  EXPECT_EQ(placed(), "1/2:a ");  // the older job, for now
  now_ += 30'000;
  end("b");
  EXPECT_EQ(placed(), "1/3:b ");
  end("a");
  EXPECT_EQ(placed(), "2/0:a ");
  now_ += 10'000;
  end("a");
  EXPECT_EQ(placed(), "1/4:a ");  // a turn, not a right to all
  now_ += 60'000;
  end("a");
  EXPECT_EQ(placed(), "2/1:a ");
}

TEST_F(Scheduling, ATurnIsNotTakenFromAHigherPriority) {
  with("reserve_seconds: 60\n");
  gang("a", 8);
  wait(1, 2, {8, {}});
  placed();
  now_ += 100'000;
  wait(2, 1, {}, 5);
  end("a");
  EXPECT_EQ(placed(), "2/0:a ");
  end("a");
  EXPECT_EQ(placed(), "1/1:a ");
}

// ---- Preemption ----

TEST_F(Scheduling, AHigherPriorityTakesTheGangThatBeganLastOfTheLowestPriority) {
  with("preempt_seconds: 10\nmin_run_seconds: 60\n");
  gang("a"), gang("b"), gang("c");
  wait(1, 1, {}, 1);
  placed();
  wait(2, 1), placed();
  now_ += 1000;
  wait(3, 1), placed();
  now_ += 100'000;
  wait(4, 1, {}, 9);
  EXPECT_EQ(preempted(), "");  // it has not waited yet
  now_ += 10'000;
  EXPECT_EQ(preempted(), "c ");
  EXPECT_EQ(preempted(), "");  // one is coming
  end("c");
  EXPECT_EQ(placed(), "4/0:c ");
}

TEST_F(Scheduling, EqualPrioritiesAndThoseWithoutAGangThatFitsTakeNothingAway) {
  with("preempt_seconds: 0\nmin_run_seconds: 0\n");
  gang("a", 2);
  wait(1, 1);
  placed();
  now_ += hour;
  wait(2, 1);
  wait(3, 1, {4, {}}, 9);
  EXPECT_EQ(preempted(), "");
}

TEST_F(Scheduling, AnAttemptRunsForAWhileBeforeItsGangIsTakenAway) {
  with("preempt_seconds: 0\nmin_run_seconds: 60\n");
  gang("a");
  wait(1, 1);
  placed();
  wait(2, 1, {}, 1);
  now_ += 59'000;
  EXPECT_EQ(preempted(), "");
  now_ += 1000;
  EXPECT_EQ(preempted(), "a ");
}

TEST_F(Scheduling, WhoHasMostOfItsShareGivesFirst) {
  with("preempt_seconds: 0\nmin_run_seconds: 0\n");
  wait(1, 1, {}, 0, "one");
  wait(2, 2, {}, 0, "two");
  gang("a"), gang("b"), gang("c");
  placed();
  EXPECT_EQ(scheduler_.running_ranks_of_project("two"), 2u);
  wait(3, 2, {}, 5, "three");
  EXPECT_EQ(preempted(), "c b ");
}

TEST_F(Scheduling, NoMoreGangsAreTakenThanTrialsOrPacksWait) {
  with("preempt_seconds: 0\nmin_run_seconds: 0\n");
  for (int i = 0; i < 9; ++i) gang(fmt::format("{}", i));
  wait(1, 9);
  placed();
  for (uint64_t i = 0; i < 8; ++i) scheduler_.add({2, 5, "default", "ada"}, {}, i, {"shape", -1, 8}, now_);
  EXPECT_EQ(scheduler_.preempt(now_).size(), 1u);
  wait(3, 2, {}, 5);
  EXPECT_EQ(scheduler_.preempt(now_).size(), 3u);
}

TEST_F(Scheduling, AQuotaThatOnesOwnLowerPriorityHasUsedUpIsFreed) {
  with("preempt_seconds: 0\nmin_run_seconds: 0\nusers: {ada: {max_ranks: 1}}\n");
  gang("a"), gang("b"), gang("c");
  wait(1, 1, {}, 0, "default", "bob");
  wait(2, 1, {}, 0, "default", "ada");
  placed();
  wait(3, 1, {}, 5, "default", "ada");
  EXPECT_EQ(placed(), "");
  EXPECT_EQ(preempted(), "b ");
  end("b");
  EXPECT_EQ(placed(), "3/0:b ");
}

TEST_F(Scheduling, NoMoreGangsAreTakenThanAQuotaLetsTrialsHave) {
  with("preempt_seconds: 0\nmin_run_seconds: 0\nusers: {bob: {max_ranks: 2}, eve: {max_ranks: 4}}\n");
  for (const char* id : {"a", "b", "c", "d", "e"}) gang(id, 2);
  wait(1, 5);
  placed();
  wait(2, 9, {}, 5, "default", "bob");
  EXPECT_EQ(preempted(), "e ");
  EXPECT_EQ(preempted(), "");  // what comes fills the quota
  wait(3, 9, {}, 5, "default", "eve");
  EXPECT_EQ(preempted(), "d c ");
  end("c"), end("d"), end("e");
  placed();
  EXPECT_EQ(scheduler_.running_ranks_of_user("bob"), 2u);
  EXPECT_EQ(scheduler_.running_ranks_of_user("eve"), 4u);
  EXPECT_EQ(preempted(), "");
}

TEST_F(Scheduling, WhoWaitsForOneTrialTakesOneGangAlthoughOthersWaitAtTheirQuota) {
  with("preempt_seconds: 0\nmin_run_seconds: 0\nusers: {bob: {max_ranks: 1}}\n");
  for (const char* id : {"a", "b", "c", "d"}) gang(id);
  wait(1, 1, {}, 5, "default", "bob");
  placed();
  wait(2, 3);
  placed();
  wait(3, 9, {}, 5, "default", "bob");
  wait(4, 1, {}, 5, "default", "eve");
  EXPECT_EQ(preempted(), "d ");
}

TEST_F(Scheduling, PacksOfSeveralSizesInOneJobAreCountedAsTheyAre) {
  with("preempt_seconds: 0\nmin_run_seconds: 0\n");
  for (int i = 0; i < 9; ++i) gang(fmt::format("{}", i));
  wait(1, 9);
  placed();
  auto add = [&](uint64_t trial, const std::string& shape, uint64_t most) {
    scheduler_.add({2, 5, "default", "ada"}, {}, trial, {shape, -1, most}, now_);
  };
  add(0, "alone", 1);
  for (uint64_t i = 1; i < 9; ++i) add(i, "small", 8);
  EXPECT_EQ(scheduler_.preempt(now_).size(), 2u);
  scheduler_.remove({2, 0});
  EXPECT_EQ(scheduler_.preempt(now_).size(), 1u);
}

TEST_F(Scheduling, SixteenGangsAreTakenAtATime) {
  with("preempt_seconds: 0\nmin_run_seconds: 0\n");
  for (int i = 0; i < 40; ++i) gang(fmt::format("{:02}", i));
  wait(1, 40);
  placed();
  wait(2, 30, {}, 5);
  EXPECT_EQ(preempted(), "39 38 37 36 35 34 33 32 31 30 29 28 27 26 25 24 ");
  EXPECT_EQ(preempted(), "23 22 21 20 19 18 17 16 15 14 13 12 11 10 ");
  EXPECT_EQ(preempted(), "");
}

TEST_F(Scheduling, WithPreemptionOffNothingIsTakenAway) {
  with("preempt: false\npreempt_seconds: 0\nmin_run_seconds: 0\n");
  gang("a");
  wait(1, 1);
  placed();
  wait(2, 1, {}, 5);
  EXPECT_EQ(preempted(), "");
}

// ---- Reasons ----

TEST_F(Scheduling, TheReasonNamesWhatIsMissing) {
  wait(1, 1, {4, {{"pool", "a100"}}});
  EXPECT_EQ(scheduler_.why(9), "");
  EXPECT_EQ(scheduler_.why(1), "it waits for a gang of 4 ranks with pool=a100; none is connected");
  gang("a", 4);
  EXPECT_EQ(scheduler_.why(1), "it waits for a gang of 4 ranks with pool=a100; no connected gang carries these labels");
  gang("b", 2, {{"pool", "a100"}});
  EXPECT_EQ(scheduler_.why(1), "it waits for a gang of 4 ranks with pool=a100; those of this size carry other labels");
  wait(2, 1, {3, {}});
  EXPECT_EQ(scheduler_.why(2), "it waits for a gang of 3 ranks; the connected ones have 2, 4");
}

TEST_F(Scheduling, TheReasonTellsWhoIsBefore) {
  gang("a"), gang("b");
  wait(1, 3, {}, 5);
  placed();
  wait(2, 1);
  EXPECT_EQ(scheduler_.why(2),
            "all 2 gangs that fit are busy, 2 of them with a higher priority; 1 waiting trial has a higher priority "
            "than its 0");
  scheduler_.remove({1, 2});
  wait(3, 1);
  EXPECT_EQ(scheduler_.why(3),
            "all 2 gangs that fit are busy, 2 of them with a higher priority; job 2 of the same user comes first");
}

// ---- Size ----

TEST_F(Scheduling, ThousandsOfGangsAndTrialsArePlacedAtOnce) {
  for (int i = 0; i < 5000; ++i) gang(std::to_string(i));
  wait_fusable(1, 100'000, 32);
  const auto begin = std::chrono::steady_clock::now();
  std::set<TrialId> all;
  size_t packs = 0;
  while (auto placement = scheduler_.next(now_)) {
    ++packs;
    EXPECT_EQ(placement->trials.size(), 20u);
    all.insert(placement->trials.begin(), placement->trials.end());
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(packs, 5000u);
  EXPECT_EQ(all.size(), 100'000u);
}

// ---- The policy ----

TEST(Policy, MistakesNameFileLineAndRemedy) {
  auto wrong = parse_policy("preempt: maybe\nusers:\n  ada: {weight: 0, max_rank: 3}\n  bob: 5\nother: 1\n", "p.yaml");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message,
            "p.yaml:1: preempt is maybe; it must be true or false\n"
            "p.yaml:3: users.ada.weight is 0; it must be 1e-06 to 1e+06\n"
            "p.yaml:3: users.ada.max_rank is an unknown key; there are weight, max_ranks, max_priority\n"
            "p.yaml:4: users.bob is 5; it must be a section: its keys below it, indented\n"
            "p.yaml:5: other is an unknown key; there are half_life_hours, reserve_seconds, preempt, preempt_seconds, "
            "min_run_seconds, projects, users");
}

TEST(Policy, AStarIsForThoseThatAreNotNamed) {
  auto policy = parse_policy("users:\n  \"*\": {max_ranks: 8}\n  ada: {max_priority: 3}\n", "p.yaml").value();
  EXPECT_EQ(policy.of_user("bob").max_ranks, 8u);
  EXPECT_EQ(policy.of_user("ada").max_ranks, 0u);
  EXPECT_EQ(policy.of_user("ada").max_priority, 3);
  EXPECT_EQ(policy.of_project("any"), Allowance{});
}

}  // namespace
}  // namespace hivq
