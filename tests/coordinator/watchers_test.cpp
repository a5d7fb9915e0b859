#include "coordinator/watchers.h"

#include <gtest/gtest.h>

namespace hivq {
namespace {

Write of_job(JobId job) { return {Family::trials, key_of(TrialId{job, 0}), "x"}; }

class WatchersTest : public testing::Test {
 protected:
  void commit(JobId job) {
    Write write = of_job(job);
    watchers_.note({&write, 1});
  }
  /// The only answer that is due.
  std::optional<Changed> answer(Millis now) {
    auto answers = watchers_.due(now);
    EXPECT_LE(answers.size(), 1u);
    return answers.empty() ? std::nullopt : std::optional(answers[0].changed);
  }
  Watchers watchers_{1000};
};

TEST_F(WatchersTest, WithoutAVersionTheAnswerComesAtOnce) {
  watchers_.add("c", 1, {7, 0, 5000}, 100);
  auto first = answer(100);
  ASSERT_TRUE(first);
  EXPECT_TRUE(first->changed);
  EXPECT_EQ(first->version, 1000u);
}

TEST_F(WatchersTest, AChangeOfTheJobIsToldAndNoOther) {
  watchers_.add("c", 1, {7, 1000, 5000}, 100);
  commit(8);
  EXPECT_FALSE(answer(200));
  commit(7);
  auto changed = answer(300);
  ASSERT_TRUE(changed);
  EXPECT_TRUE(changed->changed);
  EXPECT_GT(changed->version, 1000u);
  EXPECT_FALSE(answer(400));  // once
  watchers_.add("c", 2, {7, changed->version, 5000}, 400);
  EXPECT_FALSE(answer(500));
}

TEST_F(WatchersTest, AChangeBetweenTwoQuestionsIsNotMissed) {
  commit(7);
  (void)watchers_.due(100);
  watchers_.add("c", 1, {7, 1000, 5000}, 200);
  EXPECT_TRUE(answer(200)->changed);
}

TEST_F(WatchersTest, AfterTheWaitTheAnswerIsThatNothingChanged) {
  watchers_.add("c", 1, {7, 1000, 5000}, 100);
  EXPECT_FALSE(answer(5099));
  auto over = answer(5100);
  ASSERT_TRUE(over);
  EXPECT_FALSE(over->changed);
  watchers_.add("c", 2, {7, 1000, 1'000'000}, 0);  // not longer than the most
  EXPECT_TRUE(answer(most_watch));
}

TEST_F(WatchersTest, AQuestionThatIsRepeatedIsOne) {
  watchers_.add("c", 1, {7, 1000, 5000}, 100);
  watchers_.add("c", 1, {7, 1000, 5000}, 1100);
  commit(7);
  EXPECT_EQ(watchers_.due(1200).size(), 1u);
}

TEST_F(WatchersTest, AGangThatSpeaksOfATrialIsAChange) {
  watchers_.add("c", 1, {7, 1000, 5000}, 100);
  watchers_.note(Heartbeat{"g", {{{{7, 3}, 5}, 10, 20, "training"}}});
  EXPECT_TRUE(answer(200)->changed);
}

TEST_F(WatchersTest, VersionsGrowAcrossARestart) {
  commit(7);
  (void)watchers_.due(100);
  watchers_.add("c", 1, {7, 0, 0}, 100);
  const uint64_t before = answer(100)->version;
  Watchers later(2000);  // a second later
  later.add("c", 1, {7, before, 5000}, 0);
  EXPECT_EQ(later.due(0).size(), 1u);
}

}  // namespace
}  // namespace hivq
