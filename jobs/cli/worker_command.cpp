#include "jobs/cli/worker_command.h"

#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <thread>

#include "common/process.h"
#include "jobs/checkpoint.h"
#include "jobs/cli/attach_figures.h"
#include "jobs/cli/commands.h"
#include "jobs/cli/interrupt.h"
#include "jobs/cli/session.h"
#include "jobs/views/format.h"

namespace hivq::cli {

namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;
using Takes = WorkerCommand::Takes;

constexpr auto stop_grace = std::chrono::seconds(5);

constexpr WorkerCommand commands[] = {
    {"predict", "predict", Takes::trial_option, "Score images with a trained model; writes map, score and overlay",
     "hivq predict (--trial TRIAL | --model MODEL.safetensors) [--class NAME] [--out DIR] IMAGE…\n"
     "--trial 1/3: that trial's newest checkpoint is --model."},
    {"evaluate", "evaluate", Takes::arguments, "Evaluate a stored model on a specification's data",
     "hivq evaluate --model MODEL.safetensors SPEC.yaml"},
    {"figures", "figures", Takes::trial, "Draw a trial's figures: errors by class, and images with their maps",
     "hivq figures TRIAL [--out DIR] [--no-attach] [SPEC.yaml]\nThe trial's newest checkpoint is --model. The figures "
     "are "
     "attached to the trial, whose page of the dashboard shows\nthem then; --no-attach leaves that.",
     true},
    {"export", "export", Takes::trial, "Write a trial's model for serving",
     "hivq export TRIAL --out MODEL.safetensors [--format safetensors|torchscript]\n"
     "The trial's newest checkpoint is --model."},
    {"import", "import", Takes::arguments, "Read a checkpoint of the authors' code",
     "hivq import AUTHORS.pth --out MODEL.safetensors [--preset hvq-trans-official] [--classes a,b,c]"},
    {"make-textures", "textures", Takes::folder, "Make a small set with defects from photos of textures",
     "hivq make-textures [DIR]\nDIR, the folder that is made, is .hivq/textures where it is left out; it is --out.\n"
     "--photos is the folder that set-up fills, " HIVQ_DEPS_DIR "/photos, where it is left out."},
};

/// A folder that goes with this object.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> make() {
    std::error_code failed;
    std::string path = (fs::temp_directory_path(failed) / "hivq-XXXXXX").string();
    if (failed || mkdtemp(path.data()) == nullptr) {
      return error("cannot make a temporary folder: TMPDIR must name a folder that can be written");
    }
    return TemporaryFolder(std::move(path));
  }
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

bool asks_for_help(const Arguments& arguments) {
  return std::any_of(arguments.begin(), arguments.end(), [](const auto& a) { return a == "--help" || a == "-h"; });
}

bool has_option(const Arguments& arguments, const std::string& name) {
  return std::any_of(arguments.begin(), arguments.end(),
                     [&](const auto& a) { return a == name || a.starts_with(name + "="); });
}

/// Takes `--name VALUE` or `--name=VALUE` out of the arguments; nothing where it is not among them.
std::optional<Result<std::string>> take_option(Arguments& arguments, const std::string& name) {
  for (auto at = arguments.begin(); at != arguments.end(); ++at) {
    if (at->starts_with(name + "=")) {
      std::string value = at->substr(name.size() + 1);
      arguments.erase(at);
      return value;
    }
    if (*at != name) continue;
    if (at + 1 == arguments.end()) return error("{} needs a value", name);
    std::string value = *(at + 1);
    arguments.erase(at, at + 2);
    return value;
  }
  return std::nullopt;
}

/// Takes `--name` out of the arguments, and tells whether it was there.
bool take_flag(Arguments& arguments, const std::string& name) { return std::erase(arguments, name) > 0; }

/// Takes out where the coordinator is. Errors: an option without its value.
Result<Where> take_where(Arguments& arguments) {
  Where where;
  if (const char* named = std::getenv("HIVQ_COORDINATOR")) where.coordinator = named;
  for (auto [name, into] : {std::pair{"--data", &where.data}, {"--coordinator", &where.coordinator}}) {
    auto value = take_option(arguments, name);
    if (value && !*value) return value->error();
    if (value) *into = **value;
  }
  return where;
}

/// Fetches the checkpoint; the session, and a coordinator that it started, end with it.
Status fetch(const Where& where, const TrialId& trial, const std::string& path) {
  auto session = Session::for_reading(where);
  if (!session) return session.error();
  auto step = fetch_checkpoint(session->client(), trial, path);
  if (!step) return step.error();
  return {};
}

/// hivq-worker with our input and output; Ctrl-C ends it.
Result<int> run_worker(const WorkerCommand& command, Arguments arguments) {
  const std::string program = program_folder() + "/hivq-worker";
  arguments.insert(arguments.begin(), {program, std::string(command.worker_name)});
  SpawnOptions options;
  options.command = std::move(arguments);
  options.die_with_parent = true;
  note_interrupts();
  auto worker = spawn(options);
  if (!worker) {
    return error("hivq {} needs hivq-worker beside this program: {}; build it with make", command.name,
                 worker.error().message);
  }
  while (true) {
    if (auto exit = try_wait(*worker)) return exit->code;
    if (interrupted() != 0) {
      stop(*worker, stop_grace);
      return exit_code::interrupt_base + interrupted();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

/// hivq-worker's --out, which it draws into.
std::string out_folder(Arguments arguments) {
  const auto named = take_option(arguments, "--out");
  return named && *named ? **named : "figures";
}

Result<int> run_on_trial(const WorkerCommand& command, const std::string& named, Arguments arguments) {
  auto trial = read_trial_id(named);
  if (!trial) return wrong_input(trial.error());
  auto where = take_where(arguments);
  if (!where) return wrong_input(where.error());
  note_interrupts();
  auto folder = TemporaryFolder::make();
  if (!folder) return folder.error();
  const std::string checkpoint = fmt::format("{}/trial-{}-{}.safetensors", folder->path(), trial->job, trial->index);
  if (auto fetched = fetch(*where, *trial, checkpoint); !fetched) {
    if (interrupted() != 0) return exit_code::interrupt_base + interrupted();
    return fetched.error();
  }
  arguments.insert(arguments.begin(), {"--model", checkpoint});
  if (!command.draws_figures) return run_worker(command, std::move(arguments));
  const bool attach = !take_flag(arguments, "--no-attach");
  const std::string drawn = out_folder(arguments);
  auto code = run_worker(command, std::move(arguments));
  if (attach && code && *code == 0) attach_figures(*where, *trial, drawn);
  return code;
}

}  // namespace

std::span<const WorkerCommand> worker_commands() { return commands; }

const WorkerCommand* find_worker_command(std::string_view name) {
  const auto* found = std::find_if(std::begin(commands), std::end(commands),
                                   [&](const WorkerCommand& command) { return command.name == name; });
  return found == std::end(commands) ? nullptr : found;
}

Result<int> run_worker_command(const WorkerCommand& command, Arguments arguments) {
  if (asks_for_help(arguments)) {
    std::string usage = fmt::format("Usage: {}\n", command.usage);
    if (command.takes == Takes::trial || command.takes == Takes::trial_option) {
      usage += "--data DIR or --coordinator tcp://HOST:PORT say where the trial is, as for `hivq show`.\n";
    }
    usage += "All other options are handed to hivq-worker, whose own help this is:\n\n";
    if (auto printed = print(usage); !printed) return printed.error();
    return run_worker(command, {"--help"});
  }
  switch (command.takes) {
    case Takes::arguments:
      break;
    case Takes::folder: {
      const bool named = !arguments.empty() && !arguments[0].starts_with('-');
      const std::string folder = named ? arguments[0] : ".hivq/textures";
      if (named) arguments.erase(arguments.begin());
      arguments.insert(arguments.begin(), {"--out", folder});
      if (!has_option(arguments, "--photos")) {
        arguments.insert(arguments.begin(), {"--photos", HIVQ_DEPS_DIR "/photos"});
      }
      break;
    }
    case Takes::trial: {
      if (arguments.empty()) return wrong_input(error("hivq {0} needs a trial: hivq {0} 1/3", command.name));
      const std::string trial = arguments[0];
      arguments.erase(arguments.begin());
      return run_on_trial(command, trial, std::move(arguments));
    }
    case Takes::trial_option: {
      auto trial = take_option(arguments, "--trial");
      if (!trial) break;
      if (!*trial) return wrong_input(trial->error());
      return run_on_trial(command, **trial, std::move(arguments));
    }
  }
  return run_worker(command, std::move(arguments));
}

}  // namespace hivq::cli
