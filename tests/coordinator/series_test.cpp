#include "coordinator/series.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "jobs/philox.h"

namespace hivq {
namespace {

std::vector<MetricPoint> noise(int64_t count, int64_t apart = 1) {
  std::vector<MetricPoint> points;
  for (int64_t i = 0; i < count; ++i) {
    points.push_back({i * apart, static_cast<double>(random_bits(3, static_cast<uint64_t>(i), 0) % 1000)});
  }
  return points;
}

bool has(const std::vector<MetricPoint>& points, const MetricPoint& wanted) {
  return std::ranges::any_of(points, [&](const auto& point) {
    return point.step == wanted.step && (point.value == wanted.value || (std::isnan(point.value) && std::isnan(wanted.value)));
  });
}

TEST(Downsample, KeepsTheEndsAndExtremesOfEverySpan) {
  const auto points = noise(10'000, 3);
  const auto kept = downsample(points, 100);
  EXPECT_LE(kept.size(), 100u);
  EXPECT_GE(kept.size(), 90u);  // noise: the four points of a span are seldom the same
  EXPECT_TRUE(has(kept, points.front()));
  EXPECT_TRUE(has(kept, points.back()));
  // 25 spans of 400 points: the steps 0 … 1199 are the first.
  for (size_t span = 0; span < 24; ++span) {
    const auto begin = points.begin() + static_cast<long>(span * 400), end = begin + 400;
    const auto [least, largest] = std::minmax_element(begin, end, [](auto& a, auto& b) { return a.value < b.value; });
    EXPECT_TRUE(has(kept, *begin)) << span;
    EXPECT_TRUE(has(kept, *(end - 1))) << span;
    EXPECT_TRUE(has(kept, *least)) << span;
    EXPECT_TRUE(std::ranges::any_of(kept, [&](auto& p) { return p.value == largest->value; })) << span;
  }
}

TEST(Downsample, StepsStillRiseAndEveryPointWasThere) {
  for (int64_t count : {5, 17, 100, 1001}) {
    for (uint64_t most : {uint64_t{1}, uint64_t{4}, uint64_t{7}, uint64_t{40}}) {
      const auto points = noise(count, 7);
      const auto kept = downsample(points, most);
      EXPECT_LE(kept.size(), std::max<size_t>(most, 4));
      for (size_t i = 0; i < kept.size(); ++i) {
        EXPECT_TRUE(has(points, kept[i]));
        EXPECT_TRUE(i == 0 || kept[i - 1].step < kept[i].step);
      }
    }
  }
}

TEST(Downsample, AShortCurveStaysWhole) {
  const auto points = noise(40);
  EXPECT_EQ(downsample(points, 40).size(), 40u);
  EXPECT_TRUE(downsample({}, 10).empty());
}

TEST(Downsample, OnePeakAndOneNanInAMillionShow) {
  auto points = noise(1'000'000);
  points[654'321].value = 1e9;
  points[123'456].value = std::nan("");
  const auto kept = downsample(points, 400);
  EXPECT_TRUE(has(kept, points[654'321]));
  EXPECT_TRUE(has(kept, points[123'456]));
}

TEST(Downsample, StepsAtTheEdgesOfTheirRangeDoNotOverflow) {
  std::vector<MetricPoint> points;
  const int64_t last = std::numeric_limits<int64_t>::max();
  for (int64_t i = 0; i < 100; ++i) points.push_back({i < 50 ? i : last - 99 + i, double(i)});
  const auto kept = downsample(points, 8);
  EXPECT_EQ(kept.front().step, 0);
  EXPECT_EQ(kept.back().step, last);
  EXPECT_LE(kept.size(), 8u);
}

}  // namespace
}  // namespace hivq
