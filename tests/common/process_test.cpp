#include "common/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

namespace hivq {
namespace {

using namespace std::chrono_literals;

bool becomes_true(const std::function<bool()>& condition) {
  for (int i = 0; i < 500; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Process : public testing::Test {
 protected:
  std::string folder_ = testing::TempDir() + "/hivq_process_" + std::to_string(getpid());
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  ProcessId shell(const std::string& script, bool die_with_parent = false) {
    return spawn({{"sh", "-c", script}, {}, folder_ + "/out", die_with_parent}).value();
  }
};

TEST_F(Process, TellsHowItEnded) {
  auto three = shell("exit 3");
  std::optional<Exit> exit;
  EXPECT_TRUE(becomes_true([&] { return (exit = try_wait(three)).has_value(); }));
  EXPECT_EQ(exit->code, 3);
  EXPECT_EQ(exit->text, "exit code 3");
  auto killed = shell("kill -9 $$");
  EXPECT_TRUE(becomes_true([&] { return (exit = try_wait(killed)).has_value(); }));
  EXPECT_EQ(exit->code, 128 + 9);
  EXPECT_EQ(exit->text, "signal 9 (Killed)");
}

TEST_F(Process, WritesItsOutputWithTheEnvironmentThatWasGiven) {
  auto process =
      spawn({{"sh", "-c", "echo $HIVQ_TEST; echo oops >&2"}, {{"HIVQ_TEST", "a b"}}, folder_ + "/out"}).value();
  EXPECT_TRUE(becomes_true([&] { return try_wait(process).has_value(); }));
  EXPECT_EQ(text_of(folder_ + "/out"), "a b\noops\n");
}

TEST_F(Process, AMissingProgramIsASentence) {
  auto process = spawn({{folder_ + "/nothing"}, {}, ""});
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().message, "cannot start " + folder_ + "/nothing: No such file or directory");
  auto unwritable = spawn({{"true"}, {}, folder_ + "/no/folder"});
  ASSERT_FALSE(unwritable);
  EXPECT_NE(unwritable.error().message.find("cannot write to"), std::string::npos);
}

TEST_F(Process, StopIsPoliteFirst) {
  auto process = shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
  EXPECT_TRUE(becomes_true([&] { return text_of(folder_ + "/out") == "ready\n"; }));
  EXPECT_TRUE(alive(process));
  stop(process, 5s);
  EXPECT_FALSE(alive(process));
  EXPECT_EQ(text_of(folder_ + "/out"), "ready\nbye\n");
}

TEST_F(Process, StopKillsWhatDoesNotListenWithItsChildren) {
  auto process = shell("trap '' TERM; sleep 1000 & echo $!; while :; do sleep 0.01; done");
  EXPECT_TRUE(becomes_true([&] { return text_of(folder_ + "/out").ends_with("\n"); }));
  ProcessId child = process_of(std::stoi(text_of(folder_ + "/out")));
  EXPECT_TRUE(alive(child));
  stop(process, 100ms);
  EXPECT_FALSE(alive(process));
  EXPECT_TRUE(becomes_true([&] { return !alive(child); }));
}

TEST_F(Process, TheSessionOfADeadLeaderCanStillBeSignalled) {
  auto process = shell("sleep 1000 & echo $!; sleep 1000");
  EXPECT_TRUE(becomes_true([&] { return text_of(folder_ + "/out").ends_with("\n"); }));
  ProcessId child = process_of(std::stoi(text_of(folder_ + "/out")));
  kill(process.pid, SIGKILL);
  EXPECT_TRUE(becomes_true([&] { return try_wait(process).has_value(); }));
  EXPECT_TRUE(alive(child));
  signal_session(process, SIGKILL);
  EXPECT_TRUE(becomes_true([&] { return !alive(child); }));
}

TEST_F(Process, AnIdThatWasGivenToAnotherProcessIsToldApart) {
  ProcessId self = process_of(getpid());
  EXPECT_TRUE(alive(self));
  ProcessId other{self.pid, self.start_time + 1};
  EXPECT_FALSE(alive(other));
  stop(other, 1s);  // and this test goes on
  signal_session(other, SIGKILL);
  EXPECT_FALSE(alive({0, 0}));
  EXPECT_TRUE(try_wait({0, 0}));
}

#ifndef __has_feature
#define __has_feature(x) 0
#endif

TEST_F(Process, IsNotTakenForGoneWhereNoFileCanBeOpened) {
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
  GTEST_SKIP() << "the sanitizers look at objects by way of a pipe";
#endif
  const ProcessId sleeps = shell("exec sleep 100"), ended = shell("exit 3");
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  rlimit none = limit;
  none.rlim_cur = 0;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const bool lives = alive(sleeps), waits = !try_wait(sleeps);
  std::optional<Exit> exit;
  becomes_true([&] { return (exit = try_wait(ended)).has_value(); });
  setrlimit(RLIMIT_NOFILE, &limit);
  EXPECT_TRUE(lives);
  EXPECT_TRUE(waits);
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->text, "exit code 3");
  signal_session(sleeps, SIGKILL);
  EXPECT_TRUE(becomes_true([&] { return try_wait(sleeps).has_value(); }));
}

TEST_F(Process, DiesWithItsParentHoweverThatDies) {
  // A process in between, so that it can be killed.
  pid_t parent = fork();
  ASSERT_GE(parent, 0);
  if (parent == 0) {
    auto child = spawn({{"sleep", "1000"}, {}, "", true});
    std::ofstream(folder_ + "/child.part") << child.value().pid;
    std::filesystem::rename(folder_ + "/child.part", folder_ + "/child");
    pause();
    _exit(0);
  }
  ASSERT_TRUE(becomes_true([&] { return std::filesystem::exists(folder_ + "/child"); }));
  ProcessId child = process_of(std::stoi(text_of(folder_ + "/child")));
  EXPECT_TRUE(alive(child));
  kill(parent, SIGKILL);
  waitpid(parent, nullptr, 0);
  EXPECT_TRUE(becomes_true([&] { return !alive(child); }));
}

}  // namespace
}  // namespace hivq
