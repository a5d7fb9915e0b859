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
#include "common/process.h"

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
    if (launcher_) launcher_->close();
    fs::remove_all(folder_);
  }
  /// A worker that says who it is and goes on with `script`.
  void worker(const std::string& script) {
    std::string path = folder_ + "/worker";
    std::ofstream(path) << "#!/bin/sh\necho $$ $OMPI_COMM_WORLD_RANK $OMPI_COMM_WORLD_SIZE \"$@\" >> " << folder_
                        << "/said\n"
                        << script << "\n";
    fs::permissions(path, fs::perms::owner_all);
    launcher_ = make();
  }
  std::unique_ptr<Launcher> make(const std::map<std::string, std::string>& environment = {}) const {
    return make_mpirun_launcher({}, {}, {folder_ + "/worker", "tcp://127.0.0.1:4487", "", folder_, environment});
  }
  std::vector<std::string> said() const {
    std::ifstream file(folder_ + "/said");
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }
  ProcessId rank_process(const std::string& line) const { return process_of(std::stoi(line)); }
  static std::vector<LaunchExit> exits_of(Launcher& launcher) {
    std::vector<LaunchExit> exits;
    for (const LaunchEvent& event : launcher.poll()) {
      if (const auto* exit = std::get_if<LaunchExit>(&event)) exits.push_back(*exit);
    }
    return exits;
  }
  std::vector<LaunchExit> wait_for_exit() {
    std::vector<LaunchExit> exits;
    becomes_true([&] { return !(exits = exits_of(*launcher_)).empty(); });
    return exits;
  }
  /// Starts a gang; its handle.
  std::string launch(const std::string& id, uint64_t ranks) {
    launcher_->launch({id, ranks});
    const auto events = launcher_->poll();
    const auto* handle = events.empty() ? nullptr : std::get_if<LaunchHandle>(&events[0]);
    return handle == nullptr ? "" : handle->handle;
  }
  static pid_t pid_of(const std::string& handle) { return std::stoi(handle.substr(4)); }
};

TEST_F(Mpirun, StartsARankForEachWithTheCoordinatorAndTheLaunch) {
  worker("exit 0");
  launcher_->launch({"42", 3});
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
    EXPECT_EQ(rest, " --coordinator tcp://127.0.0.1:4487 --launch 42 --cache " + folder_ +
                        "/features --label pool=local --host-gangs 1");
  }
  EXPECT_EQ(ranks.size(), 3u);
  EXPECT_TRUE(launcher_->poll().empty());
}

TEST_F(Mpirun, TellsHowAGangEndedWithItsLastLines) {
  worker("echo CUDA is missing; exit 3");
  launcher_->launch({"1", 1});
  auto exits = wait_for_exit();
  ASSERT_EQ(exits.size(), 1u);
  EXPECT_NE(exits[0].reason.find("exit code 3"), std::string::npos) << exits[0].reason;
  EXPECT_NE(exits[0].reason.find("CUDA is missing"), std::string::npos) << exits[0].reason;
  EXPECT_TRUE(fs::exists(folder_ + "/gangs/1.log"));
  worker(R"(echo '{"level":"error","message":"CUDA is still missing"}'; echo '{no JSON'; exit 3)");
  launcher_->launch({"2", 1});
  exits = wait_for_exit();
  ASSERT_EQ(exits.size(), 1u);
  EXPECT_NE(exits[0].reason.find(": CUDA is still missing | {no JSON"), std::string::npos) << exits[0].reason;
}

TEST_F(Mpirun, StopEndsTheRanks) {
  worker("exec sleep 1000");
  EXPECT_NE(launch("1", 2), "");
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
  const std::string handle = launch("1", 2);
  ASSERT_TRUE(becomes_true([&] { return said().size() == 2; }));
  auto first = rank_process(said()[0]), second = rank_process(said()[1]);
  kill(pid_of(handle), SIGKILL);
  auto exits = wait_for_exit();
  ASSERT_EQ(exits.size(), 1u);
  EXPECT_NE(exits[0].reason.find("signal 9"), std::string::npos) << exits[0].reason;
  EXPECT_TRUE(becomes_true([&] { return !alive(first) && !alive(second); }));
}

TEST_F(Mpirun, AnAdoptedGangIsWatchedAndStopped) {
  worker("exec sleep 1000");
  const std::string handle = launch("1", 1);
  ASSERT_TRUE(becomes_true([&] { return said().size() == 1; }));
  const ProcessId process = process_of(pid_of(handle));
  auto later = make();
  later->adopt({"1", handle});
  later->adopt({"gone", process_handle(process.pid, process.start_time + 1)});
  auto exits = exits_of(*later);
  ASSERT_EQ(exits.size(), 1u);
  EXPECT_EQ(exits[0].launch, "gone");
  EXPECT_TRUE(alive(process));
  later->stop("1");
  EXPECT_TRUE(becomes_true([&] { return !alive(process); }));
}

TEST_F(Mpirun, AGangWhoseHandleWasNotStoredIsFoundAgain) {
  worker("exec sleep 1000");
  const std::string handle = launch("1", 1);
  auto later = make();
  later->adopt({"1", ""});
  later->adopt({"2", ""});  // it was never started
  const auto events = later->poll();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(std::get<LaunchHandle>(events[0]).handle, handle);
  EXPECT_EQ(std::get<LaunchExit>(events[1]).launch, "2");
  EXPECT_TRUE(std::get<LaunchExit>(events[1]).blameless);
}

TEST_F(Mpirun, TheEnvironmentReachesTheRanksAndIsOnNoCommandLine) {
  worker("echo $HIVQ_KEY >> " + folder_ + "/key; tr '\\0' ' ' < /proc/$PPID/cmdline >> " + folder_ + "/parent");
  launcher_ = make({{"HIVQ_KEY", "secret"}});
  launcher_->launch({"1", 2});
  ASSERT_EQ(wait_for_exit().size(), 1u);
  const auto text = [&](const std::string& name) {
    std::ifstream file(folder_ + name);
    return std::string{std::istreambuf_iterator<char>(file), {}};
  };
  EXPECT_EQ(text("/key"), "secret\nsecret\n");
  EXPECT_NE(text("/parent").find("mpirun"), std::string::npos);
  EXPECT_EQ(text("/parent").find("secret"), std::string::npos);
}

TEST_F(Mpirun, AMissingMpirunIsASentence) {
  worker("exit 0");
  std::string path = std::getenv("PATH");
  setenv("PATH", folder_.c_str(), 1);
  launcher_->launch({"1", 1});
  setenv("PATH", path.c_str(), 1);
  const auto exits = exits_of(*launcher_);
  ASSERT_EQ(exits.size(), 1u);
  EXPECT_EQ(exits[0].reason,
            "cannot start mpirun: No such file or directory; a local gang needs Open MPI (package openmpi-bin)");
}

}  // namespace
}  // namespace hivq
