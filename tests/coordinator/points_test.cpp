#include "coordinator/points.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "coordinator/series.h"
#include "tests/coordinator/map_store.h"

namespace hivq {
namespace {

using Points = std::vector<MetricPoint>;

/// Bit by bit, NaN too.
void expect_same(const Points& a, const Points& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].step, b[i].step) << i;
    ASSERT_EQ(std::bit_cast<uint64_t>(a[i].value), std::bit_cast<uint64_t>(b[i].value)) << i;
  }
}

Points read(std::string_view bytes) {
  auto points = decode_points(bytes);
  if (!points) ADD_FAILURE() << points.error().message;
  return points ? *points : Points();
}

TEST(Points, ComeBackExactly) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  const Points odd{{0, 0.0}, {1, -0.0}, {2, std::nan("7")}, {3, inf}, {4, -inf}, {5, 5e-324}, {6, 1.7e308}, {7, 1.7e308},
                   {100, 0.1}, {101, 0.1}, {1'000'000'000'000, 1}, {std::numeric_limits<int64_t>::max(), -1}};
  for (size_t count = 1; count <= odd.size(); ++count) {
    const Points some(odd.begin(), odd.begin() + static_cast<std::ptrdiff_t>(count));
    expect_same(read(encode_points(some)), some);
  }
  EXPECT_EQ(encode_points({}), "");
  EXPECT_TRUE(read("").empty());
}

// Every kind of step and of value, in every mixture: 2,000 curves.
TEST(Points, OfRandomCurvesComeBackExactly) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 2000; ++round) {
    Points points;
    int64_t step = static_cast<int64_t>(random() % 3 == 0 ? 0 : random() >> 20);
    const auto kind = random() % 4;
    double value = 1;
    for (uint64_t left = 1 + random() % 200; left > 0; --left) {
      if (kind == 0) value = std::bit_cast<double>(random());
      if (kind == 1) value *= 1 + 1e-3 * static_cast<double>(random() % 1000);
      if (kind == 2) value = static_cast<float>(random() % 1000) / 7.0F;
      if (kind == 3 && random() % 3 == 0) value = static_cast<double>(random() % 5);
      points.push_back({step, value});
      const uint64_t spread = uint64_t{1} << (random() % (1 + random() % 40));
      step += 1 + static_cast<int64_t>(random() % spread);
    }
    expect_same(read(encode_points(points)), points);
  }
}

TEST(Points, OfARegularFloatCurveTakeAboutHalfOfTheirBytes) {
  std::mt19937 random(1);
  std::normal_distribution<float> noise(0, 0.05F);
  Points points;
  for (int64_t step = 0; step < 1024; ++step) {
    points.push_back({step, static_cast<double>(1 / (1 + 0.01F * static_cast<float>(step)) + noise(random))});
  }
  EXPECT_LT(encode_points(points).size(), 1024 * 5u);
  for (auto& point : points) point.value = 1e-4;
  EXPECT_LT(encode_points(points).size(), 1024 / 4 + 32u);  // a constant: 2 bits a point
}

TEST(Points, OfAStepThatComesAgainTheLastCounts) {
  const Points first{{1, 1}, {2, 2}, {3, 3}}, again{{2, 20}, {3, 30}, {4, 40}};
  const std::string a = encode_points(first), b = encode_points(again);
  const Points expected{{1, 1}, {2, 20}, {3, 30}, {4, 40}};
  expect_same(read(a + b), expected);
  const std::string_view rows[] = {a, b};
  expect_same(read(merge_points(rows)), expected);
  EXPECT_EQ(merge_points(rows), encode_points(expected));
}

// RocksDB merges in any grouping, as long as the order stays.
TEST(Points, MergedInAnyGroupingAreTheSame) {
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> pieces;
    for (int i = 0; i < 6; ++i) {
      Points points;
      int64_t step = random() % 20;
      for (int n = 0; n < 5; ++n) points.push_back({step += 1 + random() % 3, static_cast<double>(random() % 100)});
      pieces.push_back(encode_points(points));
    }
    const std::vector<std::string_view> all(pieces.begin(), pieces.end());
    const std::string at_once = merge_points(all);
    const size_t cut = 1 + random() % 5;
    const std::string left = merge_points(std::span(all).first(cut)), right = merge_points(std::span(all).subspan(cut));
    const std::string_view halves[] = {left, right};
    EXPECT_EQ(merge_points(halves), at_once);
  }
}

TEST(Points, DamagedBytesAreAnErrorOrOtherPointsAndNeverMore) {
  std::mt19937 random(3);
  Points points;
  for (int64_t step = 0; step < 100; ++step) points.push_back({step * 10, std::sin(static_cast<double>(step))});
  const std::string good = encode_points(points);
  int errors = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string bad = good;
    for (uint32_t flips = 1 + random() % 4; flips > 0; --flips) bad[random() % bad.size()] ^= static_cast<char>(random());
    if (random() % 2 == 0) bad.resize(random() % bad.size());
    auto read_back = decode_points(bad);
    errors += !read_back;
    if (read_back) {
      EXPECT_LE(read_back->size(), 4 * bad.size());
    }
  }
  EXPECT_GT(errors, 5000);
  EXPECT_FALSE(decode_points("\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x01 few bytes"));
  // What cannot be read is not thrown away by a merge.
  const std::string_view rows[] = {good, "garbage"};
  EXPECT_EQ(merge_points(rows), good + "garbage");
}

// ---- Reading curves ----

class Curves : public testing::Test {
 protected:
  void put(const TrialId& trial, const std::string& name, int64_t first, int64_t count) {
    for (int64_t step = first; step < first + count; ++step) {
      const MetricPoint point{step, static_cast<double>(step)};
      Write write{Family::points, points_key(trial, name, step), encode_points({&point, 1}), true};
      store_.commit({&write, 1});
    }
  }
  std::vector<int64_t> steps(const TrialId& trial, const std::string& prefix, const std::string& name, uint64_t newest) {
    std::vector<int64_t> found;
    auto series = read_series(store_, trial, prefix, newest).value();
    for (const auto& point : series[name]) found.push_back(point.step);
    return found;
  }
  MapStore store_;
};

TEST_F(Curves, TheNewestAreReadFromTheEndOfEachCurve) {
  put({1, 0}, "loss", 0, 2500);
  put({1, 0}, "loss2", 7, 1);
  put({1, 0}, "lr", 1020, 10);
  put({1, 1}, "loss", 5000, 1);
  EXPECT_EQ(steps({1, 0}, "", "loss", 2), (std::vector<int64_t>{2498, 2499}));
  EXPECT_EQ(steps({1, 0}, "", "lr", 7), (std::vector<int64_t>{1023, 1024, 1025, 1026, 1027, 1028, 1029}));
  EXPECT_EQ(steps({1, 0}, "", "lr", 100).size(), 10u);
  EXPECT_EQ(steps({1, 0}, "", "loss", 2000).size(), 2000u);
  EXPECT_EQ(steps({1, 0}, "loss2", "loss2", 3), (std::vector<int64_t>{7}));
  EXPECT_EQ(read_series(store_, {1, 0}, "lo", 1).value().size(), 2u);
  EXPECT_EQ(read_series(store_, {1, 0}, "", 1).value().size(), 3u);
  EXPECT_EQ(read_series(store_, {1, 0}, "x", 1).value().size(), 0u);
  EXPECT_EQ(read_series(store_, {2, 0}, "", 1).value().size(), 0u);
  EXPECT_EQ(steps({1, 0}, "", "loss", 0).size(), 2500u);
  EXPECT_EQ(steps({1, 1}, "", "loss", 0), (std::vector<int64_t>{5000}));
}

TEST_F(Curves, AreVisitedInOrderAndUntilItIsEnough) {
  put({1, 0}, "a", 0, 3);
  put({1, 1}, "a", 1024, 2);
  put({2, 0}, "b", 5, 1);
  std::vector<std::string> seen;
  const auto note = [&](const TrialId& trial, std::string_view name, const Points& points) {
    seen.push_back(fmt::format("{} {} {}", to_string(trial), name, points.size()));
    return seen.size() != 2;
  };
  ASSERT_TRUE(visit_points(store_, "", note));
  EXPECT_EQ(seen, (std::vector<std::string>{"1/0 a 3", "1/1 a 2"}));
  seen.clear();
  ASSERT_TRUE(visit_points(store_, key_of(uint64_t{2}), note));
  EXPECT_EQ(seen, (std::vector<std::string>{"2/0 b 1"}));
}

TEST_F(Curves, ADamagedRowIsAnError) {
  put({1, 0}, "loss", 0, 3);
  Write write{Family::points, points_key({1, 0}, "loss", 1024), "garbage"};
  store_.commit({&write, 1});
  for (uint64_t newest : {0, 1}) {
    auto series = read_series(store_, {1, 0}, "", newest);
    ASSERT_FALSE(series);
    EXPECT_NE(series.error().message.find("the curve loss of trial 1/0 is damaged"), std::string::npos);
  }
}

}  // namespace
}  // namespace hivq
