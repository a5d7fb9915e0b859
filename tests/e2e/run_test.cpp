// `hivq run`: the embedded default, from a specification to results that stay to be queried.

#include <gtest/gtest.h>
#include <signal.h>

#include <regex>

#include "tests/e2e/harness.h"

namespace hivq::e2e {
namespace {

namespace fs = std::filesystem;

std::string data_endpoint(const std::string& data) {
  std::smatch match;
  std::string text = read_text(data + "/coordinator.json");
  return std::regex_search(text, match, std::regex("tcp://[0-9.:]+")) ? match.str() : "";
}

/// Waits until the first trial of the run's job has stored a checkpoint.
bool stores_a_checkpoint(const std::string& data) {
  if (!wait_until([&] { return !data_endpoint(data).empty(); })) return false;
  Client client = Client::connect(data_endpoint(data)).value();
  return wait_until(
      [&] {
        auto job = client.ask<JobDetail>(ShowJob{1});
        return job && !job->trials.empty() && job->trials[0].checkpoint_step > 0;
      },
      120);
}

TEST(Run, TrainsASweepShowsATableAndLeavesTheResultsToQuery) {
  Workspace space;
  std::string spec = space.write("tiny.yaml", tiny_job(2, 4)), data = space.path("data");
  auto ran = space.run({program("hivq"), "run", spec, "--data", data}, 180);
  ASSERT_EQ(ran.code, 0) << ran.output;
  EXPECT_NE(ran.output.find("auroc"), std::string::npos) << ran.output;
  EXPECT_NE(ran.output.find("hivq results 1"), std::string::npos) << "no next command: " << ran.output;
  std::smatch figure;
  std::string output = ran.output;
  int figures = 0;
  for (; std::regex_search(output, figure, std::regex("[^ \n]+\\.svg")); output = figure.suffix(), ++figures) {
    EXPECT_TRUE(fs::exists(figure.str())) << figure.str();
  }
  EXPECT_GE(figures, 2) << ran.output;
  EXPECT_TRUE(workers_of(data_endpoint(data)).empty()) << "a worker was left behind";

  auto results = space.run({program("hivq"), "results", "1", "--data", data, "--csv"});
  EXPECT_EQ(results.code, 0) << results.output;
  EXPECT_NE(results.output.find("1/1"), std::string::npos) << results.output;
  auto metrics = space.run({program("hivq"), "metrics", "1/0", "auroc", "--data", data});
  EXPECT_EQ(metrics.code, 0) << metrics.output;
}

TEST(Run, CarriesOnWhenItsCoordinatorIsKilled) {
  Workspace space;
  std::string data = space.path("data");
  ProcessId run =
      space.start({program("hivq"), "run", space.write("tiny.yaml", tiny_job(2, 200)), "--data", data}, "run.log");
  ASSERT_TRUE(stores_a_checkpoint(data)) << read_text(space.path("run.log"));
  std::smatch pid;
  std::string address = read_text(data + "/coordinator.json");
  ASSERT_TRUE(std::regex_search(address, pid, std::regex("\"pid\":([0-9]+)")));
  kill(std::stoi(pid[1]), SIGKILL);
  std::optional<Exit> exit;
  ASSERT_TRUE(wait_until([&] { return (exit = try_wait(run)).has_value(); }, 180)) << read_text(space.path("run.log"));
  EXPECT_EQ(exit->code, 0) << read_text(space.path("run.log"));
}

TEST(Run, AnInterruptedRunIsKeptAndResumed) {
  Workspace space;
  std::string data = space.path("data");
  ProcessId run =
      space.start({program("hivq"), "run", space.write("tiny.yaml", tiny_job(2, 200)), "--data", data}, "run.log");
  ASSERT_TRUE(stores_a_checkpoint(data)) << read_text(space.path("run.log"));
  kill(run.pid, SIGINT);
  std::optional<Exit> exit;
  ASSERT_TRUE(wait_until([&] { return (exit = try_wait(run)).has_value(); }, 60));
  EXPECT_EQ(exit->code, 130);
  EXPECT_NE(read_text(space.path("run.log")).find("hivq run --resume 1"), std::string::npos)
      << read_text(space.path("run.log"));
  EXPECT_TRUE(workers_of(data_endpoint(data)).empty()) << "a worker was left behind";
  auto resumed = space.run({program("hivq"), "run", "--resume", "1", "--data", data}, 180);
  EXPECT_EQ(resumed.code, 0) << resumed.output;
}

}  // namespace
}  // namespace hivq::e2e
