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
  Submission submit(const LaunchRequest& request) { return engine()->submit({request}).at(0); }
  static Refusal refusal(const Submission& said) {
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
  const auto said = submit({"7", 4, "lab"});
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
  (void)submit({"7", 4, "lab"});
  EXPECT_NE(asked().find("--no-requeue --export=PATH,HOME,HIVQ_KEY"), std::string::npos) << asked();
}

TEST_F(SlurmTest, TheScriptStartsTheRanksWithWhatIsThere) {
  options_.environment = {{"HIVQ_KEY", "x"}};
  slurm_.cache = "/my cache";
  const std::string worker =
      " /opt/hivq-worker --coordinator tcp://head:4487 --launch \"$launch\" --cache '/my cache' --label pool=lab\n";
  const std::string text = slurm_script(pool_, slurm_, options_, {"7", 4, "lab"}, false);
  EXPECT_NE(
      text.find(
          "if srun --mpi=list 2>&1 | grep -qw pmix; then\n  exec srun --mpi=pmix --kill-on-bad-exit=1 --ntasks=4" +
          worker),
      text.npos)
      << text;
  EXPECT_NE(text.find("launch=7\n"), text.npos) << text;
  EXPECT_EQ(text.find("exec >>"), text.npos) << "sbatch --output says where it goes";
  EXPECT_NE(text.find("fi\nexec mpirun -np 4 --bind-to none -x HIVQ_KEY" + worker), text.npos) << text;
  slurm_.start = SlurmPool::Start::mpirun;
  EXPECT_EQ(slurm_script(pool_, slurm_, options_, {"7", 4, "lab"}, false).find("srun"), std::string::npos);
}

TEST_F(SlurmTest, ARefusalIsASentence) {
  command("sbatch",
          "echo 'sbatch: error: invalid partition specified: x' >&2;"
          "echo 'sbatch: error: Batch job submission failed: Invalid partition name specified' >&2; exit 1");
  const Refusal said = refusal(submit({"7", 4, "lab"}));
  EXPECT_EQ(said.reason,
            "Slurm refuses the gang: invalid partition specified: x; Batch job submission failed: Invalid "
            "partition name specified");
  EXPECT_FALSE(said.sent);
  EXPECT_FALSE(said.blameless);
  command("sbatch",
          "echo 'sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)' "
          ">&2; exit 1");
  EXPECT_TRUE(refusal(submit({"7", 4, "lab"})).blameless);
  command("sbatch",
          "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1");
  EXPECT_TRUE(refusal(submit({"7", 4, "lab"})).sent) << "the job may be there";
}

TEST_F(SlurmTest, WithoutSlurmItIsSaidWhatIsMissing) {
  setenv("PATH", (folder_ + "/bin").c_str(), 1);
  EXPECT_EQ(
      refusal(submit({"7", 4, "lab"})).reason,
      "cannot start sbatch: No such file or directory; a pool of Slurm needs its commands where the coordinator runs "
      "(package slurm-client)");
  EXPECT_FALSE(engine()->list());
}

TEST_F(SlurmTest, OneQuestionTellsOfAllGangs) {
  command("squeue",
          "echo '1|N/A|PENDING|Resources|hivq-0a1b2c3d-lab-7'\necho '2|N/A|RUNNING|None|hivq-0a1b2c3d-lab-8'\n"
          "echo '3|N/A|NODE_FAIL|None|hivq-0a1b2c3d-lab-9'\necho '4|N/A|RUNNING|None|hivq-ffffffff-lab-10'\n"
          "echo '5|N/A|REQUEUE_HOLD|launch failed|hivq-0a1b2c3d-lab-11'\necho '6|N/A|RUNNING|None|other'\n"
          "echo '7|N/A|RUNNING|None|hivq-0a1b2c3d-lab-9'\n");
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

TEST_F(SlurmTest, ACancelIsByNumberAlsoWhereTheNameAloneIsKnown) {
  command("scancel", "");
  command("squeue", "echo '43|1|PENDING|None|hivq-0a1b2c3d-lab-7'");
  EXPECT_TRUE(engine()->cancel({"7", "slurm:42", 4, "lab"}));
  EXPECT_TRUE(engine()->cancel({"8", "", 4, "lab"}));
  EXPECT_TRUE(engine()->cancel({"9", "", 4, "lab"})) << "it is not there";
  EXPECT_NE(asked().find("scancel --quiet 42\nsqueue"), std::string::npos) << asked();
  EXPECT_NE(asked().find("scancel --quiet 43_1\nsqueue"), std::string::npos) << asked();
  EXPECT_EQ(asked().find("scancel", asked().find("43_1")), std::string::npos) << asked();
}

TEST_F(SlurmTest, SeveralGangsAreOneArray) {
  command("sbatch", "echo 42");
  const auto said = engine()->submit({{"7", 4, "lab"}, {"8", 4, "lab"}, {"12", 4, "lab"}});
  ASSERT_EQ(said.size(), 3u);
  EXPECT_EQ(std::get<std::string>(said[0]), "slurm:42_0");
  EXPECT_EQ(std::get<std::string>(said[1]), "slurm:42_1");
  EXPECT_EQ(std::get<std::string>(said[2]), "slurm:42_5");
  EXPECT_NE(asked().find("--job-name=hivq-0a1b2c3d-lab-7 "), std::string::npos) << asked();
  EXPECT_NE(asked().find(" --array=0,1,5 "), std::string::npos) << asked();
  command("squeue",
          "echo '42|0|RUNNING|None|hivq-0a1b2c3d-lab-7'\necho '42|1|PENDING|Resources|hivq-0a1b2c3d-lab-7'\n"
          "echo '42|5|COMPLETED|None|hivq-0a1b2c3d-lab-7'\n");
  const auto list = engine()->list();
  ASSERT_TRUE(list) << list.error().message;
  ASSERT_EQ(list->size(), 3u);
  EXPECT_EQ(list->at("7").phase, EngineState::Phase::running);
  EXPECT_EQ(list->at("8").handle, "slurm:42_1");
  EXPECT_EQ(list->at("12").phase, EngineState::Phase::ended);
}

TEST_F(SlurmTest, EachGangOfAnArrayKnowsItsLaunchAndHasALogOfItsOwn) {
  const auto script = [&] { return slurm_script(pool_, slurm_, options_, {"7", 4, "lab"}, true); };
  EXPECT_NE(
      script().find("launch=$((7 + SLURM_ARRAY_TASK_ID))\nexec >>" + folder_ + "/gangs/$launch.log 2>&1 || exit 1\n"),
      std::string::npos)
      << script();
  slurm_.sbatch = {"--output=/logs/%A_%a"};
  EXPECT_EQ(script().find("exec >>"), std::string::npos) << script();
}

TEST_F(SlurmTest, GangsThatDifferOrAreFarApartAreNoArray) {
  const auto one = engine();
  EXPECT_TRUE(one->together({"7", 4, "lab"}, {"1006", 4, "lab"}));
  EXPECT_FALSE(one->together({"7", 4, "lab"}, {"1007", 4, "lab"})) << "beyond MaxArraySize";
  EXPECT_FALSE(one->together({"7", 4, "lab"}, {"8", 2, "lab"}));
  EXPECT_FALSE(one->together({"7", 4, "lab"}, {"6", 4, "lab"}));
}

TEST_F(SlurmTest, WhereAnArrayIsRefusedOneByOneIsTried) {
  command("sbatch",
          "case \"$*\" in *--array*|*lab-8*) echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1;; esac\n"
          "echo 43");
  const auto said = engine()->submit({{"7", 4, "lab"}, {"8", 4, "lab"}});
  ASSERT_EQ(said.size(), 2u);
  EXPECT_EQ(std::get<std::string>(said[0]), "slurm:43");
  EXPECT_EQ(refusal(said[1]).reason, "Slurm refuses the gang: QOSMaxSubmitJobPerUserLimit");
  command("sbatch", "echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1");
  const auto unsure = engine()->submit({{"7", 4, "lab"}, {"8", 4, "lab"}});
  EXPECT_TRUE(refusal(unsure.at(0)).sent && refusal(unsure.at(1)).sent) << "both may be there: not asked for again";
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
  command("squeue", "echo '42|N/A|PENDING|Priority|hivq-0a1b2c3d-lab-7'");
  start();
  launcher_->launch({"7", 4, "lab"});
  EXPECT_EQ(std::get<LaunchHandle>(next()).handle, "slurm:42");
  auto progress = std::get<LaunchProgress>(next());
  EXPECT_TRUE(progress.queued);
  EXPECT_EQ(progress.text, "Slurm job 42 waits in the queue (Priority)");
  command("squeue", "echo '42|N/A|RUNNING|None|hivq-0a1b2c3d-lab-7'");
  progress = std::get<LaunchProgress>(next());
  EXPECT_FALSE(progress.queued);
  EXPECT_EQ(progress.text, "");
  command("squeue", "echo '42|N/A|PENDING|BeginTime|hivq-0a1b2c3d-lab-7'");
  progress = std::get<LaunchProgress>(next());
  EXPECT_TRUE(progress.queued);
  EXPECT_EQ(progress.text, "its engine has put it back: Slurm job 42 waits in the queue (BeginTime)");
  command("squeue", "");
  const auto exit = std::get<LaunchExit>(next());
  EXPECT_EQ(exit.launch, "7");
  EXPECT_EQ(exit.reason, "Slurm job 42 reached its time limit");
}

TEST_F(SlurmLauncherTest, WhatIsAskedForAtOnceIsOneArrayAndIsStoppedAlone) {
  command("sbatch", "echo 42");
  command("scancel", "");
  command("squeue", "echo '42|0|RUNNING|None|hivq-0a1b2c3d-lab-7'\necho '42|1|RUNNING|None|hivq-0a1b2c3d-lab-7'\n");
  start();
  launcher_->launch({"7", 4, "lab"});
  launcher_->launch({"8", 4, "lab"});
  launcher_->launch({"9", 2, "lab"});
  EXPECT_EQ(std::get<LaunchHandle>(next()).handle, "slurm:42_0");
  EXPECT_EQ(std::get<LaunchHandle>(next()).handle, "slurm:42_1");
  const auto alone = std::get<LaunchHandle>(next());
  EXPECT_EQ(alone.launch + " " + alone.handle, "9 slurm:42") << "it has other ranks";
  launcher_->stop("8");
  for (int i = 0; i < 500 && asked().find("scancel") == std::string::npos; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_NE(asked().find("scancel --quiet 42_1\n"), std::string::npos) << asked();
}

TEST_F(SlurmLauncherTest, ASqueueThatDoesNotAnswerEndsNoGang) {
  command("sbatch", "echo 42");
  command("squeue", "exit 1");
  start(0);
  launcher_->launch({"7", 4, "lab"});
  EXPECT_EQ(std::get<LaunchHandle>(next()).handle, "slurm:42");
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_TRUE(launcher_->poll().empty());
  command("squeue", "echo '42|N/A|RUNNING|None|hivq-0a1b2c3d-lab-7'");
  EXPECT_FALSE(std::get<LaunchProgress>(next()).queued);
}

TEST_F(SlurmLauncherTest, AGangWhoseHandleWasNotStoredIsFoundByItsName) {
  command("squeue", "echo '42|N/A|RUNNING|None|hivq-0a1b2c3d-lab-7'");
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
  command("squeue", "echo '43|N/A|PENDING|None|hivq-0a1b2c3d-lab-9'\necho '44|N/A|PENDING|None|hivq-0a1b2c3d-other-9'");
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
