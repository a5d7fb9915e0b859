#pragma once

// Engines that are asked by commands or over a network, and take their time: Slurm, Kubernetes. Each is asked by one
// thread of its launcher, so the coordinator waits for none; one that does not answer for a while ends no gang.

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cluster/launcher.h"

namespace hivq {

/// What an engine says of one gang.
struct EngineState {
  enum class Phase { queued, starting, running, ended };
  Phase phase = Phase::queued;
  std::string handle;
  std::string text;        // why it is not running, or how it ended
  bool blameless = false;  // it ended by no fault of its own
};

/// An error of a submission: `sent` where the gang may exist all the same.
struct Refusal {
  std::string reason;
  bool sent = false;
  bool blameless = false;  // the engine does not answer
};

/// What became of asking for a gang: its handle, or why there is none.
using Submission = std::variant<std::string, Refusal>;

class Engine {
 public:
  virtual ~Engine() = default;
  /// Asks for gangs that go together, by names that list() knows them by. Asking again for one that is there does no
  /// harm. Fewer answers than requests: the launcher closes.
  virtual std::vector<Submission> submit(const std::vector<LaunchRequest>& requests) = 0;
  /// Whether one submission can ask for both.
  virtual bool together(const LaunchRequest&, const LaunchRequest&) const { return false; }
  /// Asks for the end of a gang, and for the engine to forget one that has ended. It may be unknown.
  virtual Status cancel(const Launched& launched) = 0;
  /// All gangs of this coordinator's that the engine knows, by launch. Errors: it does not answer.
  virtual Result<std::map<std::string, EngineState>> list() = 0;
  /// How a gang ended that list() tells the end of, or knows no more.
  virtual EngineState how_it_ended(const Launched& launched, const std::optional<EngineState>& last) = 0;
};

/// `poll`: between two questions. `settle`: how long a gang that was asked for may stay unknown to its engine.
struct EngineTimes {
  Millis poll = 2000;
  Millis settle = 15'000;
};

/// `ending` is set when the launcher closes: an engine then gives up what it waits for.
std::unique_ptr<Launcher> make_engine_launcher(std::unique_ptr<Engine> engine, const Pool& pool, EngineTimes times,
                                               const Log& log, std::shared_ptr<std::atomic<bool>> ending);

/// A name for this data folder that no other coordinator has: its gangs are known by it. Made at the first call.
Result<std::string> owner_of(const std::string& data);

}  // namespace hivq
