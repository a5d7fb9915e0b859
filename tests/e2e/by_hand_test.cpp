// The three terminals of the README: a coordinator, a gang started with mpirun, and a client.

#include <gtest/gtest.h>

#include "tests/e2e/harness.h"

namespace hivq::e2e {
namespace {

TEST(ByHand, ACoordinatorAGangByMpirunAndAClientTrainAJob) {
  Workspace space;
  Coordinator coordinator(space, space.path("data"));
  space.start({"mpirun", "-np", "2", "--oversubscribe", "--bind-to", "none", program("hivq-worker"), "--coordinator",
               coordinator.endpoint, "--cache", space.path("features")},
              "gang.log");
  std::string spec = space.write("tiny.yaml", tiny_job(2, 3));
  auto submitted = space.run({program("hivq"), "submit", spec, "--coordinator", coordinator.endpoint});
  ASSERT_EQ(submitted.code, 0) << submitted.output;

  Client client = coordinator.client();
  auto finished = [&] {
    auto job = client.ask<JobDetail>(ShowJob{1});
    return job && job->job.state == "finished";
  };
  ASSERT_TRUE(wait_until(finished, 120));
  auto results = space.run({program("hivq"), "results", "1", "--coordinator", coordinator.endpoint});
  EXPECT_EQ(results.code, 0) << results.output;
  EXPECT_NE(results.output.find("1/0"), std::string::npos) << results.output;
  EXPECT_NE(results.output.find("1/1"), std::string::npos) << results.output;
  auto job = client.ask<JobDetail>(ShowJob{1}).value();
  for (const auto& trial : job.trials) {
    EXPECT_EQ(trial.attempts, 1u);
    EXPECT_TRUE(trial.initial.contains("auroc"));
    EXPECT_TRUE(trial.final.contains("auroc"));
  }
}

}  // namespace
}  // namespace hivq::e2e
