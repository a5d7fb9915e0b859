#include "worker/eval/ranking.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <vector>

namespace hivq {
namespace {

using Scores = std::vector<float>;
using Labels = std::vector<uint8_t>;

double auroc(const Scores& scores, const Labels& anomalous) { return ranking(scores, anomalous).value().auroc; }

/// The definition: the share of (anomalous, normal) pairs that are ordered rightly; a tie is half a pair.
double auroc_by_pairs(const Scores& scores, const Labels& anomalous) {
  double wins = 0, pairs = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    for (size_t j = 0; j < scores.size(); ++j) {
      if (!anomalous[i] || anomalous[j]) continue;
      pairs += 1;
      wins += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
    }
  }
  return wins / pairs;
}

/// The definitions, counted anew at every threshold.
Ranking by_thresholds(const Scores& scores, const Labels& anomalous) {
  Ranking found;
  double recall_before = 0;
  const std::set<float, std::greater<>> thresholds(scores.begin(), scores.end());
  for (const float threshold : thresholds) {
    double right = 0, flagged = 0, positives = 0;
    for (size_t i = 0; i < scores.size(); ++i) {
      positives += anomalous[i];
      flagged += scores[i] >= threshold;
      right += scores[i] >= threshold && anomalous[i];
    }
    const double precision = right / flagged, recall = right / positives;
    found.average_precision += (recall - recall_before) * precision;
    if (right > 0) found.f1_max = std::max(found.f1_max, 2 * precision * recall / (precision + recall));
    recall_before = recall;
  }
  return found;
}

TEST(Ranking, GivesTheAurocsComputedByHand) {
  EXPECT_EQ(auroc({1, 2, 3, 4}, {0, 0, 1, 1}), 1.0);
  EXPECT_EQ(auroc({1, 2, 3, 4}, {1, 1, 0, 0}), 0.0);  // not flipped
  EXPECT_EQ(auroc({0.1f, 0.4f, 0.35f, 0.8f}, {0, 0, 1, 1}), 0.75);
  EXPECT_EQ(auroc({5, 5, 5, 5, 5}, {0, 1, 0, 1, 1}), 0.5);
  EXPECT_EQ(auroc({1, 2, 2, 3}, {0, 0, 1, 1}), 3.5 / 4);
  EXPECT_EQ(auroc({2, 1, 2, 2, 3}, {1, 0, 0, 1, 0}), (1 + 0.5 + 1 + 0.5) / 6);
}

TEST(Ranking, GivesTheAveragePrecisionsAndF1ComputedByHand) {
  // By falling score: right, wrong, right: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
  const Ranking found = ranking(Scores{3, 2, 1}, Labels{1, 0, 1}).value();
  EXPECT_DOUBLE_EQ(found.average_precision, 0.5 * 1 + 0.5 * 2 / 3);
  EXPECT_DOUBLE_EQ(found.f1_max, 2 * (2.0 / 3) / (2.0 / 3 + 1));
  // One step for all: precision is the share of positives.
  const Ranking tied = ranking(Scores{1, 1, 1, 1}, Labels{1, 0, 0, 0}).value();
  EXPECT_DOUBLE_EQ(tied.average_precision, 0.25);
  EXPECT_DOUBLE_EQ(tied.f1_max, 0.4);
}

TEST(Ranking, OrdersInfinitiesAndTiesBothZeros) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(auroc({-infinity, 0, infinity}, {0, 0, 1}), 1.0);
  EXPECT_EQ(auroc({infinity, infinity}, {0, 1}), 0.5);
  EXPECT_EQ(auroc({-0.0f, 0.0f}, {0, 1}), 0.5);
}

TEST(Ranking, IsNothingWithoutBothKindsOrWithNaN) {
  EXPECT_FALSE(ranking(Scores{}, Labels{}));
  EXPECT_FALSE(ranking(Scores{1, 2}, Labels{0, 0}));
  EXPECT_FALSE(ranking(Scores{1, 2}, Labels{1, 1}));
  EXPECT_FALSE(ranking(Scores{1, std::nanf(""), 3}, Labels{0, 1, 1}));
}

TEST(Ranking, EqualsItsDefinitionsOnRandomScoresWithTies) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 300; ++round) {
    const size_t n = 2 + random() % 60, levels = 1 + random() % 40;
    Scores scores(n);
    Labels anomalous(n);
    for (float& score : scores) score = static_cast<float>(random() % levels) - 7.5f;
    for (uint8_t& label : anomalous) label = random() % 2;
    anomalous[0] = 0;
    anomalous[1] = 1;
    const Ranking found = ranking(scores, anomalous).value(), expected = by_thresholds(scores, anomalous);
    ASSERT_NEAR(found.auroc, auroc_by_pairs(scores, anomalous), 1e-12);
    ASSERT_NEAR(found.average_precision, expected.average_precision, 1e-12);
    ASSERT_NEAR(found.f1_max, expected.f1_max, 1e-12);
  }
}

TEST(Ranking, IsExactOnAMillionScores) {
  // Half of the anomalous scores tie with every normal one, the others beat them all: 3/4.
  Scores scores(1'000'000, 1.0f);
  Labels anomalous(scores.size(), 0);
  for (size_t i = 0; i < 400'000; ++i) {
    anomalous[i] = 1;
    if (i % 2 == 0) scores[i] = 2.0f;
  }
  EXPECT_EQ(auroc(scores, anomalous), 0.75);
}

TEST(Ranking, CountsMorePairsThan64BitsHold) {
  const uint64_t many = uint64_t{1} << 40;  // 2^80 pairs
  RankingMetrics metrics(2 * many, many);
  metrics.step(many, 0);
  metrics.step(many, many);
  EXPECT_EQ(metrics.result().value().auroc, 0.75);
}

}  // namespace
}  // namespace hivq
