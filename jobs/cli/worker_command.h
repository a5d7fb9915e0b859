#pragma once

// Commands that need the model itself: hivq-worker, beside this program, does them. hivq fetches the checkpoint of a
// trial that is named and hands on all other arguments as they are.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace hivq::cli {

struct WorkerCommand {
  enum class Takes {
    arguments,    // as they are
    folder,       // the first argument, where it is no option: the folder to make
    trial,        // the first argument: a trial
    trial_option  // --trial TRIAL, instead of the worker's --model FILE
  };
  std::string_view name, worker_name;  // of hivq's command, and of hivq-worker's
  Takes takes;
  std::string_view what;
  std::string_view usage;      // what stands before hivq-worker's own help
  bool draws_figures = false;  // into its --out; they go to the coordinator, beside the trial
};

std::span<const WorkerCommand> worker_commands();
/// Nothing where there is none of this name.
const WorkerCommand* find_worker_command(std::string_view name);

/// Runs it with the arguments behind its name; the exit code is hivq-worker's. Errors: the coordinator's sentence, or
/// hivq-worker is not there.
Result<int> run_worker_command(const WorkerCommand& command, std::vector<std::string> arguments);

}  // namespace hivq::cli
