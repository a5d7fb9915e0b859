#pragma once

// Rank 0's line to the coordinator. A thread of its own owns the socket and drives a GangSession, so heartbeats go on
// while the main thread trains, evaluates or hangs in a file system.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/gang_session.h"
#include "common/log.h"
#include "common/result.h"
#include "common/transport.h"

namespace hivq {

struct LeaderOptions {
  std::string coordinator;  // tcp://host:port
  Hello hello;              // its gang is the ZeroMQ identity
  std::optional<Credentials> credentials = {};
  Millis patience = 600'000;  // a coordinator that is away for longer ends the gang
  SessionOptions session;
};

/// Why a gang ends, and how hivq-worker exits.
struct Ending {
  int exit_code = 0;
  std::string reason;
};

/// Every function may be called from any thread.
class Leader {
 public:
  /// Connects in the background. Errors: the address is no `tcp://host:port`.
  static Result<std::unique_ptr<Leader>> start(LeaderOptions options, const Clock& clock, Log log);
  /// Says Goodbye, if end() has not been called.
  ~Leader();

  /// The next pack of trials; waits for it. Empty when the gang is to end.
  std::vector<Assignment> next();
  /// The lease is ours and the gang is not about to end.
  bool holds(const Lease& lease) const;
  /// The coordinator asks for the lease, and for all others of its pack, back.
  bool yields(const Lease& lease) const;
  /// Why the coordinator took the last lease away.
  std::string refusal() const;

  /// Adds to the lease's stream; waits while too much is not acknowledged. Without effect where the lease is lost.
  void report(const Lease& lease, Item item);
  void report_checkpoint(const Lease& lease, int64_t step, std::string bytes);
  /// What the heartbeats say.
  void set_progress(const Lease& lease, int64_t step, int64_t total_steps, std::string phase);

  /// Ends the gang: sends what can be sent, then Goodbye. The first reason counts.
  void end(Ending ending);
  /// The same, and returns when Goodbye is on its way (a second at most where nobody takes it).
  void end_now(Ending ending);
  std::optional<Ending> ending() const;

 private:
  using Command = std::function<void(GangSession&, Millis now)>;

  Leader(LeaderOptions options, const Clock& clock, Log log, Dealer dealer);
  void run();
  void receive(std::chrono::milliseconds timeout);
  void take(const std::string& bytes);
  void watch_coordinator(Millis now);
  void send(Millis now);
  void publish();
  void post(size_t bytes, Command command);
  void wait_for_room(const Lease& lease);

  const LeaderOptions options_;
  const Clock& clock_;
  const Log log_;

  // The protocol thread's own.
  Dealer dealer_;
  GangSession session_;
  Millis heard_ = 0, last_knock_ = 0, next_complaint_ = 0;
  bool ever_heard_ = false, complained_ = false;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<Command> commands_;  // for the session, in order
  size_t command_bytes_ = 0;
  std::vector<Assignment> assignments_;
  std::set<Lease> leases_;  // of the last pack, while they are ours
  bool yields_ = false;     // the last pack is asked back
  bool session_full_ = false;
  std::string refusal_;
  std::optional<Ending> ending_;
  bool gone_ = false;  // Goodbye was said: nothing is sent any more, and dealer_ is empty

  std::thread thread_;
};

}  // namespace hivq
