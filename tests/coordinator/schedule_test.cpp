#include "coordinator/schedule.h"

#include <gtest/gtest.h>

#include <chrono>

namespace hivq {
namespace {

std::string shown(const std::vector<Placement>& placements) {
  std::string text;
  for (const auto& p : placements) {
    for (const auto& trial : p.trials) text += to_string(trial) + (trial == p.trials.back() ? ":" : "+");
    text += p.gang + " ";
  }
  return text;
}

/// Trials that each train alone.
Queue alone(const std::vector<TrialId>& trials) {
  Queue queue;
  for (const auto& trial : trials) queue.add(trial, {trial.job, "", -1, 1});
  return queue;
}

/// Trials of a job that may train side by side.
Queue fusable(JobId job, uint64_t count, uint64_t most) {
  Queue queue;
  for (uint64_t i = 0; i < count; ++i) queue.add({job, i}, {job, "shape", -1, most});
  return queue;
}

TEST(Schedule, TheOldestTrialsGoFirst) {
  WaitingTrials waiting{{0, alone({{2, 0}, {1, 5}, {1, 4}})}};
  EXPECT_EQ(shown(schedule(waiting, {{"a", 1}, {"b", 8}})), "1/4:a 1/5:b ");
}

TEST(Schedule, ATrialGoesOnlyToAGangOfItsSize) {
  WaitingTrials waiting{{2, alone({{1, 0}})}, {4, alone({{1, 1}})}};
  EXPECT_EQ(shown(schedule(waiting, {{"a", 1}, {"b", 4}, {"c", 2}})), "1/0:c 1/1:b ");
}

TEST(Schedule, ATrialThatNoGangFitsDoesNotHoldUpTheOthers) {
  WaitingTrials waiting{{8, alone({{1, 0}, {1, 1}})}, {0, alone({{3, 0}})}, {2, alone({{2, 0}})}};
  EXPECT_EQ(shown(schedule(waiting, {{"a", 2}, {"b", 2}})), "2/0:a 3/0:b ");
}

TEST(Schedule, SizesTakeTurnsByAge) {
  WaitingTrials waiting{{0, alone({{1, 0}, {1, 2}})}, {2, alone({{1, 1}, {1, 3}})}};
  EXPECT_EQ(shown(schedule(waiting, {{"a", 2}, {"b", 2}, {"c", 2}})), "1/0:a 1/1:b 1/2:c ");
}

TEST(Schedule, TrialsOfOneShapeGoTogetherUpToTheSizeOfAPack) {
  EXPECT_EQ(shown(schedule({{0, fusable(1, 5, 3)}}, {{"a", 1}})), "1/0+1/1+1/2:a ");
  EXPECT_EQ(shown(schedule({{0, fusable(1, 5, 8)}}, {{"a", 1}})), "1/0+1/1+1/2+1/3+1/4:a ");
}

TEST(Schedule, IdleGangsShareTheTrialsEvenly) {
  EXPECT_EQ(shown(schedule({{0, fusable(1, 5, 8)}}, {{"a", 1}, {"b", 1}})), "1/0+1/1+1/2:a 1/3+1/4:b ");
  EXPECT_EQ(shown(schedule({{2, fusable(1, 3, 8)}}, {{"a", 1}, {"b", 2}, {"c", 2}})), "1/0+1/1:b 1/2:c ");
  EXPECT_EQ(shown(schedule({{0, fusable(1, 2, 8)}}, {{"a", 1}, {"b", 1}, {"c", 1}})), "1/0:a 1/1:b ");
}

TEST(Schedule, OnlyTrialsOfOneJobOneShapeAndOneStepGoTogether) {
  Queue queue = fusable(1, 6, 8);
  for (uint64_t i : {1, 2, 3}) queue.remove({1, i});
  queue.add({1, 1}, {1, "another shape", -1, 8});
  queue.add({1, 2}, {1, "shape", 40, 8});
  queue.add({1, 3}, {1, "shape", 40, 8});
  queue.add({2, 0}, {2, "shape", -1, 8});
  WaitingTrials waiting{{0, queue}};
  EXPECT_EQ(shown(schedule(waiting, {{"a", 1}})), "1/0+1/4+1/5:a ");
  const std::vector<IdleGang> two = {{"a", 1}, {"b", 1}};
  EXPECT_EQ(shown(schedule(waiting, two)), "1/0+1/4:a 1/1:b ");
  std::vector<IdleGang> many;
  for (char name = 'a'; name < 'h'; ++name) many.push_back({std::string(1, name), 1});
  EXPECT_EQ(shown(schedule(waiting, many)), "1/0:a 1/1:b 1/2:c 1/3:d 1/4:e 1/5:f 2/0:g ");
}

TEST(Schedule, TrialsThatWentWithAnOlderOneAreNotPlacedAgain) {
  Queue queue = fusable(1, 3, 2);
  queue.remove({1, 1});
  queue.add({1, 1}, {1, "another shape", -1, 2});
  EXPECT_EQ(shown(schedule({{0, queue}, {4, alone({{3, 0}})}}, {{"a", 1}, {"b", 4}, {"c", 4}})), "1/0:a 1/1:b 1/2:c ");
  EXPECT_EQ(shown(schedule({{1, queue}}, {{"a", 1}, {"b", 4}})), "1/0+1/2:a ");
}

TEST(Schedule, WhatWaitsNoMoreIsForgotten) {
  Queue queue = fusable(1, 3, 2);
  for (uint64_t i : {0, 1, 1, 2, 9}) queue.remove({1, i});
  EXPECT_TRUE(queue.trials.empty() && queue.companions.empty());
}

TEST(Schedule, ThousandsOfGangsAndTrialsArePlacedAtOnce) {
  std::vector<IdleGang> idle;
  for (int i = 0; i < 5000; ++i) idle.push_back({std::to_string(i), 1});
  const auto begin = std::chrono::steady_clock::now();
  const auto placements = schedule({{0, fusable(1, 100'000, 32)}}, std::move(idle));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  ASSERT_EQ(placements.size(), 5000u);
  std::set<TrialId> all;
  for (const auto& placement : placements) {
    EXPECT_EQ(placement.trials.size(), 20u);
    all.insert(placement.trials.begin(), placement.trials.end());
  }
  EXPECT_EQ(all.size(), 100'000u);
}

TEST(Schedule, NothingWaitsOrNobodyIsIdle) {
  EXPECT_TRUE(schedule({}, {{"a", 1}}).empty());
  EXPECT_TRUE(schedule({{0, alone({{1, 0}})}}, {}).empty());
}

}  // namespace
}  // namespace hivq
