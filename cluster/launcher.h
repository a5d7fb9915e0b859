#pragma once

// Where gangs come from. A launcher asks an engine (mpirun here; Slurm, Kubernetes) for one MPI world and watches it.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/process.h"
#include "common/result.h"

namespace hivq {

struct LaunchRequest {
  std::string launch;  // the launch's name; the gang repeats it in its Hello
  uint64_t ranks = 1;
};

struct Launched {
  std::string launch;
  ProcessId process;
};

struct LaunchExit {
  std::string launch;
  std::string reason;  // how it ended, with the last lines of its output
};

class Launcher {
 public:
  virtual ~Launcher() = default;
  /// Starts a gang. Errors: the engine is missing or refuses.
  virtual Result<Launched> launch(const LaunchRequest& request) = 0;
  /// Watches a gang that an earlier coordinator launched; it may have ended.
  virtual void adopt(const Launched& launched) = 0;
  /// Asks a gang to end; poll() tells when it has.
  virtual void stop(const std::string& launch) = 0;
  /// The gangs that have ended since the last call.
  virtual std::vector<LaunchExit> poll() = 0;
  /// Ends every gang and waits for it.
  virtual void stop_all() = 0;
};

struct MpirunOptions {
  std::string worker;       // path of hivq-worker
  std::string coordinator;  // endpoint that the workers connect to
  std::string data;         // folder for logs (data/gangs) and the feature cache (data/features)
  uint64_t gangs = 1;       // at once: each takes its part of the machine's cores
};

/// Gangs on this machine, one mpirun each.
std::unique_ptr<Launcher> make_mpirun_launcher(MpirunOptions options);

}  // namespace hivq
