#pragma once

// Child processes: the coordinator and gangs that `hivq run` and the local launcher start.

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/result.h"

namespace hivq {

/// A process by its id and its start time (clock ticks since boot): an id that was given to another process is told
/// apart.
struct ProcessId {
  pid_t pid = 0;
  uint64_t start_time = 0;
};

struct SpawnOptions {
  std::vector<std::string> command;                // [0] is the program, a path or a name in PATH
  std::map<std::string, std::string> environment;  // added to ours
  std::string output;                              // file that takes standard output and error (appended); empty: ours
  bool die_with_parent = false;  // gets SIGTERM when the thread that starts it ends, and so when this process dies
};

/// Starts a program in a session of its own, so that a Ctrl-C in the terminal reaches only us.
/// Errors: the program is missing or not executable, the output file cannot be opened.
Result<ProcessId> spawn(const SpawnOptions& options);

bool alive(const ProcessId& process);

/// How a process ended, if it has: `exit code 3`, `signal 9 (Killed)`; `gone` for one that is not our child. Reaps it.
struct Exit {
  int code = 0;  // 128 + signal where a signal ended it
  std::string text;
};
std::optional<Exit> try_wait(const ProcessId& process);

/// Sends the signal to every process of the session that spawn() gave the process, the process itself among them if it
/// still lives: ranks outlive an mpirun that was killed.
void signal_session(const ProcessId& process, int signal);

/// SIGTERM to the process, and SIGKILL to its session after `grace`; returns when the process has gone.
void stop(const ProcessId& process, std::chrono::milliseconds grace);

/// The process that this program is; empty start time where /proc is not there.
ProcessId process_of(pid_t pid);

/// Folder of the running program.
std::string program_folder();

}  // namespace hivq
