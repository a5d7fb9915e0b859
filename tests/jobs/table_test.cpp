#include "jobs/table.h"

#include <gtest/gtest.h>

#include <sstream>

namespace hivq {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(Table, AlignsColumnsByWhatIsSeen) {
  Table table{{{"name"}, {"value", Align::right}}, {{"ä→b", "1"}, {"日本", "22"}, {"plain", "333"}}};
  EXPECT_EQ(render(table),
            "name   value\n"
            "ä→b        1\n"
            "日本      22\n"
            "plain    333\n");
}

TEST(Table, CutsElasticColumnsUntilItFits) {
  Table table{{{"id"}, {"what", Align::left, true}, {"n", Align::right}},
              {{"1", "a long description of what it is", "7"}, {"2", "short", "8"}}};
  auto lines = lines_of(render(table, {20, false}));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[1], "1   a long descr…  7");
  for (const auto& line : lines) EXPECT_LE(display_width(line), 20u);
}

TEST(Table, LeavesSpareColumnsOutWhenNothingElseHelpsAndNamesThem) {
  Table table{{{"identifier"}, {"duration", Align::right, false, 1}, {"gang", Align::left, false, 2}},
              {{"1234567890", "12 min", "0123456789abcdef"}}};
  auto lines = lines_of(render(table, {22, false}));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[1], "1234567890    12 min");
  EXPECT_EQ(lines[2], "left out: gang");
}

TEST(Table, TakesMissingCellsAsEmptyAndLeavesNoTrailingBlanks) {
  Table table{{{"a"}, {"b"}}, {{"1"}}};
  EXPECT_EQ(render(table), "a  b\n1\n");
  EXPECT_EQ(render(Table{{{"a"}}, {}}), "a\n");
}

TEST(Table, ColoursOnlyWhenAsked) {
  Table table{{{"state"}}, {{Cell("failed", Tint::bad)}}};
  EXPECT_EQ(render(table).find('\033'), std::string::npos);
  EXPECT_NE(render(table, {0, true}).find("\033[31mfailed\033[0m"), std::string::npos);
}

TEST(Table, ColoursDoNotCountAsWidth) {
  Table table{{{"state", Align::right}, {"x"}}, {{Cell("ok", Tint::good), "1"}}};
  EXPECT_NE(render(table, {80, true}).find("   \033[32mok\033[0m  1"), std::string::npos);
}

TEST(DisplayWidth, CountsWideCharactersTwiceAndCombiningOnesNot) {
  EXPECT_EQ(display_width(""), 0u);
  EXPECT_EQ(display_width("abc"), 3u);
  EXPECT_EQ(display_width("größe"), 5u);
  EXPECT_EQ(display_width("日本語"), 6u);
  EXPECT_EQ(display_width("e\u0301"), 1u);
  EXPECT_EQ(display_width("\xff\xfe"), 2u);
}

TEST(Elide, NeverExceedsTheWidthNorSplitsACharacter) {
  EXPECT_EQ(elide("short", 5), "short");
  EXPECT_EQ(elide("longer", 5), "long…");
  EXPECT_EQ(elide("日本語", 4), "日…");  // 日本 and the ellipsis would take 5
  EXPECT_EQ(elide("abc", 1), "…");
  EXPECT_EQ(elide("abc", 0), "");
}

TEST(Printable, DisarmsWhatSteersATerminal) {
  EXPECT_EQ(printable("\033[31mred"), "\uFFFD[31mred");
  EXPECT_EQ(printable("a\nb\rc\td"), "a\uFFFDb\uFFFDc d");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\uFFFD31m");                                                // the one-character CSI
  EXPECT_EQ(printable("x\u202Ey"), "x\uFFFDy");                          // right-to-left override
  EXPECT_EQ(printable("\xc0\xaf"), "\uFFFD\uFFFD");                      // overlong
  EXPECT_EQ(printable("\xed\xa0\x80").find('\xed'), std::string::npos);  // surrogate
  EXPECT_EQ(printable("größe → 日本"), "größe → 日本");
}

TEST(CsvField, QuotesWhatItMust) {
  EXPECT_EQ(csv_field("plain"), "plain");
  EXPECT_EQ(csv_field("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_field("say \"x\""), "\"say \"\"x\"\"\"");
  EXPECT_EQ(csv_field("two\nlines"), "\"two\nlines\"");
}

}  // namespace
}  // namespace hivq
