#include "common/png_header.h"

#include <gtest/gtest.h>

#include "tests/common/png_bytes.h"

namespace hivq {
namespace {

TEST(PngHeader, TellsSizeDepthAndColours) {
  const auto grey = read_png_header(png_bytes(640, 3, true, ""));
  ASSERT_TRUE(grey);
  EXPECT_EQ(grey->width, 640u);
  EXPECT_EQ(grey->height, 3u);
  EXPECT_EQ(grey->bits, 8);
  EXPECT_TRUE(grey->grey);
  EXPECT_FALSE(read_png_header(png_bytes(1, 1, false, "pixels"))->grey);
}

TEST(PngHeader, WhatIsNoPngHasNone) {
  const std::string whole = png_bytes(2, 2, true, "");
  for (size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(read_png_header(whole.substr(0, size))) << size;
  EXPECT_FALSE(read_png_header("<svg onload='alert(1)' xmlns='http://www.w3.org/2000/svg'/>"));
  EXPECT_FALSE(read_png_header(png_bytes(0, 2, true, "pixels")));
  EXPECT_FALSE(read_png_header(png_bytes(2, 0, true, "pixels")));
}

}  // namespace
}  // namespace hivq
