// What Slurm's commands are asked and what becomes of their answers; scripts stand in for them. With a real Slurm:
// tests/slurm.

#include "cluster/slurm.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

namespace hivq {
namespace {

namespace fs = std::filesystem;

class SlurmTest : public testing::Test {
 protected:
  std::string folder_ = testing::TempDir() + "/hivq_slurm_" + std::to_string(getpid());
  std::string path_ = std::getenv("PATH");
  Pool pool_;
  SlurmPool slurm_;
  LauncherOptions options_{"/opt/hivq-worker", "", "tcp://head:4487", folder_, {}};
  std::shared_ptr<std::atomic<bool>> ending_ = std::make_shared<std::atomic<bool>>(false);

  void SetUp() override {
    pool_.name = "lab";
    pool_.ranks = 4;
    slurm_.requeue = true;
    fs::create_directories(folder_ + "/bin");
    fs::create_directories(folder_ + "/gangs");
    setenv("PATH", (folder_ + "/bin:" + path_).c_str(), 1);
  }
  void TearDown() override {
    setenv("PATH", path_.c_str(), 1);
    fs::remove_all(folder_);
  }
  void command(const std::string& name, const std::string& script) {
    const std::string path = folder_ + "/bin/" + name;
    fs::remove(path);
    std::ofstream(path) << "#!/bin/sh\necho " << name << " \"$@\" >> " << folder_ << "/asked\n" << script << "\n";
    fs::permissions(path, fs::perms::owner_all);
  }
  std::string asked() const {
    std::ifstream file(folder_ + "/asked");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::unique_ptr<Engine> engine() { return make_slurm(pool_, slurm_, options_, "0a1b2c3d", ending_); }
  static Refusal refusal(const std::variant<std::string, Refusal>& said) {
    return std::holds_alternative<Refusal>(said) ? std::get<Refusal>(said) : Refusal{};
  }
};

TEST_F(SlurmTest, AGangIsABatchJob) {
  command("sbatch", "echo 'sbatch: warning: something' >&2; echo '42;cluster'; env > " + folder_ + "/env");
  slurm_.partition = "gpu";
  slurm_.time = "1:00:00";
  slurm_.nodes = 2;
  slurm_.sbatch = {"--gpus-per-node=2"};
  options_.environment = {{"HIVQ_KEY", "a secret"}};
  const auto said = engine()->submit({"7", 4, "lab"});
  ASSERT_TRUE(std::holds_alternative<std::string>(said)) << std::get<Refusal>(said).reason;
  EXPECT_EQ(std::get<std::string>(said), "slurm:42");
  EXPECT_EQ(asked(), fmt::format("sbatch --parsable --job-name=hivq-0a1b2c3d-lab-7 --output={0}/gangs/7.log "
                                 "--open-mode=append --ntasks=4 --requeue --export=ALL --partition=gpu --time=1:00:00 "
                                 "--nodes=2 --gpus-per-node=2 {0}/gangs/7.sh\n",
                                 folder_));
  std::ifstream env(folder_ + "/env");
  EXPECT_NE(std::string(std::istreambuf_iterator<char>(env), {}).find("HIVQ_KEY=a secret"), std::string::npos);
  std::ifstream script(folder_ + "/gangs/7.sh");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(script), {}).find("a secret"), std::string::npos);
}

TEST_F(SlurmTest, TheVariablesThatAreExportedCanBeNamed) {
  command("sbatch", "echo 42");
  slurm_.export_variables = "PATH,HOME";
  slurm_.requeue = false;
  options_.environment = {{"HIVQ_KEY", "x"}};
  (void)engine()->submit({"7", 4, "lab"});
  EXPECT_NE(asked().find("--no-requeue --export=PATH,HOME,HIVQ_KEY"), std::string::npos) << asked();
}

TEST_F(SlurmTest, TheScriptStartsTheRanksWithWhatIsThere) {
  options_.environment = {{"HIVQ_KEY", "x"}};
  slurm_.cache = "/my cache";
  const std::string worker =
      " /opt/hivq-worker --coordinator tcp://head:4487 --launch 7 --cache '/my cache' --label pool=lab\n";
  const std::string text = slurm_script(pool_, slurm_, options_, {"7", 4, "lab"});
  EXPECT_NE(
      text.find(
          "if srun --mpi=list 2>&1 | grep -qw pmix; then\n  exec srun --mpi=pmix --kill-on-bad-exit=1 --ntasks=4" +
          worker),
      text.npos)
      << text;
  EXPECT_NE(text.find("fi\nexec mpirun -np 4 --bind-to none -x HIVQ_KEY" + worker), text.npos) << text;
  slurm_.start = SlurmPool::Start::mpirun;
  EXPECT_EQ(slurm_script(pool_, slurm_, options_, {"7", 4, "lab"}).find("srun"), std::string::npos);
}

TEST_F(SlurmTest, ARefusalIsASentence) {
  command("sbatch",
          "echo 'sbatch: error: invalid partition specified: x' >&2;"
          "echo 'sbatch: error: Batch job submission failed: Invalid partition name specified' >&2; exit 1");
  const Refusal said = refusal(engine()->submit({"7", 4, "lab"}));
  EXPECT_EQ(said.reason,
            "Slurm refuses the gang: invalid partition specified: x; Batch job submission failed: Invalid "
            "partition name specified");
  EXPECT_FALSE(said.sent);
  EXPECT_FALSE(said.blameless);
  command("sbatch",
          "echo 'sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)' "
          ">&2; exit 1");
  EXPECT_TRUE(refusal(engine()->submit({"7", 4, "lab"})).blameless);
  command("sbatch",
          "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1");
  EXPECT_TRUE(refusal(engine()->submit({"7", 4, "lab"})).sent) << "the job may be there";
}

TEST_F(SlurmTest, WithoutSlurmItIsSaidWhatIsMissing) {
  setenv("PATH", (folder_ + "/bin").c_str(), 1);
  EXPECT_EQ(
      refusal(engine()->submit({"7", 4, "lab"})).reason,
      "cannot start sbatch: No such file or directory; a pool of Slurm needs its commands where the coordinator runs "
      "(package slurm-client)");
  EXPECT_FALSE(engine()->list());
}

TEST_F(SlurmTest, OneQuestionTellsOfAllGangs) {
  command("squeue",
          "echo '1|PENDING|Resources|hivq-0a1b2c3d-lab-7'\necho '2|RUNNING|None|hivq-0a1b2c3d-lab-8'\n"
          "echo '3|NODE_FAIL|None|hivq-0a1b2c3d-lab-9'\necho '4|RUNNING|None|hivq-ffffffff-lab-10'\n"
          "echo '5|REQUEUE_HOLD|launch failed|hivq-0a1b2c3d-lab-11'\necho '6|RUNNING|None|other'\n"
          "echo '7|RUNNING|None|hivq-0a1b2c3d-lab-9'\n");
  const auto list = engine()->list();
  ASSERT_TRUE(list) << list.error().message;
  ASSERT_EQ(list->size(), 4u);
  EXPECT_EQ(list->at("7").phase, EngineState::Phase::queued);
  EXPECT_EQ(list->at("7").text, "Slurm job 1 waits in the queue (Resources)");
  EXPECT_EQ(list->at("8").phase, EngineState::Phase::running);
  EXPECT_EQ(list->at("8").handle, "slurm:2");
  EXPECT_EQ(list->at("9").handle, "slurm:7") << "of two jobs of one name the one that has not ended";
  EXPECT_EQ(list->at("11").text, "Slurm job 5 waits in the queue (REQUEUE_HOLD, launch failed)");
  command("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1");
  EXPECT_EQ(engine()->list().error().message,
            "squeue: Unable to contact slurm controller (connect failure); the gangs go on meanwhile");
}

TEST_F(SlurmTest, TheEndIsToldWithItsReason) {
  const Launched gang{"7", "slurm:42", 4, "lab"};
  command("scontrol", "echo 'JobId=42 JobName=x JobState=FAILED Reason=NonZeroExitCode Requeue=1 ExitCode=3:0 X=Y'");
  fs::create_directories(folder_ + "/gangs");
  std::ofstream(folder_ + "/gangs/7.log") << "a\nCUDA is missing\n";
  EXPECT_EQ(engine()->how_it_ended(gang, {}).text, "Slurm job 42 failed (exit code 3:0): a | CUDA is missing");
  command("scontrol", "echo 'JobId=42 JobState=PREEMPTED'");
  EXPECT_EQ(engine()->how_it_ended(gang, {}).text, "Slurm job 42 was preempted by another job");
  EXPECT_TRUE(engine()->how_it_ended(gang, {}).blameless);
  command("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1");
  command("sacct", "echo 'CANCELLED by 0|0:15'");
  EXPECT_EQ(engine()->how_it_ended(gang, {}).text, "Slurm job 42 was cancelled");
  command("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1");
  EXPECT_EQ(engine()->how_it_ended(gang, {}).text, "Slurm job 42 is not known to Slurm any more: a | CUDA is missing");
}

TEST_F(SlurmTest, ACancelIsByNumberOrByName) {
  command("scancel", "");
  EXPECT_TRUE(engine()->cancel({"7", "slurm:42", 4, "lab"}));
  EXPECT_TRUE(engine()->cancel({"8", "", 4, "lab"}));
  EXPECT_EQ(asked(), "scancel --quiet 42\nscancel --name=hivq-0a1b2c3d-lab-8\n");
}

// ---- The launcher's thread ----

class SlurmLauncherTest : public SlurmTest {
 protected:
  std::unique_ptr<Launcher> launcher_;
  std::vector<LaunchEvent> events_;
  void start(Millis settle = 200) {
    launcher_ = make_engine_launcher(engine(), pool_, {20, settle}, Log("test", Level::error), ending_);
  }
  void TearDown() override {
    launcher_.reset();
    SlurmTest::TearDown();
  }
  /// Waits for the next event.
  LaunchEvent next() {
    for (int i = 0; i < 500 && events_.empty(); ++i) {
      for (auto& event : launcher_->poll()) events_.push_back(event);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    if (events_.empty()) return LaunchExit{"", "nothing came", false};
    LaunchEvent event = events_.front();
    events_.erase(events_.begin());
    return event;
  }
};

TEST_F(SlurmLauncherTest, FromTheQueueToTheEndAndBackWhereSlurmPutsIt) {
  command("sbatch", "echo 42");
  command("scancel", "");
  command("scontrol", "echo 'JobId=42 JobState=TIMEOUT'");
  command("squeue", "echo '42|PENDING|Priority|hivq-0a1b2c3d-lab-7'");
  start();
  launcher_->launch({"7", 4, "lab"});
  EXPECT_EQ(std::get<LaunchHandle>(next()).handle, "slurm:42");
  auto progress = std::get<LaunchProgress>(next());
  EXPECT_TRUE(progress.queued);
  EXPECT_EQ(progress.text, "Slurm job 42 waits in the queue (Priority)");
  command("squeue", "echo '42|RUNNING|None|hivq-0a1b2c3d-lab-7'");
  progress = std::get<LaunchProgress>(next());
  EXPECT_FALSE(progress.queued);
  EXPECT_EQ(progress.text, "");
  command("squeue", "echo '42|PENDING|BeginTime|hivq-0a1b2c3d-lab-7'");
  progress = std::get<LaunchProgress>(next());
  EXPECT_TRUE(progress.queued);
  EXPECT_EQ(progress.text, "its engine has put it back: Slurm job 42 waits in the queue (BeginTime)");
  command("squeue", "");
  const auto exit = std::get<LaunchExit>(next());
  EXPECT_EQ(exit.launch, "7");
  EXPECT_EQ(exit.reason, "Slurm job 42 reached its time limit");
}

TEST_F(SlurmLauncherTest, ASqueueThatDoesNotAnswerEndsNoGang) {
  command("sbatch", "echo 42");
  command("squeue", "exit 1");
  start(0);
  launcher_->launch({"7", 4, "lab"});
  EXPECT_EQ(std::get<LaunchHandle>(next()).handle, "slurm:42");
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_TRUE(launcher_->poll().empty());
  command("squeue", "echo '42|RUNNING|None|hivq-0a1b2c3d-lab-7'");
  EXPECT_FALSE(std::get<LaunchProgress>(next()).queued);
}

TEST_F(SlurmLauncherTest, AGangWhoseHandleWasNotStoredIsFoundByItsName) {
  command("squeue", "echo '42|RUNNING|None|hivq-0a1b2c3d-lab-7'");
  start();
  launcher_->adopt({"7", "", 4, "lab"});
  launcher_->adopt({"8", "", 4, "lab"});
  EXPECT_EQ(std::get<LaunchHandle>(next()).handle, "slurm:42");
  EXPECT_EQ(std::get<LaunchProgress>(next()).launch, "7");
  const auto exit = std::get<LaunchExit>(next());
  EXPECT_EQ(exit.launch, "8");
  EXPECT_TRUE(exit.blameless);
}

TEST_F(SlurmLauncherTest, WhatNoStoreKnowsIsCancelled) {
  command("squeue", "echo '43|PENDING|None|hivq-0a1b2c3d-lab-9'\necho '44|PENDING|None|hivq-0a1b2c3d-other-9'");
  command("scancel", "");
  start(50);
  for (int i = 0; i < 500 && asked().find("scancel") == std::string::npos; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_NE(asked().find("scancel --quiet 43"), std::string::npos);
  EXPECT_EQ(asked().find("scancel --quiet 44"), std::string::npos) << "it is another pool's";
}

TEST_F(SlurmLauncherTest, ClosingWaitsForNoCommand) {
  command("sbatch", "exec sleep 100");
  start();
  launcher_->launch({"7", 4, "lab"});
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const auto before = std::chrono::steady_clock::now();
  launcher_->close();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5));
}

}  // namespace
}  // namespace hivq
