#include "worker/eval/region_overlap.h"

#include <gtest/gtest.h>

#include <string>

namespace hivq {
namespace {

/// A mask drawn with `#`, row by row.
Regions regions_of(const std::string& drawing, int64_t height, int64_t width) {
  std::vector<uint8_t> mask;
  for (const char c : drawing) mask.push_back(c == '#' ? 1 : 0);
  return connected_regions(mask, height, width);
}

TEST(ConnectedRegions, TouchByASideOrACorner) {
  const Regions regions = regions_of(
      "#..#"
      ".#.."
      "...#"
      "#..#",
      4, 4);
  EXPECT_EQ(regions.area, (std::vector<uint32_t>{2, 1, 2, 1}));
  EXPECT_EQ(regions.label, (std::vector<uint32_t>{1, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 3, 4, 0, 0, 3}));
}

TEST(ConnectedRegions, DoNotWrapAroundTheEdges) {
  EXPECT_EQ(regions_of("..#"
                       "#..",
                       2, 3)
                .area,
            (std::vector<uint32_t>{1, 1}));
}

TEST(ConnectedRegions, FollowAnyShape) {
  EXPECT_EQ(regions_of("#####"
                       "....#"
                       "###.#"
                       "#...#"
                       "#####",
                       5, 5)
                .area,
            (std::vector<uint32_t>{17}));
  EXPECT_TRUE(regions_of("......", 2, 3).area.empty());
  EXPECT_EQ(regions_of("######", 2, 3).area, (std::vector<uint32_t>{6}));
  EXPECT_TRUE(regions_of("", 0, 0).area.empty());
}

TEST(ConnectedRegions, OfALargeMaskNeedNoDeepRecursion) {
  const std::vector<uint8_t> mask(1024 * 1024, 255);
  EXPECT_EQ(connected_regions(mask, 1024, 1024).area, (std::vector<uint32_t>{1024 * 1024}));
}

TEST(RegionOverlap, IntegratesUpToTheLimitOnAStraightLine) {
  RegionOverlap overlap(10, 2);
  overlap.step(0, 1.0);  // half of the overlap before any normal pixel
  overlap.step(2, 0.5);  // to 0.75 at 0.2
  overlap.step(4, 0.5);  // to 1 at 0.6: 0.8125 at the limit
  overlap.step(4, 0.0);
  const double expected = (0.2 * (0.5 + 0.75) / 2 + 0.1 * (0.75 + 0.8125) / 2) / 0.3;
  EXPECT_NEAR(overlap.area().value(), expected, 1e-15);
}

TEST(RegionOverlap, OfRegionsThatAreFlaggedFirstIsOneAndLastIsZero) {
  RegionOverlap first(100, 3), last(100, 3);
  first.step(0, 3);
  first.step(100, 0);
  last.step(100, 0);
  last.step(0, 3);
  EXPECT_DOUBLE_EQ(first.area().value(), 1);
  EXPECT_EQ(last.area().value(), 0);
}

TEST(RegionOverlap, IsNothingWithoutRegionsOrNormalPixels) {
  RegionOverlap no_region(5, 0), no_normal(0, 1);
  no_region.step(5, 0);
  no_normal.step(0, 1);
  EXPECT_FALSE(no_region.area());
  EXPECT_FALSE(no_normal.area());
}

}  // namespace
}  // namespace hivq
