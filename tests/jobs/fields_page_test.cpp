// jobs/FIELDS.md says what the program says. HIVQ_WRITE_PAGE=1 writes what has changed into it.

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "jobs/spec_fields.h"

namespace hivq {
namespace {

constexpr const char* kPage = HIVQ_SOURCE_DIR "/jobs/FIELDS.md";
constexpr size_t kComment = 36, kWidth = 116;  // columns: where comments begin, and end at most

std::string number(double value) { return to_string(ParamValue(value)); }

std::string range_of(const Field& field) {
  return std::visit(
      [](const auto& kind) -> std::string {
        using Kind = std::decay_t<decltype(kind)>;
        if constexpr (std::is_same_v<Kind, FlagField>) return "true or false";
        if constexpr (std::is_same_v<Kind, WholeField>) return fmt::format("{} to {}", kind.low, kind.high);
        if constexpr (std::is_same_v<Kind, SeedField>) return "0 to 9223372036854775807";
        if constexpr (std::is_same_v<Kind, RealField>) {
          return fmt::format("{}{} to {}{}", kind.low.included ? "" : "above ", number(kind.low.value),
                             kind.high.included ? "" : "below ", number(kind.high.value));
        }
        if constexpr (std::is_same_v<Kind, WordField>) return fmt::format("{}", fmt::join(kind.words, " | "));
        if constexpr (std::is_same_v<Kind, TextField>) return kind.may_be_empty ? "text, or empty" : "text";
        if constexpr (std::is_same_v<Kind, ListField>) {
          return fmt::format("whole numbers, {} to {}{}", kind.low, kind.high, kind.may_be_empty ? ", or none" : "");
        }
        if constexpr (std::is_same_v<Kind, TextListField>) return "texts, or none";
        if constexpr (std::is_same_v<Kind, LabelsField>) return "words by words, or none";
        if constexpr (std::is_same_v<Kind, ScalarField>) return "a number, a text, true or false";
      },
      field.kind);
}

/// `key: value  # comment`, the comment over several lines where it is long.
std::string commented(const std::string& setting, const std::string& comment) {
  std::istringstream words(comment);
  std::string text, line = setting, word;
  const auto begin = [&] { line += std::string(line.size() < kComment ? kComment - line.size() : 2, ' ') + "#"; };
  begin();
  while (words >> word) {
    if (line.size() + 1 + word.size() > kWidth) {
      text += line + '\n';
      line.clear();
      begin();
    }
    line += ' ' + word;
  }
  return text + line + '\n';
}

/// A job with the preset's defaults and a sweep.
JobSpec default_job(const std::string& preset) {
  JobSpec job;
  job.name = "example";
  job.preset = preset;
  job.trial = defaults_of(preset);
  job.sweep.emplace();
  return job;
}

/// Every field below its section, with its default, what it may be, and what it is.
std::string all_fields_as_yaml() {
  const JobSpec job = default_job("hvq-trans");
  std::string text;
  std::set<std::string> sections;
  for (const Field& field : all_fields()) {
    const std::string key(field.key);
    size_t depth = 0;
    for (size_t dot = key.find('.'); dot != std::string::npos; dot = key.find('.', dot + 1), ++depth) {
      const std::string section = key.substr(0, dot);
      if (!sections.insert(section).second) continue;
      text += std::string(2 * depth, ' ') + section.substr(section.rfind('.') + 1) + ":\n";
    }
    const std::string setting =
        fmt::format("{}{}: {}", std::string(2 * depth, ' '), key.substr(key.rfind('.') + 1), yaml_text(job, field));
    text += commented(setting, fmt::format("{}; {}", range_of(field), field.help));
  }
  return text;
}

/// What the other preset begins with instead.
std::string other_preset() {
  const JobSpec job = default_job("hvq-trans"), other = default_job("hvq-trans-official");
  std::string text;
  for (const Field& field : all_fields()) {
    if (field.key == "preset" || yaml_text(job, field) == yaml_text(other, field)) continue;
    text += fmt::format("{}: {}\n", field.key, yaml_text(other, field));
  }
  return text;
}

struct Page {
  std::string text;
  size_t begin = 0, length = 0;  // of a block's lines
  std::string block() const { return text.substr(begin, length); }
};

/// The page, and its block of YAML that begins with a line.
Page read_page(const std::string& first) {
  std::ifstream file(kPage);
  Page page{std::string(std::istreambuf_iterator<char>(file), {})};
  page.begin = page.text.find("```yaml\n" + first);
  if (page.begin == std::string::npos) return {};
  page.begin += 8;
  page.length = page.text.find("```", page.begin) - page.begin;
  return page;
}

/// The block is this text; or becomes it, where the environment asks for that.
void expect_block(const std::string& first, const std::string& wanted) {
  Page page = read_page(first);
  ASSERT_GT(page.length, 0u) << kPage << " has no block of YAML that begins with " << first;
  if (std::getenv("HIVQ_WRITE_PAGE") != nullptr) {
    std::ofstream(kPage) << page.text.replace(page.begin, page.length, wanted);
    return;
  }
  std::istringstream is(page.block()), would(wanted);
  std::string left, right;
  while (std::getline(would, right)) {
    std::getline(is, left);
    ASSERT_EQ(left, right) << "jobs/FIELDS.md; HIVQ_WRITE_PAGE=1 test_jobs --gtest_filter='FieldsPage.*' writes it";
  }
  EXPECT_EQ(page.block(), wanted);
}

TEST(FieldsPage, HasEveryFieldWithItsRangeAndDefault) { expect_block("name:", all_fields_as_yaml()); }

TEST(FieldsPage, HasWhatTheOtherPresetChanges) { expect_block("model.switch", other_preset()); }

TEST(FieldsPage, IsAJobThatCanBeRead) {
  // A sweep has parameters or variants.
  const auto job = parse_job(read_page("name:").block() + "  parameters: {train.lr: [0.1]}\n", "FIELDS.md");
  ASSERT_TRUE(bool(job)) << job.error().message;
  JobSpec wanted = default_job("hvq-trans");
  wanted.sweep->parameters["train.lr"].choices = {0.1};
  EXPECT_EQ(to_yaml(*job), to_yaml(wanted));
}

// Those parts of a sweep that are no single values stand in a block of their own, which is a whole job too.
TEST(FieldsPage, ShowsEveryKindOfASweepsParts) {
  const std::string text = read_page("sweep:").block();
  const auto job = parse_job(text, "FIELDS.md");
  ASSERT_TRUE(bool(job)) << job.error().message;
  std::set<SearchRange::Kind> kinds;
  size_t conditions = 0;
  for (const auto& [key, range] : job->sweep->parameters) {
    kinds.insert(range.kind);
    conditions += range.when.size();
  }
  EXPECT_EQ(kinds.size(), 5u);
  EXPECT_GT(conditions, 0u);
  EXPECT_GT(job->sweep->variants.size(), 1u);
  EXPECT_GT(job->sweep->metrics.size(), 1u);
  EXPECT_GT(job->sweep->constraints.size(), 0u);
}

}  // namespace
}  // namespace hivq
