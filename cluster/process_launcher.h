#pragma once

// Gangs that are a process of this machine: an mpirun, whose ranks may be elsewhere.

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/launcher.h"
#include "common/process.h"

namespace hivq {

class ProcessLauncher : public Launcher {
 public:
  explicit ProcessLauncher(std::string data) : data_(std::move(data)) {}

  void launch(const LaunchRequest& request) final;
  void adopt(const Launched& launched) final;
  void stop(const std::string& launch) final;
  std::vector<LaunchEvent> poll() final;
  void close() final;

 protected:
  /// What to start for a gang; output and marks are added. Errors: it cannot be started now.
  virtual Result<SpawnOptions> command(const LaunchRequest& request) = 0;
  /// Where the program is missing: what to do.
  virtual std::string remedy() const = 0;
  /// A gang of an earlier coordinator runs.
  virtual void adopted(const std::string&) {}
  /// A gang has ended; whether it was asked to.
  virtual void ended(const std::string&, bool) {}

  const std::string& data() const { return data_; }

 private:
  struct Running {
    ProcessId process;
    std::optional<std::chrono::steady_clock::time_point> kill_at;
  };
  std::string mark(const std::string& launch) const { return data_ + "/gangs/" + launch; }

  std::string data_;
  std::map<std::string, Running> running_;
  std::vector<LaunchEvent> events_;
};

}  // namespace hivq
