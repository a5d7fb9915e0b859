// Faults of single ranks, gangs of another size, and trials side by side, with the real programs.

#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>

#include "tests/e2e/harness.h"

namespace hivq::e2e {
namespace {

class Engine : public testing::Test {
 protected:
  JobDetail job(JobId id = 1) {
    auto answer = client->ask<JobDetail>(ShowJob{id});
    return answer ? *answer : JobDetail{};
  }
  std::string log_of(uint64_t trial) {
    auto answer = client->ask<LogLines>(QueryLogs{{1, trial}, 0});
    std::string text;
    if (answer) {
      for (const std::string& line : answer->lines) text += line + "\n";
    }
    return text;
  }
  void submit(const std::string& yaml, std::vector<std::string> more = {}) {
    std::vector<std::string> command{program("hivq"), "submit", space.write("job.yaml", yaml), "--coordinator",
                                     coordinator.endpoint};
    command.insert(command.end(), more.begin(), more.end());
    auto submitted = space.run(command);
    ASSERT_EQ(submitted.code, 0) << submitted.output;
  }
  ProcessId start_gang(int ranks, std::vector<std::string> more = {}) {
    std::vector<std::string> command{"mpirun",
                                     "-np",
                                     std::to_string(ranks),
                                     "--oversubscribe",
                                     "--bind-to",
                                     "none",
                                     program("hivq-worker"),
                                     "--coordinator",
                                     coordinator.endpoint,
                                     "--cache",
                                     space.path("features")};
    command.insert(command.end(), more.begin(), more.end());
    return space.start(command, fmt::format("gang{}.log", ++gangs_));
  }
  bool trains_beyond_a_checkpoint() {
    return wait_until(
        [&] {
          JobDetail detail = job();
          if (detail.trials.empty()) return false;
          const TrialView& view = detail.trials[0];
          return view.state == "running" && view.checkpoint_step > 0 && view.step > view.checkpoint_step;
        },
        120);
  }

  Workspace space;
  Coordinator coordinator{space, space.path("data")};
  std::optional<Client> client = coordinator.client();
  int gangs_ = 0;
};

TEST_F(Engine, AStoppedRankEndsItsGangAndTheTrialGoesOnElsewhere) {
  start_gang(2, {"--timeout", "3"});
  submit(tiny_job(1, 400));
  ASSERT_TRUE(trains_beyond_a_checkpoint());
  auto workers = workers_of(coordinator.endpoint);
  ASSERT_EQ(workers.count(1), 1u);
  kill(workers.find(1)->second.pid, SIGSTOP);
  ASSERT_TRUE(wait_until([&] { return job().trials.at(0).state == "waiting"; }, 40)) << job().trials.at(0).state;
  auto shown = space.run({program("hivq"), "show", "1", "--coordinator", coordinator.endpoint});
  start_gang(2);
  ASSERT_TRUE(wait_until([&] { return job().job.state == "finished"; }, 300)) << job().job.state;
  EXPECT_EQ(job().trials.at(0).attempts, 2u);
  EXPECT_NE((shown.output + coordinator.log()).find("another rank did not take part in an all-reduce for 3 s"),
            std::string::npos)
      << shown.output << coordinator.log();
}

TEST_F(Engine, AGangOfAnotherSizeTakesATrialOver) {
  start_gang(2);
  submit(tiny_job(1, 400));
  ASSERT_TRUE(trains_beyond_a_checkpoint());
  const int64_t stored = job().trials.at(0).checkpoint_step;
  for (const auto& [rank, process] : workers_of(coordinator.endpoint)) kill(process.pid, SIGKILL);
  start_gang(1);
  ASSERT_TRUE(wait_until([&] { return job().job.state == "finished"; }, 300)) << job().job.state;
  const TrialView trial = job().trials.at(0);
  EXPECT_EQ(trial.attempts, 2u);
  EXPECT_TRUE(trial.final.contains("auroc"));
  EXPECT_NE(log_of(0).find("from step "), std::string::npos) << log_of(0);
  EXPECT_GT(stored, 0);
  // Every step's loss is there once, whoever computed it.
  auto losses = client->ask<MetricSeries>(QueryMetrics{{1, 0}, "loss"});
  ASSERT_TRUE(losses);
  const auto& points = losses->series.at("loss");
  for (size_t i = 0; i < points.size(); ++i) ASSERT_EQ(points[i].step, static_cast<int64_t>(i) + 1);
}

TEST_F(Engine, TrialsSideBySideGiveWhatTheyGiveOneAfterAnother) {
  start_gang(2);
  submit(tiny_job(4, 6));
  ASSERT_TRUE(wait_until([&] { return job(1).job.state == "finished"; }, 300));
  submit(tiny_job(4, 6), {"--set", "gang.fuse=4"});
  ASSERT_TRUE(wait_until([&] { return job(2).job.state == "finished"; }, 300));
  for (uint64_t trial = 0; trial < 4; ++trial) {
    auto alone = client->ask<MetricSeries>(QueryMetrics{{1, trial}, "loss"});
    auto fused = client->ask<MetricSeries>(QueryMetrics{{2, trial}, "loss"});
    ASSERT_TRUE(alone && fused);
    const auto &expected = alone->series.at("loss"), &got = fused->series.at("loss");
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].step, expected[i].step);
      EXPECT_NEAR(got[i].value, expected[i].value, 1e-3 * std::abs(expected[i].value)) << "trial " << trial;
    }
  }
  const TrialView first = job(2).trials.at(0), last = job(2).trials.at(3);
  EXPECT_LT(first.started, last.ended);
  EXPECT_LT(last.started, first.ended) << "they did not run side by side";
}

}  // namespace
}  // namespace hivq::e2e
