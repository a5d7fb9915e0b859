#include "coordinator/schedule.h"

#include <gtest/gtest.h>

namespace hivq {
namespace {

std::string shown(const std::vector<Placement>& placements) {
  std::string text;
  for (const auto& p : placements) text += to_string(p.trial) + ":" + p.gang + " ";
  return text;
}

TEST(Schedule, TheOldestTrialsGoFirst) {
  WaitingTrials waiting{{0, {{2, 0}, {1, 5}, {1, 4}}}};
  EXPECT_EQ(shown(schedule(waiting, {{"a", 1}, {"b", 8}})), "1/4:a 1/5:b ");
}

TEST(Schedule, ATrialGoesOnlyToAGangOfItsSize) {
  WaitingTrials waiting{{2, {{1, 0}}}, {4, {{1, 1}}}};
  EXPECT_EQ(shown(schedule(waiting, {{"a", 1}, {"b", 4}, {"c", 2}})), "1/0:c 1/1:b ");
}

TEST(Schedule, ATrialThatNoGangFitsDoesNotHoldUpTheOthers) {
  WaitingTrials waiting{{8, {{1, 0}, {1, 1}}}, {0, {{3, 0}}}, {2, {{2, 0}}}};
  EXPECT_EQ(shown(schedule(waiting, {{"a", 2}, {"b", 2}})), "2/0:a 3/0:b ");
}

TEST(Schedule, SizesTakeTurnsByAge) {
  WaitingTrials waiting{{0, {{1, 0}, {1, 2}}}, {2, {{1, 1}, {1, 3}}}};
  EXPECT_EQ(shown(schedule(waiting, {{"a", 2}, {"b", 2}, {"c", 2}})), "1/0:a 1/1:b 1/2:c ");
}

TEST(Schedule, NothingWaitsOrNobodyIsIdle) {
  EXPECT_TRUE(schedule({}, {{"a", 1}}).empty());
  EXPECT_TRUE(schedule({{0, {{1, 0}}}}, {}).empty());
}

}  // namespace
}  // namespace hivq
