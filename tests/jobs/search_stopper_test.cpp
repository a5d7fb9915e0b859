#include <gtest/gtest.h>

#include <algorithm>

#include "jobs/search/draws.h"
#include "jobs/search/stopper.h"
#include "tests/jobs/search_problems.h"

namespace hivq {
namespace {

SweepSpec stopping(const std::string& by, int64_t min_epochs, double reduction) {
  SweepSpec sweep;
  sweep.stop = {by, min_epochs, reduction, 3};
  return sweep;
}

std::vector<CurvePoint> upto(std::initializer_list<CurvePoint> curve) { return curve; }

TEST(Asha, KeepsTheBestPartAtEachRung) {
  auto stopper = make_stopper(stopping("asha", 2, 3), 100);
  // At epoch 2: the first to come goes on; of two to five one, of six two.
  EXPECT_FALSE(stopper->record(0, upto({{2, 0.5}})));
  EXPECT_TRUE(stopper->record(1, upto({{2, 0.6}})));
  EXPECT_FALSE(stopper->record(2, upto({{2, 0.4}})));
  EXPECT_TRUE(stopper->record(3, upto({{2, 0.45}})));
  EXPECT_TRUE(stopper->record(4, upto({{2, 0.47}})));
  EXPECT_FALSE(stopper->record(5, upto({{2, 0.42}})));
  // Between rungs nobody is judged; at epoch 6 again, among those that came there.
  EXPECT_FALSE(stopper->record(0, upto({{2, 0.5}, {4, 9.0}})));
  EXPECT_FALSE(stopper->record(0, upto({{2, 0.5}, {4, 9.0}, {6, 0.3}})));
  EXPECT_TRUE(stopper->record(2, upto({{2, 0.4}, {6, 0.35}})));
}

TEST(Asha, ARungIsTheFirstEvaluationAtOrBeyondIt) {
  auto stopper = make_stopper(stopping("asha", 3, 2), 100);
  EXPECT_FALSE(stopper->record(0, upto({{2, 0.1}})));
  EXPECT_FALSE(stopper->record(1, upto({{2, 0.9}})));  // no rung yet
  EXPECT_FALSE(stopper->record(0, upto({{2, 0.1}, {4, 0.1}})));
  EXPECT_TRUE(stopper->record(1, upto({{2, 0.9}, {4, 0.9}})));  // rung 3, judged at 4
}

TEST(Asha, WhatHasNoValueStops) {
  auto stopper = make_stopper(stopping("asha", 1, 2), 100);
  EXPECT_TRUE(stopper->record(0, upto({{1, std::nan("")}})));
}

TEST(Asha, VariantsAreJudgedBesideTheirOwnKind) {
  SweepSpec sweep = stopping("asha", 1, 2);
  sweep.variants = {{"easy", {}, {}}, {"hard", {}, {}}};
  auto stopper = make_stopper(sweep, 100);
  EXPECT_FALSE(stopper->record(0, upto({{1, 0.1}})));
  EXPECT_FALSE(stopper->record(1, upto({{1, 0.9}})));  // the first of the hard ones
  EXPECT_TRUE(stopper->record(3, upto({{1, 0.95}})));
}

// The same set of records in another order, and records twice, as after a restart: the next decision is the same.
TEST(Asha, ADecisionDependsOnTheSetOfRecordsAlone) {
  std::vector<std::pair<int64_t, double>> records;
  for (int64_t i = 0; i < 30; ++i) records.emplace_back(i, std::fmod(static_cast<double>(i) * 0.37, 1.0));
  for (const char* by : {"asha", "hyperband", "median"}) {
    for (double value : {0.05, 0.2, 0.31, 0.4, 0.6, 0.9}) {
      auto one = make_stopper(stopping(by, 1, 3), 100), other = make_stopper(stopping(by, 1, 3), 100);
      for (const auto& [trial, each] : records) (void)one->record(trial, upto({{1, each}}));
      for (int twice = 0; twice < 2; ++twice) {
        for (auto r = records.rbegin(); r != records.rend(); ++r) (void)other->record(r->first, upto({{1, r->second}}));
      }
      EXPECT_EQ(one->record(99, upto({{1, value}})), other->record(99, upto({{1, value}}))) << by << " " << value;
    }
  }
}

TEST(Hyperband, BracketsAreThoseOfAlgorithm1) {
  // R / min_epochs = 81, eta 3: five brackets that begin with 81, 34, 15, 8 and 5 trials.
  const StopSpec stop{"hyperband", 1, 3, 5};
  EXPECT_EQ(brackets_of(stop, 80), 4);
  EXPECT_EQ(brackets_of(stop, 81), 5);
  EXPECT_EQ(brackets_of(stop, 242), 5);
  std::map<int64_t, double> counts;
  for (int64_t i = 0; i < 14300; ++i) ++counts[bracket_of(7, i, 5, 3)];
  const double expected[] = {8100, 3400, 1500, 800, 500};
  for (int64_t s = 0; s < 5; ++s) EXPECT_NEAR(counts[s], expected[s], 5 * std::sqrt(expected[s])) << s;
}

TEST(Hyperband, ABracketBeginsAtItsOwnRung) {
  auto stopper = make_stopper(stopping("hyperband", 1, 3), 27);
  ASSERT_EQ(brackets_of({"hyperband", 1, 3, 5}, 27), 4);
  std::vector<int64_t> of_bracket[4];
  for (int64_t i = 0; i < 200; ++i) of_bracket[bracket_of(0, i, 4, 3)].push_back(i);
  EXPECT_FALSE(stopper->record(of_bracket[0][0], upto({{1, 0.1}})));
  EXPECT_TRUE(stopper->record(of_bracket[0][1], upto({{1, 0.9}})));
  // Bracket 2 begins at epoch 9; in the last one nobody is stopped.
  EXPECT_FALSE(stopper->record(of_bracket[2][0], upto({{1, 0.1}})));
  EXPECT_FALSE(stopper->record(of_bracket[2][1], upto({{1, 0.9}})));
  EXPECT_FALSE(stopper->record(of_bracket[2][0], upto({{1, 0.1}, {9, 0.1}})));
  EXPECT_TRUE(stopper->record(of_bracket[2][1], upto({{1, 0.9}, {9, 0.9}})));
  EXPECT_FALSE(stopper->record(of_bracket[3][0], upto({{26, 0.1}})));
  EXPECT_FALSE(stopper->record(of_bracket[3][1], upto({{26, 0.9}})));
}

TEST(Hyperband, AtTheLastRungNobodyIsStopped) {
  auto stopper = make_stopper(stopping("hyperband", 1, 3), 40);  // rungs at 1, 3, 9 and 27
  std::vector<int64_t> last;
  for (int64_t i = 0; i < 300; ++i) {
    if (bracket_of(0, i, 4, 3) == 3) last.push_back(i);
  }
  EXPECT_FALSE(stopper->record(last[0], upto({{27, 0.1}})));
  EXPECT_FALSE(stopper->record(last[1], upto({{27, 0.9}})));
}

TEST(Median, StopsWhatIsWorseThanTheMedianOfRunningMeans) {
  auto stopper = make_stopper(stopping("median", 2, 3), 100);
  for (int64_t trial = 0; trial < 3; ++trial) {
    const double value = 0.1 * static_cast<double>(trial + 1);  // running means at epoch 2: 0.1, 0.2, 0.3
    EXPECT_FALSE(stopper->record(trial, upto({{1, value}})));
    EXPECT_FALSE(stopper->record(trial, upto({{1, value}, {2, value}})));
  }
  EXPECT_FALSE(stopper->record(7, upto({{1, 0.9}})));            // before min_epochs
  EXPECT_TRUE(stopper->record(7, upto({{1, 0.9}, {2, 0.25}})));  // its best, 0.25, is worse than 0.2
  EXPECT_FALSE(stopper->record(8, upto({{1, 0.9}, {2, 0.15}})));
}

TEST(Median, NeedsOthersToCompareWith) {
  auto stopper = make_stopper(stopping("median", 1, 3), 100);
  EXPECT_FALSE(stopper->record(0, upto({{1, 0.1}})));
  EXPECT_FALSE(stopper->record(1, upto({{1, 0.2}})));
  EXPECT_FALSE(stopper->record(2, upto({{1, 9.0}})));  // two others are there, three are wanted
  EXPECT_TRUE(stopper->record(3, upto({{1, 9.0}})));
}

TEST(Stopper, NoneStopsNothing) { EXPECT_EQ(make_stopper(stopping("none", 1, 3), 10), nullptr); }

// Much less training for nearly the same best trial: curves that fall to a floor which differs by trial.
TEST(Asha, SavesMostOfTheTrainingAndKeepsTheBest) {
  for (const char* by : {"asha", "hyperband"}) {
    auto stopper = make_stopper(stopping(by, 1, 3), 81);
    int64_t trained = 0;
    double best = 1, best_of_all = 1;
    for (int64_t trial = 0; trial < 300; ++trial) {
      const double floor = unit_double(random_bits(4, static_cast<uint64_t>(trial), 1));
      best_of_all = std::min(best_of_all, floor);
      std::vector<CurvePoint> curve;
      for (int64_t epoch = 1; epoch <= 81; ++epoch) {
        ++trained;
        curve.push_back({epoch, floor + 0.3 / static_cast<double>(epoch)});
        if (stopper->record(trial, curve) && epoch < 81) break;
        if (epoch == 81) best = std::min(best, floor);
      }
    }
    EXPECT_LT(trained, 300 * 81 / 4) << by;
    EXPECT_LT(best, best_of_all + 0.02) << by;
  }
}

}  // namespace
}  // namespace hivq
