#include "jobs/plot_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <sstream>

#include "jobs/table.h"

namespace hivq {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// Where the dots of a plane are, from its upper left corner: columns of 2 and rows of 4 to a character of braille.
std::vector<std::pair<int, int>> dots_of(const std::vector<std::string>& rows) {
  std::vector<std::pair<int, int>> dots;
  for (size_t row = 0; row < rows.size(); ++row) {
    int column = 0;
    for (size_t i = 0; i < rows[row].size();) {
      const auto byte = static_cast<unsigned char>(rows[row][i]);
      const size_t length = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
      if (length == 3 && byte == 0xe2 && (static_cast<unsigned char>(rows[row][i + 1]) & 0xfc) == 0xa0) {
        const unsigned bits = (static_cast<unsigned char>(rows[row][i + 1]) & 3u) << 6 |
                              (static_cast<unsigned char>(rows[row][i + 2]) & 0x3fu);
        constexpr unsigned kBits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
        for (int y = 0; y < 4; ++y) {
          for (int x = 0; x < 2; ++x) {
            if (bits & kBits[y][x]) dots.emplace_back(2 * column + x, 4 * static_cast<int>(row) + y);
          }
        }
      }
      i += length;
      ++column;
    }
  }
  return dots;
}

/// The lines between the axes, without the ticks.
std::vector<std::string> plane_of(const std::string& text) {
  std::vector<std::string> rows;
  for (const std::string& line : lines_of(text)) {
    for (const std::string_view edge : {"┤", "│"}) {
      if (const size_t at = line.find(edge); at != std::string::npos) rows.push_back(line.substr(at + edge.size()));
    }
  }
  return rows;
}

TEST(Sparkline, GoesFromTheLeastToTheLargest) {
  EXPECT_EQ(sparkline(std::vector<double>{0, 1, 2, 3, 4, 5, 6, 7}, 8), "▁▂▃▄▅▆▇█");
  EXPECT_EQ(sparkline(std::vector<double>{7, 0}, 8), "█▁");
  EXPECT_EQ(sparkline(std::vector<double>{1, 3, 5, 7}, 2), "▂▇") << "means of stretches, on the scale of all values";
  EXPECT_EQ(sparkline(std::vector<double>{1, nan, 2}, 8), "▁ █");
  EXPECT_EQ(sparkline(std::vector<double>{3, 3}, 8).size(), 2 * std::string("▁").size());
  EXPECT_EQ(sparkline(std::vector<double>{nan}, 8), "");
  EXPECT_EQ(sparkline({}, 8), "");
}

TEST(TextLines, AStraightLineRunsFromCornerToCorner) {
  const LineChart chart{"title", "", "step", "loss", false, {{"first", {{0, 0}, {10, 5}}}}};
  const std::string text = to_text(chart, {60, 10, false});
  const auto rows = plane_of(text);
  ASSERT_EQ(rows.size(), 10u) << text;
  const auto dots = dots_of(rows);
  ASSERT_GT(dots.size(), 40u);
  const int width = static_cast<int>(2 * display_width(rows[0]));
  for (const auto& [x, y] : dots) {
    const double share = static_cast<double>(x) / (width - 1);
    EXPECT_NEAR(1 - share, static_cast<double>(y) / 39, 0.05) << x << ", " << y;
  }
  EXPECT_NE(rows[0].find('a'), std::string::npos) << "it ends in its letter of the legend";
  EXPECT_NE(text.find("a  first"), std::string::npos);
  EXPECT_NE(text.find(" 5 ┤"), std::string::npos);
  EXPECT_NE(text.find(" 0 ┤"), std::string::npos);
}

TEST(TextLines, ALogarithmicAxisMakesAPowerStraight) {
  Curve curve{"decay", {}};
  for (int i = 0; i <= 60; ++i) curve.points.push_back({static_cast<double>(i), std::pow(10.0, -i / 20.0)});
  const auto rows = plane_of(to_text(LineChart{"t", "", "x", "y", true, {curve}}, {80, 12, false}));
  const double width = 2 * static_cast<double>(display_width(rows[0])) - 1;
  for (const auto& [x, y] : dots_of(rows)) EXPECT_NEAR(x / width, y / 47.0, 0.05);
}

TEST(TextLines, NothingToShowAndHostileValuesAreSurvived) {
  EXPECT_NE(to_text(LineChart{"t", "", "x", "y", false, {}}, {}).find("nothing to show yet"), std::string::npos);
  const double inf = std::numeric_limits<double>::infinity();
  std::mt19937_64 random(7);
  for (int round = 0; round < 200; ++round) {
    LineChart chart{"t\x1b[31m", "s", "x", "y", round % 2 == 0, {}};
    for (int c = 0; c < round % 40; ++c) {
      Curve curve{"c\n" + std::to_string(c), {}};
      for (uint64_t i = 0; i < random() % 5; ++i) {
        constexpr double kSome[] = {0, -1, 1e-300, 1e300, 3, 3, 1e99};
        const double values[] = {nan, inf, -inf, kSome[random() % 7]};
        curve.points.push_back({values[random() % 4], values[random() % 4]});
      }
      chart.curves.push_back(std::move(curve));
    }
    const std::string text = to_text(chart, {10 + random() % 90, 1 + random() % 20, false});
    EXPECT_EQ(text.find('\x1b'), std::string::npos) << "a name cannot steer the terminal";
  }
}

TEST(TextBars, FitAndAreAsLongAsTheirValues) {
  const BarChart chart{
      "auroc",   "job 1",
      "auroc",   "untrained",
      "trained", 0.5,
      "chance",  {{"a very long name that goes on and on and on", 0.5, 1.0}, {"half", {}, 0.5}, {"none", {}, {}}}};
  for (const size_t width : {60u, 80u, 200u}) {
    const auto lines = lines_of(to_text(chart, {width, 16, false}));
    for (const auto& line : lines) EXPECT_LE(display_width(line), width) << line;
    const auto blocks = [](const std::string& line) {
      size_t count = 0;
      for (size_t at = line.find("█"); at != std::string::npos; at = line.find("█", at + 1)) ++count;
      return count;
    };
    EXPECT_NEAR(static_cast<double>(blocks(lines[3])), 2.0 * static_cast<double>(blocks(lines[4])), 1.5);
    EXPECT_EQ(blocks(lines[5]), 0u);
    EXPECT_NE(lines[3].find("0.5 → 1"), std::string::npos);
  }
}

}  // namespace
}  // namespace hivq
