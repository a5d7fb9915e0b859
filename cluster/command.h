#pragma once

// Commands of an engine, such as squeue, with a limit to their time.

#include <atomic>
#include <chrono>
#include <string>

#include "common/process.h"
#include "common/result.h"

namespace hivq {

struct CommandOutput {
  int code = 0;
  std::string text;  // standard output and error
};

/// Runs it to its end. `scratch`: a file for its output meanwhile, of this thread alone. Errors: it cannot be started,
/// it took longer than `limit` and was ended, or `ending` was set.
Result<CommandOutput> run_command(SpawnOptions options, const std::string& scratch, std::chrono::milliseconds limit,
                                  const std::atomic<bool>& ending);

}  // namespace hivq
