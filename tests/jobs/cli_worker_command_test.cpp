// The commands that hivq-worker does, with a script in its place.

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "common/process.h"
#include "common/sha256.h"
#include "tests/jobs/fake_coordinator.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// Prints each argument in brackets, and what is in the files that it is given.
constexpr const char* script = R"sh(#!/bin/sh
for argument in "$@"; do
  echo "[$argument]"
  case "$argument" in
    *.safetensors) if [ -f "$argument" ]; then echo "holds $(cat "$argument")"; fi ;;
  esac
done
exit 7
)sh";

class WorkerCommands : public testing::Test {
 protected:
  struct Ended {
    int code = -1;
    std::string output;  // standard output and error
  };

  WorkerCommands() {
    std::string name = (fs::temp_directory_path() / "hivq_worker_XXXXXX").string();
    folder = mkdtemp(name.data());
    fs::create_directories(folder + "/tmp");
    // hivq looks for hivq-worker beside itself.
    fs::copy_file(std::string(HIVQ_BIN_DIR) + "/hivq", folder + "/hivq");
    install(script);
  }
  ~WorkerCommands() override { fs::remove_all(folder); }

  void install(const std::string& text) const {
    const std::string path = folder + "/hivq-worker";
    std::ofstream(path) << text;
    fs::permissions(path, fs::perms::owner_all);
  }
  std::string output() const {
    std::ifstream file(folder + "/output", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  ProcessId start(std::vector<std::string> arguments) const {
    fs::remove(folder + "/output");
    arguments.insert(arguments.begin(), folder + "/hivq");
    SpawnOptions options;
    options.command = std::move(arguments);
    options.environment = {{"HIVQ_COORDINATOR", ""}, {"TMPDIR", folder + "/tmp"}};
    options.output = folder + "/output";
    options.die_with_parent = true;
    auto process = spawn(options);
    check(bool(process), "hivq is not there: build it");
    return *process;
  }
  Ended wait(const ProcessId& process) const {
    for (auto end = std::chrono::steady_clock::now() + 60s; std::chrono::steady_clock::now() < end;) {
      if (auto exit = try_wait(process)) return {exit->code, output()};
      std::this_thread::sleep_for(5ms);
    }
    stop(process, 100ms);
    ADD_FAILURE() << "hivq did not end: " << output();
    return {-1, output()};
  }
  Ended run(std::vector<std::string> arguments) const { return wait(start(std::move(arguments))); }

  /// The output with the temporary folder's name replaced.
  std::string in_folder(std::string text) const {
    const std::string start = folder + "/tmp/hivq-";
    for (size_t at = text.find(start); at != text.npos; at = text.find(start)) text.replace(at, start.size() + 6, "T");
    return text;
  }
  bool nothing_is_left() const { return fs::is_empty(folder + "/tmp"); }

  std::string folder;
};

void holds_one_checkpoint(Router& router, const std::string& peer, const Message& question) {
  const std::string bytes = "weights";
  if (auto* wanted = std::get_if<FetchCheckpoint>(&question.body)) {
    if (wanted->trial != TrialId{4, 1}) {
      return reply(router, peer, question.id, Failed{"trial 4/0 has no checkpoint: …"});
    }
    reply(router, peer, question.id, TrialCheckpoint{{9, bytes.size(), {sha256_hex(bytes)}}});
  } else if (auto* chunk = std::get_if<FetchChunk>(&question.body)) {
    reply(router, peer, question.id, Chunk{chunk->hash, bytes, ""});
  }
}

TEST_F(WorkerCommands, HandOnTheirArgumentsAndTheExitCode) {
  auto evaluate = run({"evaluate", "--model", "a model", "--data", "D", "--set", "x=1", "job.yml"});
  EXPECT_EQ(evaluate.code, 7);
  EXPECT_EQ(evaluate.output, "[evaluate]\n[--model]\n[a model]\n[--data]\n[D]\n[--set]\n[x=1]\n[job.yml]\n");
  EXPECT_EQ(run({"import", "a.pth", "--out", "b"}).output, "[import]\n[a.pth]\n[--out]\n[b]\n");
  EXPECT_EQ(run({"predict", "--model", "m", "i.png"}).output, "[predict]\n[--model]\n[m]\n[i.png]\n");
}

TEST_F(WorkerCommands, MakeTexturesInTheFolderThatIsNamedOrUnderDataOfTheEmbeddedDefault) {
  const std::string photos = "[textures]\n[--photos]\n[" HIVQ_DEPS_DIR "/photos]\n[--out]\n";
  EXPECT_EQ(run({"make-textures"}).output, photos + "[.hivq/textures]\n");
  EXPECT_EQ(run({"make-textures", "here", "--seed", "3"}).output, photos + "[here]\n[--seed]\n[3]\n");
  EXPECT_EQ(run({"make-textures", "--seed", "3"}).output, photos + "[.hivq/textures]\n[--seed]\n[3]\n");
  EXPECT_EQ(run({"make-textures", "here", "--photos=mine"}).output, "[textures]\n[--out]\n[here]\n[--photos=mine]\n");
}

TEST_F(WorkerCommands, OnATrialGetItsCheckpointAsAFileThatGoesAfterwards) {
  FakeCoordinator coordinator(holds_one_checkpoint);
  for (const char* command : {"export", "figures"}) {
    auto ended = run({command, "4/1", "--out", "o", "--coordinator", coordinator.endpoint()});
    EXPECT_EQ(ended.code, 7);
    EXPECT_EQ(in_folder(ended.output),
              fmt::format("[{}]\n[--model]\n[T/trial-4-1.safetensors]\nholds weights\n[--out]\n[o]\n", command));
    EXPECT_TRUE(nothing_is_left());
  }
}

/// Draws two figures into --out.
constexpr const char* drawing_script = R"sh(#!/bin/sh
out=figures
while [ $# -gt 0 ]; do
  [ "$1" = --out ] && out=$2
  shift
done
mkdir -p "$out"
printf one > "$out/figure1.png"
printf two > "$out/figure2.png"
)sh";

TEST_F(WorkerCommands, FiguresAreAttachedToTheirTrial) {
  std::vector<std::string> attached;
  FakeCoordinator coordinator([&](Router& router, const std::string& peer, const Message& question) {
    holds_one_checkpoint(router, peer, question);
    auto* figure = std::get_if<AttachFigure>(&question.body);
    if (figure == nullptr) return;
    attached.push_back(fmt::format("{} {} {}", to_string(figure->trial), figure->figure, figure->png));
    reply(router, peer, question.id, FigureAttached{figure->figure});
  });
  install(drawing_script);
  const std::string out = folder + "/drawn";
  auto ended = run({"figures", "4/1", "--out", out, "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(ended.code, 0);
  EXPECT_EQ(ended.output, "attached to trial 4/1: figure1.png, figure2.png\n");
  EXPECT_EQ(attached, (std::vector<std::string>{"4/1 1 one", "4/1 2 two"}));
  auto alone = run({"figures", "4/1", "--no-attach", "--out=" + out, "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(alone.code, 0);
  EXPECT_EQ(alone.output, "");
  EXPECT_EQ(attached.size(), 2u);
}

TEST_F(WorkerCommands, FiguresThatCannotBeAttachedAreDrawnAllTheSame) {
  FakeCoordinator coordinator([](Router& router, const std::string& peer, const Message& question) {
    holds_one_checkpoint(router, peer, question);
    if (std::holds_alternative<AttachFigure>(question.body)) {
      reply(router, peer, question.id, Failed{"message of the unknown type 'attach_figure'"});
    }
  });
  install(drawing_script);
  const std::string out = folder + "/drawn";
  auto ended = run({"figures", "4/1", "--out", out, "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(ended.code, 0);
  EXPECT_EQ(ended.output,
            "hivq: the figures are not attached to trial 4/1: message of the unknown type 'attach_figure'\n");
  EXPECT_TRUE(fs::exists(out + "/figure2.png"));
}

TEST_F(WorkerCommands, PredictTakesATrialsCheckpointAsItsModel) {
  FakeCoordinator coordinator(holds_one_checkpoint);
  for (const auto& trial : {std::vector<std::string>{"--trial", "4/1"}, {"--trial=4/1"}}) {
    std::vector<std::string> arguments = {"predict", "i.png", "--coordinator=" + coordinator.endpoint()};
    arguments.insert(arguments.end(), trial.begin(), trial.end());
    auto ended = run(arguments);
    EXPECT_EQ(ended.code, 7);
    EXPECT_EQ(in_folder(ended.output), "[predict]\n[--model]\n[T/trial-4-1.safetensors]\nholds weights\n[i.png]\n");
    EXPECT_TRUE(nothing_is_left());
  }
}

TEST_F(WorkerCommands, OnATrialWithoutACheckpointSayWhyAndStartNoWorker) {
  FakeCoordinator coordinator(holds_one_checkpoint);
  auto ended = run({"export", "4/0", "--out", "o", "--coordinator", coordinator.endpoint()});
  EXPECT_EQ(ended.code, 1);
  EXPECT_EQ(ended.output, "hivq: trial 4/0 has no checkpoint: …\n");
  EXPECT_TRUE(nothing_is_left());
}

TEST_F(WorkerCommands, WrongUsageHasCodeTwoAndASentence) {
  for (const auto& arguments : std::vector<std::vector<std::string>>{{"export"},
                                                                     {"figures", "one"},
                                                                     {"export", "--out", "m"},
                                                                     {"export", "1/0", "--data"},
                                                                     {"predict", "--trial"},
                                                                     {"predict", "--trial", "x"}}) {
    auto ended = run(arguments);
    EXPECT_EQ(ended.code, 2) << testing::PrintToString(arguments);
    EXPECT_EQ(std::count(ended.output.begin(), ended.output.end(), '\n'), 1) << ended.output;
    EXPECT_EQ(ended.output.find('['), std::string::npos) << "the worker was started: " << ended.output;
  }
}

TEST_F(WorkerCommands, HelpIsTheirOwnBeforeTheWorkers) {
  for (const char* command : {"predict", "evaluate", "figures", "export", "import", "make-textures"}) {
    auto help = run({command, "--help"});
    EXPECT_TRUE(help.output.starts_with(fmt::format("Usage: hivq {} ", command))) << help.output;
    EXPECT_TRUE(help.output.ends_with("[--help]\n")) << help.output;
    EXPECT_NE(run({"--help"}).output.find(command), std::string::npos);
  }
}

TEST_F(WorkerCommands, WithoutAWorkerSayWhatIsMissing) {
  fs::remove(folder + "/hivq-worker");
  auto ended = run({"import", "a.pth"});
  EXPECT_EQ(ended.code, 1);
  EXPECT_NE(ended.output.find("hivq import needs hivq-worker beside this program"), std::string::npos) << ended.output;
  EXPECT_NE(ended.output.find(folder + "/hivq-worker"), std::string::npos) << ended.output;
}

TEST_F(WorkerCommands, AreEndedByAnInterrupt) {
  install("#!/bin/sh\ntrap 'echo told; exit 0' TERM\necho ready\nwhile true; do sleep 0.05; done\n");
  auto process = start({"import", "a.pth"});
  for (int i = 0; i < 2000 && output().find("ready") == std::string::npos; ++i) std::this_thread::sleep_for(5ms);
  kill(process.pid, SIGINT);
  auto ended = wait(process);
  EXPECT_EQ(ended.code, 130);
  EXPECT_EQ(ended.output, "ready\ntold\n");
}

}  // namespace
}  // namespace hivq
