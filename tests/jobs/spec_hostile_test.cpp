// Texts that nobody means well with: a sentence, never a crash, and soon.

#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>

#include "jobs/spec.h"

namespace hivq {
namespace {

std::string mistake_in(const std::string& text) {
  auto job = parse_job(text, "j.yaml");
  return job ? "no mistake" : job.error().message;
}

std::string repeated(const std::string& piece, size_t times) {
  std::string text;
  for (size_t i = 0; i < times; ++i) text += piece;
  return text;
}

TEST(SpecHostile, AnEmptyFileIsNamed) {
  EXPECT_EQ(mistake_in(""), "j.yaml: it is empty");
  EXPECT_EQ(mistake_in("  \n\n# only a comment\n"), "j.yaml: it is empty");
}

TEST(SpecHostile, ADocumentThatIsNoMapIsNamed) {
  EXPECT_EQ(
      mistake_in("[1, 2]"),
      "j.yaml:1: the document is a list; it must be sections with keys, such as `train:` and below it `  epochs: 10`");
  EXPECT_EQ(
      mistake_in("hello"),
      "j.yaml:1: the document is hello; it must be sections with keys, such as `train:` and below it `  epochs: 10`");
}

TEST(SpecHostile, MalformedYamlIsNamedWithItsLine) {
  EXPECT_EQ(mistake_in("train:\n  lr: 1\n epochs: 2\n"),
            "j.yaml:3: this is not valid YAML: end of map not found; check indentation, colons, brackets and quotes");
  EXPECT_EQ(mistake_in("name: [a, b\n"),
            "j.yaml:2: this is not valid YAML: end of sequence flow not found; check indentation, colons, brackets and "
            "quotes");
}

TEST(SpecHostile, ATabIsNamedWithItsLine) {
  EXPECT_EQ(mistake_in("train:\n\tepochs: 3\n"), "j.yaml:2: a tab indents this line; YAML wants spaces");
}

TEST(SpecHostile, ASecondDocumentIsRefused) {
  EXPECT_EQ(mistake_in("name: a\n---\nname: b\n"), "j.yaml:3: a second document begins here; keep one to a file");
}

TEST(SpecHostile, KeysThatAreNoWordsAreRefused) {
  EXPECT_EQ(mistake_in("? [a, b]\n: 3\n"), "j.yaml:1: a key of the document is a list; it must be a word");
}

TEST(SpecHostile, TagsAreRefused) {
  EXPECT_EQ(mistake_in("name: !python/object x\n"),
            "j.yaml:1: the tag !python/object has no meaning here; leave it out");
}

TEST(SpecHostile, DeepNestingIsRefused) {
  for (const char* piece : {"[", "{a: ", "- ", "? ", ": "}) {
    EXPECT_TRUE(mistake_in(repeated(piece, 20000)).ends_with(": the text is nested too deeply")) << piece;
  }
}

TEST(SpecHostile, AnAliasBombIsRefused) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    text += fmt::format("a{0}: &a{0} [{1}*a{2}]\n", i, repeated(fmt::format("*a{}, ", i - 1), 9), i - 1);
  }
  EXPECT_EQ(mistake_in(text), "j.yaml:5: the text has more than 100000 values, aliases counted");
}

TEST(SpecHostile, AnAliasOfWhatIsAroundItIsRefused) {
  EXPECT_EQ(mistake_in("name: &a [*a]\n"), "j.yaml:1: this alias stands inside of what it refers to");
}

TEST(SpecHostile, AHugeTextIsRefused) {
  EXPECT_EQ(mistake_in(std::string(size_t{2} << 20, 'x')),
            "j.yaml: it has 2097152 bytes; it must have at most 1048576");
}

TEST(SpecHostile, ManyVariantsAgainstAWideRangeEndSoon) {
  std::string text =
      "sweep:\n  search: random\n  trials: 1\n  parameters:\n    train.batch_size: {integer: [1, 1000000]}\n"
      "    gang.ranks: {integer: [0, 65536]}\n  variants:\n";
  for (int i = 0; i < 5000; ++i) text += fmt::format("    - {{name: v{}, train.lr: 1}}\n", i);
  EXPECT_EQ(mistake_in(text),
            "j.yaml:5: train.batch_size is 1 and gang.ranks is 2; a batch must hold at least one image for each rank");
}

// Each mistake is one line with its place.
void expect_sentences(const std::string& message, uint64_t seed, int round) {
  std::istringstream lines(message);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(line.starts_with("j.yaml") || line == "and more")
        << "seed " << seed << ", round " << round << ": " << line;
    for (char c : line) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << "seed " << seed << ", round " << round;
  }
}

TEST(SpecHostile, DamagedFilesAreReadOrRefused) {
  std::ifstream file(HIVQ_SOURCE_DIR "/jobs/specs/quick.yaml");
  std::stringstream read;
  read << file.rdbuf();
  const std::string good = read.str();
  ASSERT_FALSE(good.empty());
  const uint64_t seed = 7;
  std::mt19937_64 random(seed);
  const std::string signs = "[]{}:,-?&*!|>'\"%@`#\n\t \\0aZ\xff\x80~=<";
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = good;
    for (uint64_t changes = random() % 6 + 1; changes > 0; --changes) {
      const size_t at = random() % text.size();
      switch (random() % 5) {
        case 0:
          text[at] = signs[random() % signs.size()];
          break;
        case 1:
          text.insert(at, 1, signs[random() % signs.size()]);
          break;
        case 2:
          text.erase(at, random() % 20);
          break;
        case 3:
          text.insert(at, text.substr(random() % text.size(), random() % 60));
          break;
        case 4:
          text[at] = static_cast<char>(random());
          break;
      }
      if (text.empty()) text += 'x';
    }
    auto job = parse_job(text, "j.yaml");
    if (!job) {
      ++refused;
      EXPECT_FALSE(job.error().message.empty());
      expect_sentences(job.error().message, seed, round);
    } else {
      auto again = parse_job(to_yaml(*job), "again.yaml");
      ASSERT_TRUE(again) << "seed " << seed << ", round " << round << ": " << again.error().message;
      EXPECT_EQ(*again, *job) << "seed " << seed << ", round " << round;
    }
  }
  EXPECT_GT(refused, 1000);
  EXPECT_LT(refused, 3000);
}

TEST(SpecHostile, NoiseIsRefused) {
  const uint64_t seed = 11;
  std::mt19937_64 random(seed);
  for (int round = 0; round < 2000; ++round) {
    std::string text(random() % 200, ' ');
    for (char& c : text) c = static_cast<char>(random());
    auto job = parse_job(text, "j.yaml");
    ASSERT_FALSE(job) << "seed " << seed << ", round " << round;
    expect_sentences(job.error().message, seed, round);
  }
}

TEST(SpecHostile, NoiseAsAnOverrideIsRefused) {
  const uint64_t seed = 13;
  std::mt19937_64 random(seed);
  for (int round = 0; round < 2000; ++round) {
    std::string key(random() % 30, ' '), value(random() % 30, ' ');
    for (char& c : key) c = static_cast<char>(random());
    for (char& c : value) c = static_cast<char>(random());
    auto job = parse_job("name: a\n", "j.yaml", {{key, value}});
    ASSERT_FALSE(job) << "seed " << seed << ", round " << round;
    EXPECT_TRUE(job.error().message.starts_with("--set ")) << "seed " << seed << ", round " << round;
  }
}

}  // namespace
}  // namespace hivq
