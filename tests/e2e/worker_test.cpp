// hivq-worker as a program: how it ends.

#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/e2e/harness.h"

namespace hivq::e2e {
namespace {

/// How a process that was started ended; fails the test where it has not after `seconds`.
Exit exit_of(const ProcessId& process, double seconds) {
  std::optional<Exit> exit;
  EXPECT_TRUE(wait_until([&] { return (exit = try_wait(process)).has_value(); }, seconds)) << "it still runs";
  return exit.value_or(Exit{-1, "running"});
}

bool logs(const std::string& file, const std::string& text) {
  return wait_until([&] { return read_text(file).find(text) != std::string::npos; }, 30);
}

TEST(Worker, EndsInOrderOnASignalWithoutACoordinator) {
  Workspace workspace;
  for (int i = 0; i < 3; ++i) {
    const std::string log = fmt::format("worker{}.log", i);
    const ProcessId worker = workspace.start({program("hivq-worker"), "--coordinator", "tcp://127.0.0.1:9"}, log);
    ASSERT_TRUE(logs(workspace.path(log), "gang "));
    kill(worker.pid, i == 0 ? SIGINT : SIGTERM);
    EXPECT_EQ(exit_of(worker, 20).text, "exit code 0") << read_text(workspace.path(log));
  }
}

TEST(Worker, TellsTheCoordinatorThatItGoes) {
  Workspace workspace;
  Coordinator coordinator(workspace, workspace.path("data"));
  const ProcessId worker =
      workspace.start({program("hivq-worker"), "--coordinator", coordinator.endpoint}, "worker.log");
  ASSERT_TRUE(logs(workspace.path("worker.log"), "waiting for trials"));
  kill(worker.pid, SIGTERM);
  EXPECT_EQ(exit_of(worker, 20).text, "exit code 0") << read_text(workspace.path("worker.log"));
  EXPECT_TRUE(logs(workspace.path("coordinator.log"), "it was told to end (SIGTERM"));
}

TEST(Worker, LogsLinesOfJsonWhereItsCoordinatorDoes) {
  Workspace workspace;
  Coordinator coordinator(workspace, workspace.path("data"), {"--log-json", "--local-gangs", "1"});
  const auto job = workspace.run(
      {program("hivq"), "submit", workspace.write("tiny.yaml", tiny_job(1, 1)), "--data", coordinator.data, "--watch"},
      120);
  EXPECT_EQ(job.code, 0) << job.output;
  std::map<std::string, int> lines;  // by program
  const auto read = [&](const std::string& path) {
    std::istringstream text(read_text(path));
    for (std::string line; std::getline(text, line);) {
      const auto json = nlohmann::json::parse(line, nullptr, false);
      ASSERT_TRUE(json.is_object() && json.contains("time") && json.contains("level")) << path << ": " << line;
      lines[json.at("program")] += !json.at("message").get<std::string>().empty();
    }
  };
  read(workspace.path("coordinator.log"));
  for (const auto& entry : std::filesystem::directory_iterator(coordinator.data + "/gangs")) {
    if (entry.path().extension() == ".log") read(entry.path());
  }
  EXPECT_GT(lines["coordinator"], 0);
  EXPECT_GT(lines["worker"], 0);
}

TEST(Worker, GivesUpOnACoordinatorThatNeverAnswers) {
  Workspace workspace;
  const auto ended =
      workspace.run({program("hivq-worker"), "--coordinator", "tcp://127.0.0.1:9", "--patience", "6"}, 40);
  EXPECT_EQ(ended.code, 1);
  EXPECT_NE(ended.output.find("no coordinator answers at tcp://127.0.0.1:9 yet; waiting"), std::string::npos)
      << ended.output;
  EXPECT_NE(ended.output.find("no coordinator answered at tcp://127.0.0.1:9 for 6 s"), std::string::npos)
      << ended.output;
}

TEST(Worker, SaysWhatIsWrongWithItsFlags) {
  Workspace workspace;
  const auto address = workspace.run({program("hivq-worker"), "--coordinator", "nonsense"}, 40);
  EXPECT_EQ(address.code, 1);
  EXPECT_NE(address.output.find("the form is tcp://HOST:PORT"), std::string::npos) << address.output;
  const auto device =
      workspace.run({program("hivq-worker"), "--coordinator", "tcp://127.0.0.1:9", "--device", "gpu"}, 40);
  EXPECT_NE(device.code, 0);
  EXPECT_NE(device.output.find("--device"), std::string::npos) << device.output;
}

}  // namespace
}  // namespace hivq::e2e
