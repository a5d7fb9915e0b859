#pragma once

// Where gangs come from. A launcher asks an engine (mpirun, Slurm, Kubernetes) for one MPI world and watches it.
// Nothing here waits for an engine: what it says comes with poll().

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "cluster/pools.h"
#include "common/log.h"
#include "common/result.h"
#include "jobs/roots.h"

namespace hivq {

struct LaunchRequest {
  std::string launch;  // the launch's name; the gang repeats it in its Hello
  uint64_t ranks = 1;
  std::string pool = "local";
};

/// A launch of an earlier coordinator.
struct Launched {
  std::string launch;
  std::string handle;  // what the engine calls it; empty: it may never have been asked for
  uint64_t ranks = 1;
  std::string pool = "local";
};

// ---- What an engine says of a launch ----

/// It was asked for, or found again: `pid:1234:5678` (a process and its start time), `slurm:42`, `mpijob:hivq-1f-42`.
struct LaunchHandle {
  std::string launch, handle;
};
/// It is on its way, or runs.
struct LaunchProgress {
  std::string launch;
  bool queued = false;  // it waits for its turn
  std::string text;     // why it is not there yet, for people; may be empty
};
struct LaunchExit {
  std::string launch;
  std::string reason;      // how it ended, with the last lines of its output
  bool blameless = false;  // by no fault of the gang: it was preempted, its node failed, or it never began
};
using LaunchEvent = std::variant<LaunchHandle, LaunchProgress, LaunchExit>;

class Launcher {
 public:
  virtual ~Launcher() = default;
  /// Starts a gang. poll() tells its handle, or that it has ended where the engine refuses.
  virtual void launch(const LaunchRequest& request) = 0;
  /// Watches a gang that an earlier coordinator launched, or was about to; it may have ended.
  virtual void adopt(const Launched& launched) = 0;
  /// Asks a gang to end; poll() tells when it has.
  virtual void stop(const std::string& launch) = 0;
  /// What has happened since the last call, in order.
  virtual std::vector<LaunchEvent> poll() = 0;
  /// The coordinator ends. Ends the gangs of pools that do not outlive it (Pool::stays) and waits for them.
  virtual void close() = 0;
};

/// `1`: a worker's log lines are JSON, as with its --log-json.
inline constexpr const char* log_json_variable = "HIVQ_LOG_JSON";

struct LauncherOptions {
  std::string worker;     // path of hivq-worker on this machine
  std::string local;      // endpoint of the coordinator for gangs on this machine …
  std::string advertise;  // … and for those on others
  std::string data;       // folder for logs (data/gangs) and the feature cache (data/features)
  /// For the workers: keys, log_json_variable. The values stand on no command line, in no log and in no file.
  std::map<std::string, std::string> environment = {};
  Roots roots = {};  // folders in which trials may read
};

/// One launcher for all pools. Errors: a pool of Kubernetes has no API server to talk to; the data folder cannot be
/// written.
Result<std::unique_ptr<Launcher>> make_launcher(const std::vector<PoolSpec>& pools, const LauncherOptions& options,
                                                const Log& log);

/// Gangs on this machine, one mpirun each.
std::unique_ptr<Launcher> make_mpirun_launcher(const Pool& pool, const MpirunPool& mpirun,
                                               const LauncherOptions& options);

}  // namespace hivq
