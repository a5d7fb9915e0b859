#include "worker/eval/score_sort.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <limits>
#include <random>

namespace hivq {
namespace {

using Entries = std::vector<ScoreEntry>;

/// Entries with many ties; the tag tells the order in which they were added.
Entries made_up(size_t count, uint32_t keys, uint64_t seed) {
  std::mt19937_64 random(seed);
  Entries entries(count);
  for (size_t i = 0; i < count; ++i) {
    entries[i] = {static_cast<uint32_t>(random() % keys) * 2654435761u, static_cast<uint32_t>(i)};
  }
  return entries;
}

Entries sorted(ScoreSort& sort) {
  Entries all;
  const Status drained = sort.drain([&](std::span<const ScoreEntry> block) {
    EXPECT_FALSE(block.empty());
    all.insert(all.end(), block.begin(), block.end());
  });
  EXPECT_TRUE(drained) << drained.error().message;
  return all;
}

size_t files_in(const std::string& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

class ScoreSortFolder : public testing::Test {
 protected:
  std::string folder = testing::TempDir() + fmt::format("score_sort_{}", ::getpid());
  void SetUp() override { std::filesystem::create_directories(folder); }
  void TearDown() override { std::filesystem::remove_all(folder); }
};

TEST(FallingKey, RisesAsTheScoreFalls) {
  const float infinity = std::numeric_limits<float>::infinity(), tiny = std::numeric_limits<float>::denorm_min();
  const std::vector<float> falling = {infinity, 3e38f, 2, 1, 1e-30f, tiny, 0, -tiny, -1e-30f, -1, -3e38f, -infinity};
  for (size_t i = 1; i < falling.size(); ++i) EXPECT_LT(falling_key(falling[i - 1]), falling_key(falling[i])) << i;
  EXPECT_EQ(falling_key(0.0f), falling_key(-0.0f));
}

TEST_F(ScoreSortFolder, GivesTheSameOrderWithAnyMemory) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  for (const uint32_t keys : {1u, 3u, 50u, 1u << 31}) {
    const Entries entries = made_up(1000, keys, seed);
    Entries expected = entries;
    std::ranges::stable_sort(expected, {}, &ScoreEntry::key);
    for (const size_t memory : {0, 16, 100, 1000, 7000, 16'000, 1 << 20}) {
      ScoreSort sort(memory, folder);
      for (size_t at = 0; at < entries.size();) {  // in uneven pieces
        const size_t count = std::min<size_t>(1 + at % 300, entries.size() - at);
        ASSERT_TRUE(sort.add(std::span(entries).subspan(at, count)));
        at += count;
      }
      EXPECT_EQ(sort.size(), entries.size());
      EXPECT_EQ(sort.runs() > 0, memory < 16'000) << memory;
      EXPECT_TRUE(sorted(sort) == expected) << memory << " bytes, " << keys << " keys";
      EXPECT_EQ(sort.size(), 0u);
    }
  }
}

TEST_F(ScoreSortFolder, CanBeFilledAgain) {
  ScoreSort sort(160, folder);
  const Entries first = made_up(100, 7, 1), second = made_up(40, 9, 2);
  ASSERT_TRUE(sort.add(first));
  EXPECT_EQ(sorted(sort).size(), 100u);
  ASSERT_TRUE(sort.add(second));
  EXPECT_EQ(sorted(sort).size(), 40u);
  EXPECT_TRUE(sorted(sort).empty());
}

TEST_F(ScoreSortFolder, LeavesNoNameInTheFolderWhileItRuns) {
  ScoreSort sort(160, folder);
  ASSERT_TRUE(sort.add(made_up(100, 7, 1)));
  ASSERT_GT(sort.runs(), 0u);
  EXPECT_EQ(files_in(folder), 0u);
}

TEST_F(ScoreSortFolder, MakesNoFileWhereTheMemoryIsEnough) {
  ScoreSort sort(1 << 20, folder + "/absent");
  ASSERT_TRUE(sort.add(made_up(1000, 1000, 1)));
  EXPECT_EQ(sorted(sort).size(), 1000u);
}

TEST_F(ScoreSortFolder, SaysThatItCannotMakeTheFile) {
  ScoreSort sort(160, folder + "/absent");
  const Status added = sort.add(made_up(100, 7, 1));
  ASSERT_FALSE(added);
  EXPECT_NE(added.error().message.find("/absent"), std::string::npos) << added.error().message;
  EXPECT_NE(added.error().message.find("TMPDIR"), std::string::npos) << added.error().message;
}

TEST_F(ScoreSortFolder, SaysThatTheFileCannotGrow) {
  // A limit of the file's size stands in for a full disk: both fail the same write.
  struct rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {400, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  ScoreSort sort(160, folder);
  const Status added = sort.add(made_up(100, 7, 1));
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(added);
  EXPECT_NE(added.error().message.find("cannot write a temporary file in " + folder), std::string::npos)
      << added.error().message;
}

}  // namespace
}  // namespace hivq
