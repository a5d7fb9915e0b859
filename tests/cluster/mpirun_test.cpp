// The launcher with the real mpirun; a shell script stands in for the worker.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>
#include <thread>

#include "cluster/launcher.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

bool becomes_true(const std::function<bool()>& condition) {
  for (int i = 0; i < 1500; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(20ms);
  }
  return false;
}

class Mpirun : public testing::Test {
 protected:
  std::string folder_ = testing::TempDir() + "/hivq_mpirun_" + std::to_string(getpid());
  std::unique_ptr<Launcher> launcher_;

  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override {
    if (launcher_) launcher_->stop_all();
    fs::remove_all(folder_);
  }
  /// A worker that says who it is and goes on with `script`.
  void worker(const std::string& script) {
    std::string path = folder_ + "/worker";
    std::ofstream(path) << "#!/bin/sh\necho $$ $OMPI_COMM_WORLD_RANK $OMPI_COMM_WORLD_SIZE \"$@\" >> " << folder_
                        << "/said\n"
                        << script << "\n";
    fs::permissions(path, fs::perms::owner_all);
    launcher_ = make_mpirun_launcher({path, "tcp://127.0.0.1:4487", folder_});
  }
  std::vector<std::string> said() const {
    std::ifstream file(folder_ + "/said");
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }
  ProcessId rank_process(const std::string& line) const { return process_of(std::stoi(line)); }
  std::vector<LaunchExit> wait_for_exit() {
    std::vector<LaunchExit> exits;
    becomes_true([&] { return !(exits = launcher_->poll()).empty(); });
    return exits;
  }
};

TEST_F(Mpirun, StartsARankForEachWithTheCoordinatorAndTheLaunch) {
  worker("exit 0");
  ASSERT_TRUE(launcher_->launch({"42", 3}));
  auto exits = wait_for_exit();
  ASSERT_EQ(exits.size(), 1u);
  EXPECT_EQ(exits[0].launch, "42");
  auto lines = said();
  ASSERT_EQ(lines.size(), 3u);
  std::set<std::string> ranks;
  for (const auto& line : lines) {
    std::istringstream words(line);
    std::string pid, rank, size, rest;
    words >> pid >> rank >> size;
    std::getline(words, rest);
    ranks.insert(rank);
    EXPECT_EQ(size, "3");
    EXPECT_EQ(rest, " --coordinator tcp://127.0.0.1:4487 --launch 42 --cache " + folder_ + "/features --host-gangs 1");
  }
  EXPECT_EQ(ranks.size(), 3u);
  EXPECT_TRUE(launcher_->poll().empty());
}

TEST_F(Mpirun, TellsHowAGangEndedWithItsLastLines) {
  worker("echo CUDA is missing; exit 3");
  ASSERT_TRUE(launcher_->launch({"1", 1}));
  auto exits = wait_for_exit();
  ASSERT_EQ(exits.size(), 1u);
  EXPECT_NE(exits[0].reason.find("exit code 3"), std::string::npos) << exits[0].reason;
  EXPECT_NE(exits[0].reason.find("CUDA is missing"), std::string::npos) << exits[0].reason;
  EXPECT_TRUE(fs::exists(folder_ + "/gangs/1.log"));
}

TEST_F(Mpirun, StopEndsTheRanks) {
  worker("exec sleep 1000");
  ASSERT_TRUE(launcher_->launch({"1", 2}));
  ASSERT_TRUE(becomes_true([&] { return said().size() == 2; }));
  auto first = rank_process(said()[0]), second = rank_process(said()[1]);
  EXPECT_TRUE(alive(first));
  EXPECT_TRUE(launcher_->poll().empty());
  launcher_->stop("1");
  EXPECT_EQ(wait_for_exit().size(), 1u);
  EXPECT_TRUE(becomes_true([&] { return !alive(first) && !alive(second); }));
  launcher_->stop("1");  // again, and one that never was
  launcher_->stop("2");
}

TEST_F(Mpirun, RanksDoNotOutliveAnMpirunThatWasKilled) {
  worker("trap '' TERM HUP; while :; do sleep 0.1; done");
  auto launched = launcher_->launch({"1", 2});
  ASSERT_TRUE(launched);
  ASSERT_TRUE(becomes_true([&] { return said().size() == 2; }));
  auto first = rank_process(said()[0]), second = rank_process(said()[1]);
  kill(launched->process.pid, SIGKILL);
  auto exits = wait_for_exit();
  ASSERT_EQ(exits.size(), 1u);
  EXPECT_NE(exits[0].reason.find("signal 9"), std::string::npos) << exits[0].reason;
  EXPECT_TRUE(becomes_true([&] { return !alive(first) && !alive(second); }));
}

TEST_F(Mpirun, AnAdoptedGangIsWatchedAndStopped) {
  worker("exec sleep 1000");
  auto launched = launcher_->launch({"1", 1});
  ASSERT_TRUE(launched);
  ASSERT_TRUE(becomes_true([&] { return said().size() == 1; }));
  auto later = make_mpirun_launcher({folder_ + "/worker", "tcp://127.0.0.1:4487", folder_});
  later->adopt(*launched);
  later->adopt({"gone", {launched->process.pid, launched->process.start_time + 1}});
  auto exits = later->poll();
  ASSERT_EQ(exits.size(), 1u);
  EXPECT_EQ(exits[0].launch, "gone");
  EXPECT_TRUE(alive(launched->process));
  later->stop("1");
  EXPECT_TRUE(becomes_true([&] { return !alive(launched->process); }));
}

TEST_F(Mpirun, AMissingMpirunIsASentence) {
  worker("exit 0");
  std::string path = std::getenv("PATH");
  setenv("PATH", folder_.c_str(), 1);
  auto launched = launcher_->launch({"1", 1});
  setenv("PATH", path.c_str(), 1);
  ASSERT_FALSE(launched);
  EXPECT_EQ(launched.error().message,
            "cannot start mpirun: No such file or directory; a local gang needs Open MPI (package openmpi-bin)");
}

}  // namespace
}  // namespace hivq
