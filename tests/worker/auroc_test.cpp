#include "worker/eval/auroc.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace hivq {
namespace {

std::optional<double> of(const std::vector<float>& scores, const std::vector<uint8_t>& anomalous) {
  return auroc(scores, anomalous);
}

/// The definition: the share of (anomalous, normal) pairs that are ordered rightly; a tie is half a pair.
double by_pairs(const std::vector<float>& scores, const std::vector<uint8_t>& anomalous) {
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

TEST(Auroc, GivesTheValuesComputedByHand) {
  EXPECT_EQ(of({1, 2, 3, 4}, {0, 0, 1, 1}), 1.0);
  EXPECT_EQ(of({1, 2, 3, 4}, {1, 1, 0, 0}), 0.0);  // not flipped
  EXPECT_EQ(of({0.1f, 0.4f, 0.35f, 0.8f}, {0, 0, 1, 1}), 0.75);
  EXPECT_EQ(of({5, 5, 5, 5, 5}, {0, 1, 0, 1, 1}), 0.5);
  EXPECT_EQ(of({1, 2, 2, 3}, {0, 0, 1, 1}), 3.5 / 4);
  EXPECT_EQ(of({2, 1, 2, 2, 3}, {1, 0, 0, 1, 0}), (1 + 0.5 + 1 + 0.5) / 6);
}

TEST(Auroc, OrdersInfinitiesAndTiesBothZeros) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(of({-infinity, 0, infinity}, {0, 0, 1}), 1.0);
  EXPECT_EQ(of({infinity, infinity}, {0, 1}), 0.5);
  EXPECT_EQ(of({-0.0f, 0.0f}, {0, 1}), 0.5);
}

TEST(Auroc, IsNothingWithoutBothKindsOrWithNaN) {
  EXPECT_EQ(of({}, {}), std::nullopt);
  EXPECT_EQ(of({1, 2}, {0, 0}), std::nullopt);
  EXPECT_EQ(of({1, 2}, {1, 1}), std::nullopt);
  EXPECT_EQ(of({1, std::nanf(""), 3}, {0, 1, 1}), std::nullopt);
}

TEST(Auroc, EqualsTheShareOfOrderedPairsOnRandomScoresWithTies) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 300; ++round) {
    const size_t n = 2 + random() % 60, levels = 1 + random() % 40;
    std::vector<float> scores(n);
    std::vector<uint8_t> anomalous(n);
    for (float& score : scores) score = static_cast<float>(random() % levels) - 7.5f;
    for (uint8_t& label : anomalous) label = random() % 2;
    anomalous[0] = 0;
    anomalous[1] = 1;
    ASSERT_NEAR(of(scores, anomalous).value(), by_pairs(scores, anomalous), 1e-12);
  }
}

TEST(Auroc, IsExactOnAMillionScores) {
  // Half of the anomalous scores tie with every normal one, the others beat them all: 3/4.
  std::vector<float> scores(1'000'000, 1.0f);
  std::vector<uint8_t> anomalous(scores.size(), 0);
  for (size_t i = 0; i < 400'000; ++i) {
    anomalous[i] = 1;
    if (i % 2 == 0) scores[i] = 2.0f;
  }
  EXPECT_EQ(of(scores, anomalous), 0.75);
}

}  // namespace
}  // namespace hivq
