// What goes wrong for a user: each a clear sentence and a non-zero exit.

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <fstream>

#include "tests/e2e/harness.h"

namespace hivq::e2e {
namespace {

TEST(Errors, WrongYamlNamesFileLineFieldAndRemedy) {
  Workspace space;
  std::string spec = space.write("wrong.yaml", "name: wrong\ntrain:\n  batch_sice: 8\n  epochs: 0\n");
  auto ended = space.run({program("hivq"), "run", spec, "--data", space.path("data")});
  EXPECT_EQ(ended.code, 2);
  EXPECT_NE(ended.output.find(spec + ":3: "), std::string::npos) << ended.output;
  EXPECT_NE(ended.output.find("train.batch_size"), std::string::npos) << "no nearest key: " << ended.output;
  EXPECT_NE(ended.output.find(spec + ":4: train.epochs is 0"), std::string::npos) << ended.output;
  EXPECT_FALSE(std::filesystem::exists(space.path("data") + "/store")) << "started although the job is wrong";
}

TEST(Errors, APortInUseIsNamedWithTheRemedy) {
  Workspace space;
  Coordinator first(space, space.path("first"));
  auto ended = space.run({program("hivq-coordinator"), "--data", space.path("second"), "--listen", first.endpoint});
  EXPECT_EQ(ended.code, 1);
  EXPECT_NE(ended.output.find(first.endpoint + " is in use"), std::string::npos) << ended.output;
  EXPECT_NE(ended.output.find("--listen"), std::string::npos) << ended.output;
}

TEST(Errors, ADataFolderInUseIsNamedWithTheRemedy) {
  Workspace space;
  Coordinator first(space, space.path("data"));
  auto ended = space.run({program("hivq-coordinator"), "--data", space.path("data"), "--listen", "tcp://127.0.0.1:0"});
  EXPECT_EQ(ended.code, 1);
  EXPECT_NE(ended.output.find("in use by another coordinator"), std::string::npos) << ended.output;
}

TEST(Errors, AMissingDataSetFailsTheJobWithThePathAndTheGangLives) {
  Workspace space;
  std::string spec = space.write("tiny.yaml", tiny_job(1, 1));
  auto ended = space.run(
      {program("hivq"), "run", spec, "--data", space.path("data"), "--set", "data.path=/no/such/folder"}, 120);
  EXPECT_EQ(ended.code, 3) << ended.output;
  EXPECT_NE(ended.output.find("/no/such/folder"), std::string::npos) << ended.output;
}

TEST(Errors, AMissingSpecificationIsNamed) {
  Workspace space;
  auto ended = space.run({program("hivq"), "run", space.path("nothing.yaml"), "--data", space.path("data")});
  EXPECT_EQ(ended.code, 2) << ended.output;
  EXPECT_NE(ended.output.find("nothing.yaml"), std::string::npos) << ended.output;
}

/// A small file system of its own, or nothing where this user may not mount one.
class Mounted {
 public:
  Mounted(const std::string& folder, unsigned long flags, const char* options) : folder_(folder) {
    std::filesystem::create_directories(folder);
    mounted_ = mount("tmpfs", folder.c_str(), "tmpfs", flags, options) == 0;
  }
  ~Mounted() {
    if (mounted_) umount2(folder_.c_str(), MNT_DETACH);
  }
  explicit operator bool() const { return mounted_; }

 private:
  std::string folder_;
  bool mounted_;
};

TEST(Errors, AReadOnlyDataFolderIsNamed) {
  Workspace space;
  std::string folder = space.path("read-only");
  Mounted mounted(folder, MS_RDONLY, "");
  if (!mounted) std::filesystem::permissions(folder, std::filesystem::perms(0555));
  auto coordinator =
      space.run({program("hivq-coordinator"), "--data", folder + "/data", "--listen", "tcp://127.0.0.1:0"});
  EXPECT_EQ(coordinator.code, 1) << coordinator.output;
  EXPECT_NE(coordinator.output.find(folder), std::string::npos) << coordinator.output;
  EXPECT_NE(coordinator.output.find("--data"), std::string::npos) << coordinator.output;
  auto run = space.run({program("hivq"), "run", space.write("tiny.yaml", tiny_job(1, 1)), "--data", folder + "/data"});
  EXPECT_EQ(run.code, 1) << run.output;
  EXPECT_NE(run.output.find(folder), std::string::npos) << run.output;
}

TEST(Errors, AFullDataFolderRefusesWhatIsNewAndLosesNothing) {
  Workspace space;
  std::string folder = space.path("full");
  Mounted mounted(folder, 0, "size=3m");
  if (!mounted) GTEST_SKIP() << "this user may not mount a small file system";
  Coordinator coordinator(space, folder + "/data", {"--reserve", "0"});
  Client client = coordinator.client();
  // Jobs until the disk is full; each answer that came must be there afterwards.
  std::string yaml = tiny_job(200, 1);
  uint64_t acknowledged = 0;
  std::string refusal;
  for (int i = 0; i < 2000 && refusal.empty(); ++i) {
    auto answer =
        client.try_ask<Submitted>(Submit{"job " + std::to_string(i), "tiny.yaml", yaml}, std::chrono::seconds(20));
    ASSERT_TRUE(answer) << coordinator.log();
    if (*answer) acknowledged = (*answer)->job;
    if (!*answer) refusal = answer->error().message;
  }
  EXPECT_NE(refusal.find("is full"), std::string::npos) << refusal;
  EXPECT_NE(coordinator.log().find("is full: free space there"), std::string::npos) << coordinator.log();
  ASSERT_GT(acknowledged, 0u);
  ASSERT_TRUE(alive(coordinator.process));

  ASSERT_EQ(mount("tmpfs", folder.c_str(), "tmpfs", MS_REMOUNT, "size=64m"), 0);
  EXPECT_TRUE(wait_until([&] { return coordinator.log().find("space on the disk again") != std::string::npos; }))
      << coordinator.log();
  EXPECT_TRUE(client.ask<Submitted>(Submit{"afterwards", "tiny.yaml", yaml}));
  coordinator.kill_hard();
  coordinator.start();
  client = coordinator.client();
  EXPECT_GE(client.ask<JobList>(ListJobs{}).value().jobs.size(), acknowledged);
}

TEST(Errors, AFullCacheFolderFailsTheTrialWithTheRemedyAndTheGangGoesOn) {
  Workspace space;
  const std::string folder = space.path("features"), ballast = folder + "/ballast";
  Mounted mounted(folder, 0, "size=16m");
  if (!mounted) GTEST_SKIP() << "this user may not mount a small file system";
  const auto fill = [&] {
    std::ofstream file(ballast, std::ios::binary);
    const std::string block(1 << 16, 'x');
    while (file.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) continue;
  };
  Coordinator coordinator(space, space.path("data"));
  const ProcessId gang = space.start({"mpirun", "-np", "2", "--oversubscribe", "--bind-to", "none",
                                      program("hivq-worker"), "--coordinator", coordinator.endpoint, "--cache", folder},
                                     "gang.log");
  Client client = coordinator.client();
  const auto submit = [&](int epochs) {
    const std::string spec = space.write("tiny.yaml", tiny_job(1, epochs));
    return space.run({program("hivq"), "submit", spec, "--coordinator", coordinator.endpoint}).code;
  };
  const auto state_of = [&](JobId id) {
    auto job = client.ask<JobDetail>(ShowJob{id});
    return job ? job->job.state : std::string();
  };
  fill();
  ASSERT_EQ(submit(1), 0);
  ASSERT_TRUE(wait_until([&] { return state_of(1) == "failed"; }, 120)) << state_of(1);
  const auto shown = space.run({program("hivq"), "show", "1", "--coordinator", coordinator.endpoint});
  EXPECT_NE(shown.output.find("its disk has no room for them"), std::string::npos) << shown.output;
  EXPECT_NE(shown.output.find(folder), std::string::npos) << shown.output;

  // The same gang trains once there is space; what it trains from is there then, however full the disk becomes.
  std::filesystem::remove(ballast);
  ASSERT_EQ(submit(60), 0);
  const auto trains = [&] {
    auto job = client.ask<JobDetail>(ShowJob{2});
    return job && !job->trials.empty() && job->trials[0].step > 0;
  };
  ASSERT_TRUE(wait_until(trains, 120)) << state_of(2);
  fill();
  EXPECT_TRUE(wait_until([&] { return state_of(2) == "finished"; }, 300)) << state_of(2);
  EXPECT_TRUE(alive(gang));
}

}  // namespace
}  // namespace hivq::e2e
