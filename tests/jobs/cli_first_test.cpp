// hivq doctor and hivq init as users run them, with scripts in the place of hivq-worker, hivq-coordinator and mpirun.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/process.h"
#include "common/version.h"
#include "jobs/spec.h"
#include "tests/jobs/fake_coordinator.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class FirstCommands : public testing::Test {
 protected:
  struct Ended {
    int code = -1;
    std::string output;  // standard output and error
  };

  FirstCommands() {
    std::string name = (fs::temp_directory_path() / "hivq_first_XXXXXX").string();
    folder = mkdtemp(name.data());
    // hivq looks for the other programs beside itself.
    fs::copy_file(std::string(HIVQ_BIN_DIR) + "/hivq", path("hivq"));
    install("hivq-coordinator", fmt::format("echo hivq-coordinator {}", version));
    install("hivq-worker", fmt::format("echo hivq-worker {}", version));
    install("mpirun",
            fmt::format("case \"$1\" in --version) echo 'mpirun (Open MPI) 4.1.4';; *) echo '{}';; esac", report()));
    install("nvidia-smi", "exit 9");
  }
  ~FirstCommands() override { fs::remove_all(folder); }

  static std::string report() {
    return R"({"version":"0","ranks":2,"each":[{"rank":0,"device":"cpu"},{"rank":1,"device":"cpu"}],)"
           R"("cuda":{"built":false},"weights_folder":"w","weights":["a.pth"]})";
  }
  std::string path(const std::string& name) const { return folder + "/" + name; }
  void install(const std::string& name, const std::string& commands) const {
    std::ofstream(path(name)) << "#!/bin/sh\n" << commands << "\n";
    fs::permissions(path(name), fs::perms::owner_all);
  }
  Ended run(std::vector<std::string> arguments) {
    const std::string output = path(fmt::format("output-{}", ++runs_));
    arguments.insert(arguments.begin(), path("hivq"));
    SpawnOptions options;
    options.command = std::move(arguments);
    options.environment = {{"HIVQ_COORDINATOR", ""}, {"PATH", folder + ":/usr/bin:/bin"}};
    options.output = output;
    options.die_with_parent = true;
    const auto process = spawn(options);
    check(bool(process), "hivq is not there: build it");
    for (auto end = std::chrono::steady_clock::now() + 60s; std::chrono::steady_clock::now() < end;) {
      if (auto exit = try_wait(*process)) return {exit->code, read_text(output)};
      std::this_thread::sleep_for(5ms);
    }
    stop(*process, 100ms);
    ADD_FAILURE() << "hivq did not end: " << read_text(output);
    return {};
  }

  std::string folder;

 private:
  int runs_ = 0;
};

// ---- doctor ----

void answer_as_this_version(Router& router, const std::string& peer, const Message& question) {
  if (std::holds_alternative<QueryGangs>(question.body)) reply(router, peer, question.id, GangList{});
  if (std::holds_alternative<QuerySql>(question.body)) {
    reply(router, peer, question.id, SqlAnswer{0, {"v", "now"}, {{SqlValue(version), SqlValue(wall_clock())}}, true});
  }
}

TEST_F(FirstCommands, DoctorFindsNothingWrongWhereNothingIs) {
  FakeCoordinator coordinator(answer_as_this_version);
  const auto ended = run({"doctor", "--coordinator", coordinator.endpoint(), "--data", path("data"), "--json"});
  const auto json = nlohmann::json::parse(ended.output, nullptr, false);
  ASSERT_TRUE(json.is_object()) << ended.output;
  std::map<std::string, std::string> verdicts;
  for (const auto& check : json["checks"]) verdicts[check["name"]] = check["verdict"];
  for (const char* name : {"programs", "mpirun", "ranks", "GPU", "weights", "data", "TMPDIR", "coordinator", "clock"}) {
    EXPECT_TRUE(verdicts.contains(name)) << name;
  }
  for (const char* name : {"programs", "ranks", "GPU", "weights", "coordinator", "clock"}) {
    EXPECT_EQ(verdicts[name], "ok") << ended.output;
  }
  EXPECT_EQ(ended.code, json["ok"].get<bool>() ? 0 : 1);
  EXPECT_FALSE(fs::exists(path("data"))) << "it looks, and makes nothing";
  EXPECT_EQ(ended.output.find("\x1b["), std::string::npos) << "no colours where there is no terminal";
}

TEST_F(FirstCommands, DoctorEndsWithOneAndTheRemedyWhereSomethingIsWrong) {
  fs::remove(path("hivq-worker"));
  install("mpirun",
          "case \"$1\" in --version) echo 'mpirun (Open MPI) 4.1.4';; *) echo 'attempt to run as root'; exit 1;; esac");
  const auto ended = run({"doctor", "--coordinator", "tcp://127.0.0.1:1", "--data", path("data")});
  EXPECT_EQ(ended.code, 1) << ended.output;
  EXPECT_TRUE(contains(ended.output, "✗ problem  programs     hivq-worker is not in " + folder)) << ended.output;
  EXPECT_TRUE(contains(ended.output, "→ export OMPI_ALLOW_RUN_AS_ROOT=1")) << ended.output;
  EXPECT_TRUE(contains(ended.output, "none answers at tcp://127.0.0.1:1")) << ended.output;
  EXPECT_TRUE(contains(ended.output, "3 problems")) << ended.output;
}

TEST_F(FirstCommands, DoctorDoesNotHangOnAnMpirunThatDoes) {
  install("mpirun", "case \"$1\" in --version) echo 'mpirun (Open MPI) 4.1.4';; *) sleep 300;; esac");
  const auto begin = std::chrono::steady_clock::now();
  const auto ended = run({"doctor", "--wait", "1", "--coordinator", "tcp://127.0.0.1:1", "--data", path("data")});
  EXPECT_EQ(ended.code, 1);
  EXPECT_TRUE(contains(ended.output, "did not find each other within 1 s")) << ended.output;
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 40s);
}

TEST_F(FirstCommands, DoctorNamesADataFolderThatIsNone) {
  std::ofstream(path("file")) << "x";
  const auto ended = run({"doctor", "--coordinator", "tcp://127.0.0.1:1", "--data", path("file")});
  EXPECT_EQ(ended.code, 1);
  EXPECT_TRUE(contains(ended.output, "is no folder")) << ended.output;
}

// ---- init ----

/// A script that tells of a survey.
std::string survey(int good, int bad) {
  std::string text = "cat <<'END'\n";
  for (int i = 0; i < good; ++i) text += fmt::format("{{\"file\":\"good/{}.png\",\"width\":80,\"height\":90}}\n", i);
  for (int i = 0; i < bad; ++i) text += fmt::format("{{\"file\":\"hole/{}.png\",\"width\":80,\"height\":90}}\n", i);
  return text + "{\"end\":true,\"decoded\":99,\"gpus\":0,\"weights\":[\"efficientnet-lite0.pth\"]}\nEND";
}

TEST_F(FirstCommands, InitWritesASpecificationWithItsListsAndNeverOverOne) {
  install("hivq-worker", survey(20, 4));
  fs::create_directories(path("felt"));
  const std::string spec = path("out/felt job.yaml");
  const auto ended = run({"init", path("felt"), "--out", spec});
  ASSERT_EQ(ended.code, 0) << ended.output;
  EXPECT_TRUE(contains(ended.output, fmt::format("run '{}'\n", spec))) << ended.output;
  const auto job = parse_job(read_text(spec), spec);
  ASSERT_TRUE(bool(job)) << job.error().message;
  EXPECT_EQ(job->trial.data.train_list, path("out/felt job.train.json"));
  const std::string list = read_text(job->trial.data.train_list);
  EXPECT_EQ(std::count(list.begin(), list.end(), '\n'), 16);
  EXPECT_EQ(run({"validate", spec}).code, 0);

  const auto again = run({"init", path("felt"), "--out", spec});
  EXPECT_EQ(again.code, 1);
  EXPECT_TRUE(contains(again.output, "is there already: --force")) << again.output;
  install("hivq-worker", survey(10, 4));
  const auto forced = run({"init", path("felt"), "--out", spec, "--force", "--json"});
  EXPECT_EQ(forced.code, 0) << forced.output;
  const auto json = nlohmann::json::parse(forced.output, nullptr, false);
  EXPECT_EQ(json["classes"][0]["train"], 8) << forced.output;
  EXPECT_EQ(json["written"].size(), 3u);
}

TEST_F(FirstCommands, InitSaysWhatIsWrong) {
  EXPECT_EQ(run({"init"}).code, 2);
  EXPECT_TRUE(contains(run({"init", path("nothing")}).output, "is no folder"));
  fs::create_directories(path("felt"));
  install("hivq-worker", "echo 'hivq: cannot read it'; exit 1");
  const auto refused = run({"init", path("felt")});
  EXPECT_EQ(refused.code, 1);
  EXPECT_EQ(refused.output, "hivq: cannot read it\n");
  install("hivq-worker", survey(0, 0));
  const auto empty = run({"init", path("felt"), "--out", path("x.yaml")});
  EXPECT_EQ(empty.code, 1);
  EXPECT_TRUE(contains(empty.output, "CLASS/train/good/*.png")) << empty.output;
  EXPECT_FALSE(fs::exists(path("x.yaml")));
}

TEST_F(FirstCommands, HelpShowsHow) {
  for (const char* command : {"doctor", "init"}) {
    const auto help = run({command, "--help"});
    EXPECT_EQ(help.code, 0);
    EXPECT_TRUE(contains(help.output, std::string("Example:\n  hivq ") + command)) << help.output;
  }
  EXPECT_EQ(run({"doctor", "--wait", "0"}).code, 2);
}

}  // namespace
}  // namespace hivq
