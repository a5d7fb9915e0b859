#include "jobs/plot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <regex>

namespace hivq {
namespace {

template <typename Chart>
std::string to_svg(const Chart& chart) {
  return hivq::to_svg(draw(chart));
}

// A small check of well-formedness: every tag is closed in order, attributes are quoted, no bare & or <.
std::string xml_problem(const std::string& text) {
  static const std::regex tag(R"(<(/?)([A-Za-z]+)((?:\s+[A-Za-z0-9:-]+="[^"<]*")*)\s*(/?)>)");
  static const std::regex entity(R"(&(lt|gt|amp|quot|apos);)");
  std::vector<std::string> open;
  size_t at = 0;
  while (at < text.size()) {
    std::smatch match;
    auto from = text.begin() + static_cast<long>(at);
    if (text[at] == '<') {
      if (!std::regex_search(from, text.end(), match, tag, std::regex_constants::match_continuous)) {
        return "bad tag at " + text.substr(at, 60);
      }
      if (match[1].length() > 0) {
        if (open.empty() || open.back() != match[2]) return "unexpected end of " + match[2].str();
        open.pop_back();
      } else if (match[4].length() == 0) {
        open.push_back(match[2]);
      }
      at += static_cast<size_t>(match.length());
    } else if (text[at] == '&') {
      if (!std::regex_search(from, text.end(), match, entity, std::regex_constants::match_continuous)) return "bare &";
      at += static_cast<size_t>(match.length());
    } else {
      if (text[at] == '>') return "bare >";
      ++at;
    }
  }
  return open.empty() ? "" : "not closed: " + open.back();
}

size_t count(const std::string& text, const std::string& what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

// Every number in an attribute that places something.
std::vector<double> numbers(const std::string& svg, const std::string& attribute) {
  std::vector<double> found;
  std::regex pattern(" " + attribute + R"rx(="([^"]*)")rx");
  for (std::sregex_iterator it(svg.begin(), svg.end(), pattern), end; it != end; ++it)
    found.push_back(std::stod((*it)[1]));
  return found;
}

const double nan = std::numeric_limits<double>::quiet_NaN();
const double inf = std::numeric_limits<double>::infinity();

TEST(WellFormedness, TheCheckItselfFindsMistakes) {
  EXPECT_EQ(xml_problem("<a b=\"c\"><d/>x &lt; y</a>"), "");
  EXPECT_NE(xml_problem("<a><b></a></b>"), "");
  EXPECT_NE(xml_problem("<a>x & y</a>"), "");
  EXPECT_NE(xml_problem("<a b=c/>"), "");
  EXPECT_NE(xml_problem("<a>"), "");
}

TEST(BarChart, DrawsOneBarAValueAndWritesIt) {
  BarChart chart{"t",       "",  "auroc",  "untrained",
                 "trained", 0.5, "chance", {{"a", 0.5, 0.75}, {"b", 0.25, std::nullopt}}};
  std::string svg = to_svg(chart);
  EXPECT_EQ(xml_problem(svg), "");
  // The page, two entries of the legend, three values.
  EXPECT_EQ(count(svg, "<rect"), 6u);
  for (const char* value : {"0.500", "0.750", "0.250", ">chance<", ">trained<", ">untrained<"}) {
    EXPECT_NE(svg.find(value), std::string::npos) << value;
  }
}

TEST(BarChart, LengthsAreProportionalToTheValuesFromZero) {
  std::string svg = to_svg(BarChart{"t", "", "auroc", "u", "t", {}, "", {{"a", {}, 0.4}, {"b", {}, 0.8}}});
  auto widths = numbers(svg, "width");  // svg, page, legend, bars
  ASSERT_GE(widths.size(), 2u);
  double a = widths[widths.size() - 2], b = widths.back();
  EXPECT_NEAR(b / a, 2, 0.01);
}

TEST(BarChart, DrawsAWhiskerToBothSidesOfAMeanAndAMarkAtWhatIsPublished) {
  const std::vector<Bar> plain = {{"a", {}, 0.5}, {"b", {}, 0.7}};
  std::vector<Bar> marked = {{"a", {}, 0.5, 0.1, 0.8}, {"b", {}, 0.7}};
  auto svg = [](const std::vector<Bar>& bars) { return to_svg(BarChart{"t", "", "auroc", "u", "t", {}, "", bars}); };
  EXPECT_EQ(xml_problem(svg(marked)), "");
  EXPECT_EQ(svg(plain).find(">published<"), std::string::npos);
  EXPECT_NE(svg(marked).find(">published<"), std::string::npos);
  ASSERT_EQ(count(svg(marked), "<line"), count(svg(plain), "<line") + 4) << "the whisker, its ends, the mark";
  auto left = numbers(svg(marked), "x1"), right = numbers(svg(marked), "x2");
  const size_t first = left.size() - 4;  // the axis' lines come before
  const double tenth = (right[first] - left[first]) / 2;
  EXPECT_NEAR(left[first + 3] - right[first], 2 * tenth, 0.03) << "from 0.6 to 0.8";
}

TEST(BarChart, EscapesWhatTheUserNamed) {
  std::string svg =
      to_svg(BarChart{"<script>&\"'", "a < b", "x\x01y", "u", "t", {}, "", {{"<&>", 1.0, 2.0}, {"\xff", 1.0, 2.0}}});
  EXPECT_EQ(xml_problem(svg), "");
  EXPECT_EQ(svg.find("<script>"), std::string::npos);
  EXPECT_EQ(svg.find('\x01'), std::string::npos);
  EXPECT_EQ(svg.find('\xff'), std::string::npos);
}

TEST(BarChart, SurvivesNothingNegativeAndNonFiniteValues) {
  for (const auto& bars : std::vector<std::vector<Bar>>{{},
                                                        {{"a", {}, {}}},
                                                        {{"a", nan, inf}},
                                                        {{"a", -2.0, -1.0}},
                                                        {{"a", 0.0, 0.0}},
                                                        {{"a", 1e308, -1e308}},
                                                        {{"a", 1e-300, {}}},
                                                        {{"a", 0.5, 0.6, nan, inf}},
                                                        {{"a", 0.5, {}, 0.1, 0.2}},
                                                        {{"a", 0.5, 0.6, 1e300, -1e300}},
                                                        {{"a", 0.5, 0.6, -0.1, -5.0}}}) {
    std::string svg = to_svg(BarChart{"t", "s", "x", "u", "t", 0.5, "chance", bars});
    EXPECT_EQ(xml_problem(svg), "");
    EXPECT_EQ(svg.find("nan"), std::string::npos);
    EXPECT_EQ(svg.find("inf"), std::string::npos);
    for (double width : numbers(svg, "width")) EXPECT_GE(width, 0);
  }
}

TEST(LineChart, DrawsEveryCurveInsideThePage) {
  LineChart chart{"t",    "",   "step",
                  "loss", true, {{"a", {{0, 1}, {1, 0.1}, {2, 0.01}}}, {"b", {{0, 2}, {2, 1}}}, {"c", {{1, 1}}}}};
  std::string svg = to_svg(chart);
  EXPECT_EQ(xml_problem(svg), "");
  EXPECT_EQ(count(svg, "<path"), 2u);    // one point is a dot, no path
  EXPECT_EQ(count(svg, "<circle"), 6u);  // few points are marked
  EXPECT_NE(svg.find("(logarithmic)"), std::string::npos);
  for (double x : numbers(svg, "cx")) EXPECT_TRUE(x > 0 && x < 900);
}

TEST(LineChart, OnALogAxisEqualFactorsAreEqualDistances) {
  std::string svg = to_svg(LineChart{"t", "", "x", "y", true, {{"a", {{0, 1}, {1, 10}, {2, 100}}}}});
  auto ys = numbers(svg, "cy");
  ASSERT_EQ(ys.size(), 3u);
  EXPECT_NEAR(ys[0] - ys[1], ys[1] - ys[2], 0.05);
  EXPECT_GT(ys[0], ys[1]);
}

TEST(LineChart, IgnoresALogAxisForValuesThatAreNotPositive) {
  std::string svg = to_svg(LineChart{"t", "", "x", "y", true, {{"a", {{0, 0}, {1, 10}}}}});
  EXPECT_EQ(svg.find("(logarithmic)"), std::string::npos);
}

TEST(LineChart, DrawsALongCurveAsMeansAndSaysSo) {
  Curve curve{"a", {}};
  for (int i = 0; i < 100'000; ++i) curve.points.push_back({double(i), i % 2 ? 3.0 : 1.0});
  std::string svg = to_svg(LineChart{"t", "", "x", "y", false, {curve}});
  EXPECT_LT(svg.size(), 20'000u);
  EXPECT_NE(svg.find("means of short stretches"), std::string::npos);
  EXPECT_NE(svg.find(">2.000<"), std::string::npos) << "the last mean, in the legend";
}

TEST(LineChart, SurvivesNothingAndNonFiniteValues) {
  for (const auto& points : std::vector<std::vector<PlotPoint>>{{},
                                                                {{0, nan}},
                                                                {{nan, 1}},
                                                                {{0, inf}, {1, 2}},
                                                                {{5, 5}},
                                                                {{0, 1}, {0, 1}},
                                                                {{0, -1}, {1, -1}},
                                                                {{0, 1e-320}, {1, 1e300}},
                                                                {{0, -1e308}, {1, 1e308}},
                                                                {{0, 1e-90}, {1, 1e90}}}) {
    for (bool log : {false, true}) {
      std::string svg = to_svg(LineChart{"t", "", "x", "y", log, {{"a", points}}});
      EXPECT_EQ(xml_problem(svg), "");
      EXPECT_EQ(svg.find("nan"), std::string::npos);
      EXPECT_EQ(svg.find("inf"), std::string::npos);
    }
  }
  std::vector<PlotPoint> same(1000, {3, 1});
  EXPECT_EQ(xml_problem(to_svg(LineChart{"t", "", "x", "y", false, {{"a", same}}})), "");
}

TEST(LinearTicks, AreRoundAndInside) {
  EXPECT_EQ(linear_ticks(0, 1, 5), (std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1}));
  EXPECT_EQ(linear_ticks(-10, 10, 4), (std::vector<double>{-10, -5, 0, 5, 10}));
  EXPECT_EQ(linear_ticks(3, 3, 4), (std::vector<double>{3}));
  for (double high : {0.003, 0.7, 12.0, 999.0, 1e9}) {
    auto ticks = linear_ticks(0, high, 6);
    EXPECT_GE(ticks.size(), 3u) << high;
    EXPECT_LE(ticks.size(), 8u) << high;
    EXPECT_LE(ticks.back(), high * (1 + 1e-9));
  }
}

TEST(LogTicks, ArePowersOfTenOrFinerWhereTheseAreFew) {
  auto near = [](const std::vector<double>& got, const std::vector<double>& wanted) {
    ASSERT_EQ(got.size(), wanted.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i] / wanted[i], 1, 1e-9);
  };
  near(log_ticks(1e-4, 1), {1e-4, 1e-3, 1e-2, 1e-1, 1});
  near(log_ticks(0.08, 2.5), {0.1, 0.2, 0.5, 1, 2});
  EXPECT_GE(log_ticks(1.1, 1.2).size(), 2u);
  EXPECT_TRUE(log_ticks(0, 1).empty());
}

TEST(SuitsLogAxis, OnlyPositiveValuesThatDifferMuch) {
  EXPECT_TRUE(suits_log_axis({{"a", {{0, 1}, {1, 0.01}}}}));
  EXPECT_FALSE(suits_log_axis({{"a", {{0, 1}, {1, 0.5}}}}));
  EXPECT_FALSE(suits_log_axis({{"a", {{0, 1}, {1, 0}}}}));
  EXPECT_FALSE(suits_log_axis({}));
}

}  // namespace
}  // namespace hivq
