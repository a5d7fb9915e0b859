#include "worker/gang/placement.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <numeric>

namespace hivq {
namespace {

namespace fs = std::filesystem;

class PlacementTest : public testing::Test {
 protected:
  const fs::path folder = fs::path(testing::TempDir()) / fmt::format("placement-{}", getpid());
  const std::vector<std::vector<int>> four = {{0, 4}, {1, 5}, {2, 6}, {3, 7}};

  void TearDown() override { fs::remove_all(folder); }
  std::optional<CoreClaim> take(size_t count, size_t near) { return CoreClaim::take(four, count, near, folder); }
  void describe_cpu(int cpu, int package, int core) {
    const fs::path topology = folder / fmt::format("cpu{}", cpu) / "topology";
    fs::create_directories(topology);
    std::ofstream(topology / "physical_package_id") << package << '\n';
    std::ofstream(topology / "core_id") << core << '\n';
  }
};

TEST_F(PlacementTest, TwoCpusOfOneCoreAreOneAndPackagesLieSideBySide) {
  // As Linux numbers two packages of two cores with two threads: packages alternate, second threads come last.
  for (int cpu = 0; cpu < 8; ++cpu) describe_cpu(cpu, cpu % 2, cpu / 2 % 2);
  std::vector<int> all(8);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(physical_cores(all, folder), (std::vector<std::vector<int>>{{0, 4}, {2, 6}, {1, 5}, {3, 7}}));
  EXPECT_EQ(physical_cores({5, 7}, folder), (std::vector<std::vector<int>>{{5}, {7}})) << "what the rank may use";
}

TEST_F(PlacementTest, ACpuOfAnUnknownCoreIsACore) {
  EXPECT_EQ(physical_cores({0, 1, 2}, folder), (std::vector<std::vector<int>>{{0}, {1}, {2}}));
}

TEST_F(PlacementTest, NobodyTakesWhatAnotherHas) {
  std::optional<CoreClaim> first = take(2, 0);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->cpus(), (std::vector<int>{0, 1, 4, 5}));
  const auto second = take(1, 0);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->cpus(), (std::vector<int>{2, 6}));
  EXPECT_FALSE(take(2, 0)) << "one is left";
  const auto last = take(1, 2);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->cpus(), (std::vector<int>{3, 7}));
  EXPECT_FALSE(take(1, 0));
  first.reset();
  EXPECT_TRUE(take(2, 3)) << "given back";
}

TEST_F(PlacementTest, AFailedClaimKeepsNothing) {
  const auto three = take(3, 0);
  ASSERT_TRUE(three);
  ASSERT_FALSE(take(2, 0));
  EXPECT_TRUE(take(1, 0));
}

TEST_F(PlacementTest, AProcessThatDiesGivesItsCoresBack) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto all = take(4, 0);
    [[maybe_unused]] const auto written = write(ready[1], all ? "y" : "n", 1);
    pause();
    _exit(0);
  }
  char taken = 0;
  ASSERT_EQ(read(ready[0], &taken, 1), 1);
  EXPECT_EQ(taken, 'y');
  EXPECT_FALSE(take(1, 0));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(take(4, 0));
}

TEST_F(PlacementTest, ALaterGangHasTheCoresThatAreLeft) {
  const RankPlacement first = place_on_free_cores(four, 3, 0, folder);
  EXPECT_EQ(first.threads, 3);
  const RankPlacement second = place_on_free_cores(four, 3, 0, folder);
  EXPECT_EQ(second.threads, 1);
  ASSERT_TRUE(second.claim);
  EXPECT_EQ(second.claim->cpus(), (std::vector<int>{3, 7}));
  const RankPlacement third = place_on_free_cores(four, 3, 0, folder);
  EXPECT_EQ(third.threads, 1) << "more would wait for each other all the time";
  EXPECT_FALSE(third.claim);
  fs::create_directories(folder);
  std::ofstream(folder / "file") << "x";
  EXPECT_EQ(place_on_free_cores(four, 3, 0, folder / "file").threads, 3) << "nobody can tell";
}

TEST_F(PlacementTest, AFolderThatCannotBeMadeLeavesTheRankUnbound) {
  fs::create_directories(folder);
  std::ofstream(folder / "file") << "x";
  EXPECT_FALSE(CoreClaim::take(four, 1, 0, folder / "file"));
}

}  // namespace
}  // namespace hivq
