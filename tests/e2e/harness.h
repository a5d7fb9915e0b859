#pragma once

// The real programs, started in a folder of their own and ended with the test.

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/process.h"
#include "jobs/client.h"

namespace hivq::e2e {

/// A folder that is removed at the end, with every program that was started in it.
class Workspace {
 public:
  Workspace();
  ~Workspace();
  Workspace(const Workspace&) = delete;

  std::string path(const std::string& name = "") const { return name.empty() ? folder_ : folder_ + "/" + name; }
  /// Writes a file and gives its path.
  std::string write(const std::string& name, const std::string& text) const;

  /// Starts a program in the background; its output goes to path(log).
  ProcessId start(std::vector<std::string> command, const std::string& log);
  void kill_hard(const ProcessId& process);

  struct Ended {
    int code = 0;
    std::string output;  // standard output and error
  };
  /// Runs a program to its end. Fails the test after `seconds`.
  Ended run(std::vector<std::string> command, int seconds = 60);

 private:
  std::string folder_;
  std::vector<ProcessId> started_;
  int runs_ = 0;
};

/// Path of one of the programs: hivq, hivq-coordinator, hivq-worker.
std::string program(const std::string& name);
std::string read_text(const std::string& path);

/// Waits until the condition holds; false after `seconds`.
bool wait_until(const std::function<bool()>& condition, double seconds = 60);

/// A coordinator on a data folder, on a port that it keeps over restarts.
struct Coordinator {
  Coordinator(Workspace& workspace, std::string data, std::vector<std::string> flags = {});
  void start();
  void kill_hard() { workspace.kill_hard(process); }
  Client client() const;
  std::string log() const { return read_text(workspace.path("coordinator.log")); }

  Workspace& workspace;
  std::string data, endpoint;
  std::vector<std::string> flags;
  ProcessId process;
};

/// The worker processes whose gang belongs to the coordinator at `endpoint`, by MPI rank.
std::multimap<int, ProcessId> workers_of(const std::string& endpoint);

/// A job that trains a tiny model on a few real images: `trials` seeds, `epochs` epochs of 4 steps.
std::string tiny_job(int trials, int epochs);

}  // namespace hivq::e2e
