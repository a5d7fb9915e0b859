// The program hivq as users run it, against a coordinator in the test.

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/process.h"
#include "jobs/spec.h"
#include "tests/jobs/fake_coordinator.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class CommandLine : public testing::Test {
 protected:
  struct Ended {
    int code = -1;
    std::string output;  // standard output and error
  };

  CommandLine() {
    std::string name = (fs::temp_directory_path() / "hivq_cli_XXXXXX").string();
    folder = mkdtemp(name.data());
  }
  ~CommandLine() override { fs::remove_all(folder); }

  std::string path(const std::string& name) const { return folder + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name)) << text;
    return path(name);
  }

  ProcessId start(std::vector<std::string> arguments, const std::string& output) const {
    arguments.insert(arguments.begin(), std::string(HIVQ_BIN_DIR) + "/hivq");
    SpawnOptions options;
    options.command = std::move(arguments);
    options.environment = {{"HIVQ_COORDINATOR", ""}};
    options.output = output;
    options.die_with_parent = true;
    auto process = spawn(options);
    check(bool(process), "hivq is not there: build it");
    return *process;
  }
  Ended wait(const ProcessId& process, const std::string& output) const {
    for (auto end = std::chrono::steady_clock::now() + 60s; std::chrono::steady_clock::now() < end;) {
      if (auto exit = try_wait(process)) return {exit->code, read_text(output)};
      std::this_thread::sleep_for(5ms);
    }
    stop(process, 100ms);
    ADD_FAILURE() << "hivq did not end: " << read_text(output);
    return {-1, read_text(output)};
  }
  Ended run(std::vector<std::string> arguments) {
    std::string output = path("output-" + std::to_string(runs_++));
    return wait(start(std::move(arguments), output), output);
  }

  std::string folder;

 private:
  int runs_ = 0;
};

constexpr const char* small_job = "name: small\ntrain: {epochs: 3}\nsweep: {parameters: {train.seed: [0, 1]}}\n";

// A job of two trials with results, as the coordinator tells of it.
JobDetail stored_job(const std::string& second_state = "finished") {
  JobDetail detail;
  detail.job = {4, "small", "finished", "", 1000, 9000, 2, 2, 0, 0, 0, "auroc", "maximize"};
  detail.yaml = small_job;
  for (uint64_t i = 0; i < 2; ++i) {
    TrialView trial;
    trial.id = {4, i};
    trial.params = {{"train.seed", std::to_string(i)}};
    trial.state = "finished";
    trial.started = 1000;
    trial.ended = 4000;
    trial.initial = {{"auroc", 0.5}};
    trial.final = {{"auroc", i == 0 ? 0.75 : 0.875}};
    detail.trials.push_back(trial);
  }
  if (second_state == "failed") {
    detail.trials[1].state = "failed";
    detail.trials[1].reason = "the loss is not finite at step 7";
    detail.trials[1].final.clear();
    detail.job.finished = 1;
    detail.job.failed = 1;
  }
  return detail;
}

Body answer(const Message& question) {
  if (auto* show = std::get_if<ShowJob>(&question.body)) {
    if (show->job != 4) return Failed{fmt::format("there is no job {}; `hivq list` shows them", show->job)};
    return stored_job();
  }
  if (auto* metrics = std::get_if<QueryMetrics>(&question.body)) {
    MetricSeries series;
    std::map<std::string, std::vector<MetricPoint>> all = {{"auroc", {{0, 0.5}, {10, 0.75}}},
                                                           {"loss", {{1, 4.0}, {2, 0.25}}}};
    for (auto& [name, points] : all) {
      if (!name.starts_with(metrics->prefix)) continue;
      if (metrics->newest == 1) points = {points.back()};
      series.series[name] = points;
    }
    return series;
  }
  if (std::holds_alternative<ListJobs>(question.body)) return JobList{{stored_job().job}};
  if (std::holds_alternative<QueryGangs>(question.body)) return GangList{};
  return Failed{"not asked in this test"};
}

void answer_all(Router& router, const std::string& peer, const Message& question) {
  reply(router, peer, question.id, answer(question));
}

// ---- Usage ----

TEST_F(CommandLine, WrongUsageHasCodeTwoAndASentence) {
  for (const auto& arguments : std::vector<std::vector<std::string>>{{},
                                                                     {"results"},
                                                                     {"results", "1", "--bogus"},
                                                                     {"results", "one"},
                                                                     {"show", "1/x"},
                                                                     {"metrics", "7"},
                                                                     {"logs", "../etc"},
                                                                     {"run"},
                                                                     {"run", "x.yaml", "--ranks", "0"},
                                                                     {"run", "x.yaml", "--resume", "1"},
                                                                     {"results", "1", "--csv", "--json"}}) {
    auto ended = run(arguments);
    EXPECT_EQ(ended.code, 2) << testing::PrintToString(arguments) << ended.output;
    EXPECT_FALSE(ended.output.empty());
    EXPECT_LE(std::count(ended.output.begin(), ended.output.end(), '\n'), 2) << ended.output;
  }
}

TEST_F(CommandLine, AnUnknownCommandIsNamed) {
  auto ended = run({"frobnicate", "1"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_TRUE(contains(ended.output, "'frobnicate'")) << ended.output;
}

TEST_F(CommandLine, HelpAndVersionSucceed) {
  EXPECT_EQ(run({"--version"}).code, 0);
  auto help = run({"--help"});
  EXPECT_EQ(help.code, 0);
  for (const char* command : {"run", "submit", "watch", "cancel", "pause", "resume", "validate", "list", "show",
                              "results", "metrics", "logs", "plot", "gangs"}) {
    EXPECT_TRUE(contains(help.output, command)) << command;
    auto one = run({command, "--help"});
    EXPECT_EQ(one.code, 0) << command;
    EXPECT_TRUE(contains(one.output, std::string("Example:\n  hivq ") + command)) << one.output;
  }
}

// ---- Specifications ----

TEST_F(CommandLine, AWrongSpecificationHasCodeTwoAndNamesTheLine) {
  std::string spec = write("wrong.yaml", "name: wrong\ntrain:\n  epochs: 0\n");
  for (const char* command : {"run", "submit", "validate"}) {
    auto ended = run({command, spec});
    EXPECT_EQ(ended.code, 2) << ended.output;
    EXPECT_TRUE(contains(ended.output, spec + ":3: ")) << ended.output;
  }
  EXPECT_FALSE(fs::exists(path(".hivq")));
}

TEST_F(CommandLine, AMissingOrUnreadableSpecificationIsNamed) {
  auto missing = run({"validate", path("nothing.yaml")});
  EXPECT_EQ(missing.code, 2);
  EXPECT_TRUE(contains(missing.output, "nothing.yaml")) << missing.output;
  auto directory = run({"validate", folder});
  EXPECT_EQ(directory.code, 2) << directory.output;
  EXPECT_TRUE(contains(directory.output, folder)) << directory.output;
}

TEST_F(CommandLine, AnOverrideMustHaveAKeyAndAValue) {
  std::string spec = write("small.yaml", small_job);
  EXPECT_EQ(run({"validate", spec, "--set", "train.lr"}).code, 2);
  EXPECT_EQ(run({"validate", spec, "--set", "=1"}).code, 2);
  auto unknown = run({"validate", spec, "--set", "train.epoch=1"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_TRUE(contains(unknown.output, "train.epochs")) << unknown.output;
}

TEST_F(CommandLine, ValidatePrintsAJobThatIsTheSameJob) {
  auto first =
      run({"validate", write("small.yaml", small_job), "--set", "train.lr=2e-3", "--set", "train.batch_size=8"});
  ASSERT_EQ(first.code, 0) << first.output;
  auto second = run({"validate", write("resolved.yaml", first.output)});
  EXPECT_EQ(second.code, 0) << second.output;
  EXPECT_EQ(first.output, second.output);
  auto job = parse_job(first.output, "resolved.yaml");
  ASSERT_TRUE(bool(job)) << job.error().message;
  EXPECT_EQ(job->trial.train.lr, 2e-3);
  EXPECT_EQ(job->trial.train.batch_size, 8);
  EXPECT_EQ(job->trial.train.epochs, 3);
}

// ---- Finding the coordinator ----

TEST_F(CommandLine, WithoutACoordinatorItSaysHowToGetOne) {
  auto ended = run({"list", "--coordinator", "tcp://127.0.0.1:1"});
  EXPECT_EQ(ended.code, 1);
  EXPECT_TRUE(contains(ended.output, "no coordinator answers at tcp://127.0.0.1:1")) << ended.output;
  EXPECT_TRUE(contains(ended.output, "hivq-coordinator")) << ended.output;
}

TEST_F(CommandLine, AnAddressThatIsNoneIsRefused) {
  auto ended = run({"list", "--coordinator", "localhost"});
  EXPECT_EQ(ended.code, 1);
  EXPECT_TRUE(contains(ended.output, "tcp://HOST:PORT")) << ended.output;
}

TEST_F(CommandLine, ADataFolderThatIsAFileIsNamed) {
  auto ended = run({"run", write("small.yaml", small_job), "--data", write("file", "")});
  EXPECT_EQ(ended.code, 1);
  EXPECT_TRUE(contains(ended.output, path("file"))) << ended.output;
  EXPECT_TRUE(contains(ended.output, "--data")) << ended.output;
}

TEST_F(CommandLine, ResumingWithoutDataSaysSo) {
  auto ended = run({"run", "--resume", "3", "--data", path("nowhere")});
  EXPECT_EQ(ended.code, 1);
  EXPECT_TRUE(contains(ended.output, path("nowhere"))) << ended.output;
  EXPECT_FALSE(fs::exists(path("nowhere")));
}

TEST_F(CommandLine, TheLiveCoordinatorOfTheDataFolderIsFoundAndAStaleOrDamagedFileIgnored) {
  FakeCoordinator coordinator(answer_all);
  ProcessId self = process_of(getpid());
  auto address = [&](uint64_t start) {
    return fmt::format(R"({{"endpoint": "{}", "pid": {}, "start_time": {}}})", coordinator.endpoint(), self.pid, start);
  };
  write("coordinator.json", address(self.start_time));
  EXPECT_TRUE(contains(run({"list", "--data", folder}).output, "small"));
  EXPECT_TRUE(contains(run({"dashboard", "--data", folder}).output, "--http off"));
  const std::string with_pages = address(self.start_time);
  write("coordinator.json", with_pages.substr(0, with_pages.size() - 1) + R"(, "http": "http://127.0.0.1:9"})");
  EXPECT_EQ(run({"dashboard", "--data", folder}).output, "http://127.0.0.1:9\n");
  for (const std::string& other : {address(self.start_time + 1), std::string("{\"endpoint\": 5"), std::string("[]"),
                                   std::string("{\"endpoint\": \"x\", \"pid\": \"1\", \"start_time\": -1}")}) {
    write("coordinator.json", other);
    auto ended = run({"list", "--data", folder});
    EXPECT_FALSE(contains(ended.output, "small")) << other;
  }
}

// ---- Commands ----

TEST_F(CommandLine, SubmitSendsTheResolvedJobWithItsOverrides) {
  std::optional<Submit> received;
  std::mutex mutex;
  FakeCoordinator coordinator([&](Router& router, const auto& peer, const Message& question) {
    std::lock_guard lock(mutex);
    received = std::get<Submit>(question.body);
    reply(router, peer, question.id, Submitted{4});
  });
  auto ended = run({"submit", write("small.yaml", small_job), "--set", "train.batch_size=8", "--json", "--coordinator",
                    coordinator.endpoint()});
  ASSERT_EQ(ended.code, 0) << ended.output;
  EXPECT_EQ(nlohmann::json::parse(ended.output)["job"], 4);
  std::lock_guard lock(mutex);
  ASSERT_TRUE(received);
  EXPECT_EQ(received->key.size(), 16u);
  auto job = parse_job(received->yaml, "sent");
  ASSERT_TRUE(bool(job)) << job.error().message;
  EXPECT_EQ(job->trial.train.batch_size, 8);
  EXPECT_EQ(job->trial.train.epochs, 3);
}

TEST_F(CommandLine, PauseAndResumeSayWhatRunsAndWhatWaits) {
  std::mutex mutex;
  std::vector<SetPaused> received;
  FakeCoordinator coordinator([&](Router& router, const auto& peer, const Message& question) {
    std::lock_guard lock(mutex);
    received.push_back(std::get<SetPaused>(question.body));
    reply(router, peer, question.id, PausedSet{received.size() == 1 ? 2u : 0u, received.size() == 1 ? 1u : 3u});
  });
  auto paused = run({"pause", "4", "--data", folder, "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(paused.code, 0);
  EXPECT_TRUE(contains(paused.output, "job 4 paused: 1 trial waits, 2 to stop at the next step; ")) << paused.output;
  EXPECT_TRUE(contains(paused.output, "hivq resume 4 ")) << paused.output;
  auto resumed = run({"resume", "4", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(resumed.output, "job 4 resumed: 3 trials wait\n");
  auto json = nlohmann::json::parse(run({"pause", "4", "--json", "--coordinator", coordinator.endpoint()}).output);
  EXPECT_EQ(json["paused"], true);
  EXPECT_EQ(json["waiting"], 3);
  std::lock_guard lock(mutex);
  ASSERT_EQ(received.size(), 3u);
  EXPECT_TRUE(received[0].paused);
  EXPECT_FALSE(received[1].paused);
  EXPECT_EQ(received[0].job, 4u);
  EXPECT_EQ(received[0].key.size(), 16u);
  EXPECT_NE(received[0].key, received[2].key);
}

TEST_F(CommandLine, APriorityIsSentAndTold) {
  SetPriority received;
  FakeCoordinator coordinator([&](Router& router, const auto& peer, const Message& question) {
    received = std::get<SetPriority>(question.body);
    reply(router, peer, question.id, PrioritySet{received.priority});
  });
  auto ended = run({"priority", "4", "-3", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(ended.code, 0) << ended.output;
  EXPECT_EQ(ended.output, "job 4 has the priority -3\n");
  EXPECT_EQ(received.job, 4u);
  EXPECT_EQ(received.priority, -3);
  EXPECT_EQ(run({"priority", "4", "high"}).code, 2);
}

TEST_F(CommandLine, PausingWhatCannotBePausedSaysWhy) {
  FakeCoordinator coordinator([](Router& router, const auto& peer, const Message& question) {
    reply(router, peer, question.id, Failed{"job 4 has ended: there is nothing to pause"});
  });
  auto ended = run({"pause", "4", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(ended.code, 1);
  EXPECT_EQ(ended.output, "hivq: job 4 has ended: there is nothing to pause\n");
  EXPECT_EQ(run({"pause", "4/1", "--coordinator", coordinator.endpoint()}).code, 2);
}

TEST_F(CommandLine, APackIsToldPlainly) {
  FakeCoordinator coordinator([](Router& router, const auto& peer, const Message& question) {
    GangView gang{"0123456789abcdef", "host", "2 CPU ranks", "", "training", 2, {}, true};
    for (uint64_t i = 3; i < 11; ++i) gang.trials.push_back({1, i});
    JobDetail detail = stored_job();
    detail.trials[0].gang = gang.id;
    detail.trials[0].beside = 7;
    bool gangs = std::holds_alternative<QueryGangs>(question.body);
    reply(router, peer, question.id, gangs ? Body(GangList{{gang}}) : Body(detail));
  });
  auto gangs = run({"gangs", "--coordinator", coordinator.endpoint()});
  EXPECT_TRUE(contains(gangs.output, "1/3 and 7 more")) << gangs.output;
  auto json = nlohmann::json::parse(run({"gangs", "--json", "--coordinator", coordinator.endpoint()}).output);
  EXPECT_EQ(json[0]["trials"].size(), 8u);
  EXPECT_EQ(json[0]["trials"][0], "1/3");
  auto trial = run({"show", "4/0", "--coordinator", coordinator.endpoint()});
  EXPECT_TRUE(contains(trial.output, "with 7 other trials on its gang")) << trial.output;
}

TEST_F(CommandLine, DrainSaysWhatItIsAbout) {
  std::vector<SetDrained> wishes;
  FakeCoordinator coordinator([&](Router& router, const auto& peer, const Message& question) {
    wishes.push_back(std::get<SetDrained>(question.body));
    reply(router, peer, question.id, DrainSet{"host:node7", 2, 3});
  });
  const std::vector<std::string> where = {"--coordinator", coordinator.endpoint()};
  auto ask = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), where.begin(), where.end());
    return run(arguments);
  };
  EXPECT_EQ(ask({"drain", "host:node7"}).output,
            "host:node7 gets no new trials: 2 gangs, 3 trials to stop at the next step and go on elsewhere\n");
  EXPECT_EQ(ask({"drain", "host:node7", "--to-the-end"}).output,
            "host:node7 gets no new trials: 2 gangs, 3 trials to run to the end\n");
  EXPECT_EQ(ask({"drain", "host:node7", "--undo"}).output, "host:node7 may have trials again: 2 gangs\n");
  EXPECT_EQ(nlohmann::json::parse(ask({"drain", "host:node7", "--json"}).output)["running"], 3);
  ASSERT_EQ(wishes.size(), 4u);
  EXPECT_TRUE(wishes[0].drained && !wishes[0].to_the_end && wishes[1].to_the_end && !wishes[2].drained);
  EXPECT_NE(wishes[0].key, wishes[1].key);
  EXPECT_EQ(ask({"drain", "host:node7", "--undo", "--wait"}).code, 2);
}

TEST_F(CommandLine, ExplainIsOneSentence) {
  FakeCoordinator coordinator([](Router& router, const auto& peer, const Message& question) {
    const JobId job = std::get<ExplainJob>(question.body).job;
    reply(router, peer, question.id, Explanation{fmt::format("job {} does not run: it is paused", job)});
  });
  EXPECT_EQ(run({"explain", "4", "--coordinator", coordinator.endpoint()}).output,
            "job 4 does not run: it is paused\n");
  auto json = run({"explain", "4", "--json", "--coordinator", coordinator.endpoint()}).output;
  EXPECT_EQ(nlohmann::json::parse(json)["explanation"], "job 4 does not run: it is paused");
}

TEST_F(CommandLine, ADryRunTellsWhatAJobWouldTakeAndSubmitsNothing) {
  const std::string spec = write("spec.yaml", "name: x\n");
  Estimate estimate{6, 1.5, 4, 3 << 20, ""};
  FakeCoordinator coordinator([&](Router& router, const auto& peer, const Message& question) {
    EXPECT_TRUE(std::holds_alternative<EstimateJob>(question.body));
    reply(router, peer, question.id, estimate);
  });
  auto dry = run({"submit", spec, "--dry-run", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(dry.code, 0);
  EXPECT_EQ(dry.output,
            "trials: 6\ntime on a GPU (or CPU rank): 1.5 hours in all, measured on 4 finished trials like these\n"
            "space of the newest checkpoints: 3.0 MiB\n");
  EXPECT_EQ(run({"validate", spec, "--estimate", "--coordinator", coordinator.endpoint()}).output, dry.output);
  estimate = {6, -1, 0, -1, "nothing like it"};
  EXPECT_EQ(run({"submit", spec, "--dry-run", "--coordinator", coordinator.endpoint()}).output,
            "trials: 6\nnot known: nothing like it\n");
}

TEST_F(CommandLine, TheCoordinatorsSentenceReachesTheUser) {
  FakeCoordinator coordinator(answer_all);
  auto ended = run({"results", "9", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(ended.code, 1);
  EXPECT_EQ(ended.output, "hivq: there is no job 9; `hivq list` shows them\n");
}

TEST_F(CommandLine, ResultsAreATableCsvOrJson) {
  FakeCoordinator coordinator(answer_all);
  auto table = run({"results", "4", "--coordinator", coordinator.endpoint()});
  ASSERT_EQ(table.code, 0) << table.output;
  EXPECT_LT(table.output.find("4/1"), table.output.find("4/0")) << "the best first: " << table.output;
  EXPECT_TRUE(contains(table.output, "0.5000 → 0.8750")) << table.output;
  EXPECT_FALSE(contains(table.output, "\033")) << "colours in a file";
  auto csv = run({"results", "4", "--csv", "--sort", "trial", "--coordinator", coordinator.endpoint()});
  EXPECT_TRUE(csv.output.starts_with("rank,trial,")) << csv.output;
  EXPECT_TRUE(contains(csv.output, "\n2,4/0,,0,0.5,0.75,0.25,2,3,")) << csv.output;
  auto json = nlohmann::json::parse(run({"results", "4", "--json", "--coordinator", coordinator.endpoint()}).output);
  EXPECT_EQ(json["results"][0]["trial"], "4/1");
  EXPECT_EQ(json["results"][0]["trained"], 0.875);
}

TEST_F(CommandLine, ANameCannotSteerTheTerminal) {
  FakeCoordinator coordinator([](Router& router, const auto& peer, const Message& question) {
    JobList list{{stored_job().job}};
    list.jobs[0].name = "evil\033[2J\xff";
    reply(router, peer, question.id, list);
  });
  auto table = run({"list", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(table.code, 0);
  EXPECT_FALSE(contains(table.output, "\033")) << table.output;
  auto json = run({"list", "--json", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(json.code, 0) << json.output;
  EXPECT_TRUE(nlohmann::json::accept(json.output)) << json.output;
}

TEST_F(CommandLine, MetricsListThePointsAndNameWhatThereIs) {
  FakeCoordinator coordinator(answer_all);
  auto points = run({"metrics", "4/0", "auroc", "--csv", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(points.output, "metric,step,value\nauroc,0,0.5\nauroc,10,0.75\n");
  auto unknown = run({"metrics", "4/0", "speed", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(unknown.code, 1);
  EXPECT_TRUE(contains(unknown.output, "auroc, loss")) << unknown.output;
}

TEST_F(CommandLine, TrialsAreComparedAndAJobStandsForItsBest) {
  FakeCoordinator coordinator(answer_all);
  auto table = run({"compare", "4/0", "4", "--coordinator", coordinator.endpoint()});
  ASSERT_EQ(table.code, 0) << table.output;
  EXPECT_TRUE(contains(table.output, "4/0") && contains(table.output, "4/1")) << table.output;
  EXPECT_TRUE(contains(table.output, "0.8750 (+0.1250)")) << table.output;
  EXPECT_TRUE(contains(table.output, "train.seed")) << table.output;
  EXPECT_FALSE(contains(table.output, "train.epochs")) << "is equal: " << table.output;
  auto json =
      nlohmann::json::parse(run({"compare", "4/0", "4/1", "--json", "--coordinator", coordinator.endpoint()}).output);
  EXPECT_EQ(json["settings"]["train.seed"], nlohmann::json::parse(R"(["0", "1"])"));
  EXPECT_EQ(json["metrics"]["auroc"][1], 0.875);
  auto alone = run({"compare", "4/0", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(alone.code, 2) << alone.output;
  auto unknown = run({"compare", "4/0", "4/7", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(unknown.code, 1);
  EXPECT_TRUE(contains(unknown.output, "there is no trial 4/7")) << unknown.output;
}

TEST_F(CommandLine, ImportanceSaysWhatItLacks) {
  FakeCoordinator coordinator(answer_all);
  auto few = run({"importance", "4", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(few.code, 1);
  EXPECT_TRUE(contains(few.output, "job 4, metric auroc: 2 trials have a value of the metric; at least 8"))
      << few.output;
}

TEST_F(CommandLine, ImportanceRanksParameters) {
  FakeCoordinator coordinator([](Router& router, const auto& peer, const Message& question) {
    JobDetail detail = stored_job();
    for (uint64_t i = 2; i < 40; ++i) {
      detail.trials.push_back(detail.trials[0]);
      detail.trials.back().id.index = i;
      detail.trials.back().params = {{"train.lr", std::to_string(i % 8)}, {"train.seed", std::to_string(i % 5)}};
      detail.trials.back().final["auroc"] = 0.1 * static_cast<double>(i % 8);
    }
    detail.trials.erase(detail.trials.begin(), detail.trials.begin() + 2);
    reply(router, peer, question.id, detail);
  });
  auto table = run({"importance", "4", "--coordinator", coordinator.endpoint()});
  ASSERT_EQ(table.code, 0) << table.output;
  EXPECT_LT(table.output.find("train.lr"), table.output.find("train.seed")) << table.output;
  EXPECT_TRUE(contains(table.output, "of the variance of auroc over 38 trials")) << table.output;
  auto json = nlohmann::json::parse(run({"importance", "4", "--json", "--coordinator", coordinator.endpoint()}).output);
  EXPECT_EQ(json["shares"][0]["parameter"], "train.lr");
  EXPECT_GT(json["shares"][0]["share"], 0.8);
}

TEST_F(CommandLine, ResultsCanBeSelected) {
  FakeCoordinator coordinator(answer_all);
  auto csv = run({"results", "4", "--csv", "--where", "auroc>0.8", "--coordinator", coordinator.endpoint()});
  EXPECT_TRUE(contains(csv.output, "\n1,4/1,") && !contains(csv.output, "4/0")) << csv.output;
  auto wrong = run({"results", "4", "--where", "speed>1", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_TRUE(contains(wrong.output, "cannot select by 'speed'; there are rank")) << wrong.output;
}

TEST_F(CommandLine, PlotWritesTheFiguresAndPrintsTheirPaths) {
  FakeCoordinator coordinator(answer_all);
  auto ended = run({"plot", "4", "--out", path("figures"), "--coordinator", coordinator.endpoint()});
  ASSERT_EQ(ended.code, 0) << ended.output;
  for (const char* name : {"auroc.svg", "loss.svg", "metric-over-steps.svg"}) {
    EXPECT_TRUE(contains(ended.output, path("figures/") + name)) << ended.output;
    std::string svg = read_text(path("figures/") + name);
    EXPECT_TRUE(svg.starts_with("<svg") && svg.ends_with("</svg>\n")) << name;
  }
  auto refused = run({"plot", "4", "--out", write("file", "") + "/figures", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(refused.code, 1);
  EXPECT_TRUE(contains(refused.output, "--out")) << refused.output;
}

TEST_F(CommandLine, PlotPaintsPngAndDrawsInTheTerminal) {
  FakeCoordinator coordinator(answer_all);
  auto png = run({"plot", "4", "--format", "png", "--out", path("figures"), "--coordinator", coordinator.endpoint()});
  ASSERT_EQ(png.code, 0) << png.output;
  for (const char* name : {"auroc.png", "loss.png", "metric-over-steps.png"}) {
    const std::string bytes = read_text(path("figures/") + name);
    ASSERT_GT(bytes.size(), 1000u) << name;
    EXPECT_EQ(bytes.substr(0, 8), "\x89PNG\r\n\x1a\n") << name;
    EXPECT_EQ(bytes.substr(16, 4), std::string("\0\0\x07\x08", 4)) << "1800 pixels wide";
  }
  auto text = run({"plot", "4", "--text", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(text.code, 0);
  EXPECT_TRUE(contains(text.output, "0.5 → 0.8125 ± 0.088")) << text.output;
  EXPECT_TRUE(contains(text.output, "small: training loss")) << text.output;
  auto other = run({"plot", "4", "--text", "--metric", "recall", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(other.code, 1);
  EXPECT_TRUE(contains(other.output, "no trial of job 4 has the metric 'recall'; there are auroc")) << other.output;
}

TEST_F(CommandLine, HelpHasAPageForEachTopicAndEachCommand) {
  auto listed = run({"help"});
  EXPECT_EQ(listed.code, 0);
  for (const char* topic : {"search", "scheduling", "dashboard", "python", "model"}) {
    EXPECT_TRUE(contains(listed.output, std::string("hivq help ") + topic)) << listed.output;
    auto page = run({"help", topic});
    EXPECT_EQ(page.code, 0) << topic;
    EXPECT_TRUE(page.output.starts_with("# ")) << page.output.substr(0, 100);
    EXPECT_GT(page.output.size(), 500u) << topic;
  }
  EXPECT_EQ(run({"help", "search"}).output.find("]("), std::string::npos) << "a link is its text";
  EXPECT_EQ(run({"help", "results"}).output, run({"results", "--help"}).output);
  auto unknown = run({"help", "nonsense"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_TRUE(contains(unknown.output, "topics are ")) << unknown.output;
}

TEST_F(CommandLine, TheShellCompletesCommandsOptionsJobsAndTrials) {
  FakeCoordinator coordinator(answer_all);
  auto complete = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "__complete");
    return run(words).output;
  };
  EXPECT_EQ(complete({"pl"}), "plot\n");
  EXPECT_EQ(complete({"pre"}), "predict\n");
  EXPECT_EQ(complete({"results", "--by"}), "--by-setting\n");
  EXPECT_EQ(complete({"show", "--coordinator", coordinator.endpoint(), ""}), "4\n");
  EXPECT_EQ(complete({"show", "--coordinator", coordinator.endpoint(), "4/"}), "4/0\n4/1\n");
  EXPECT_EQ(complete({"compare", "--coordinator", coordinator.endpoint(), "4/0", "4/1"}), "4/1\n");
  EXPECT_EQ(complete({"plot", "4", "--out", ""}), "") << "a folder: the shell's own completion";
  EXPECT_EQ(complete({"submit", ""}), "") << "a file";
  EXPECT_EQ(complete({"completion", "z"}), "zsh\n");
  EXPECT_EQ(complete({"show", "--data", path("nothing"), ""}), "") << "and none is started for it";
  EXPECT_FALSE(fs::exists(path("nothing")));
  const std::string script =
      write("completion.bash", run({"completion", "bash"}).output +
                                   "COMP_WORDS=(hivq plo); COMP_CWORD=1; _hivq; echo \"${COMPREPLY[@]}\"\n");
  const std::string output = path("bash-output");
  SpawnOptions options;
  options.command = {"bash", "-c", "PATH=" HIVQ_BIN_DIR ":$PATH; . " + script};
  options.output = output;
  EXPECT_EQ(wait(spawn(options).value(), output).output, "plot\n") << "bash can read it";
  EXPECT_EQ(run({"completion", "tcsh"}).code, 2);
}

TEST_F(CommandLine, OutputThatCannotBeWrittenIsAnError) {
  FakeCoordinator coordinator(answer_all);
  auto process = start({"results", "4", "--coordinator", coordinator.endpoint()}, "/dev/full");
  EXPECT_EQ(wait(process, "/dev/null").code, 1);
}

// ---- Following ----

TEST_F(CommandLine, WatchFollowsAJobToItsEndAndReports) {
  std::atomic<int> looks{0};
  FakeCoordinator coordinator([&](Router& router, const auto& peer, const Message& question) {
    Body body = answer(question);
    if (auto* detail = std::get_if<JobDetail>(&body); detail && looks++ < 2) {
      detail->job.state = detail->trials[1].state = "running";
      detail->job.finished = 1;
      detail->trials[1].step = 5;
      detail->trials[1].total_steps = 10;
    }
    reply(router, peer, question.id, body);
  });
  auto ended = run({"watch", "4", "--data", path("data"), "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(ended.code, 0) << ended.output;
  EXPECT_TRUE(contains(ended.output, " 75 % · 1 of 2 trials")) << ended.output;
  EXPECT_TRUE(contains(ended.output, "trial 4/1 seed=1 finished")) << ended.output;
  EXPECT_TRUE(contains(ended.output, "hivq results 4 ")) << ended.output;
  EXPECT_TRUE(fs::exists(path("data/figures/job-4/auroc.svg")));
}

TEST_F(CommandLine, AJobWithFailedTrialsHasCodeThreeAndSaysWhy) {
  FakeCoordinator coordinator([](Router& router, const auto& peer, const Message& question) {
    bool show = std::holds_alternative<ShowJob>(question.body);
    reply(router, peer, question.id, show ? Body(stored_job("failed")) : answer(question));
  });
  auto ended = run({"watch", "4", "--data", path("data"), "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(ended.code, 3) << ended.output;
  EXPECT_TRUE(contains(ended.output, "4/1: the loss is not finite at step 7")) << ended.output;
}

TEST_F(CommandLine, AnInterruptedWatchHasCode130AndLeavesTheJobAlone) {
  std::atomic<bool> asked{false}, cancelled{false};
  FakeCoordinator coordinator([&](Router& router, const auto& peer, const Message& question) {
    cancelled = cancelled || std::holds_alternative<Cancel>(question.body);
    Body body = answer(question);
    if (auto* detail = std::get_if<JobDetail>(&body)) detail->job.state = "running";
    reply(router, peer, question.id, body);
    asked = true;
  });
  auto process = start({"watch", "4", "--coordinator", coordinator.endpoint()}, path("output"));
  for (int i = 0; i < 1000 && !asked; ++i) std::this_thread::sleep_for(5ms);
  std::this_thread::sleep_for(100ms);
  kill(process.pid, SIGINT);
  auto ended = wait(process, path("output"));
  EXPECT_EQ(ended.code, 130);
  EXPECT_TRUE(contains(ended.output, "watch 4")) << ended.output;
  EXPECT_FALSE(cancelled);
}

TEST_F(CommandLine, FollowedLogsShowEveryLineOnce) {
  std::atomic<int> looks{0};
  FakeCoordinator coordinator([&](Router& router, const auto& peer, const Message& question) {
    const std::vector<std::string> lines = {"line one", "line two", "line three"};
    Body body = answer(question);
    if (auto* logs = std::get_if<QueryLogs>(&question.body)) {
      size_t written = std::min<size_t>(lines.size(), static_cast<size_t>(++looks));
      LogLines answered;
      for (size_t i = logs->after; i < written; ++i) answered.lines.push_back(lines[i]);
      body = answered;
    } else if (auto* detail = std::get_if<JobDetail>(&body); detail && looks < 2) {
      detail->trials[0].state = "running";
    }
    reply(router, peer, question.id, body);
  });
  auto ended = run({"logs", "4/0", "-f", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(ended.code, 0);
  EXPECT_EQ(ended.output, "line one\nline two\nline three\n");
}

}  // namespace
}  // namespace hivq
