#pragma once

// The gang's side of the protocol as a pure state machine: messages and time in, messages out. The worker's rank 0
// drives it with a socket; the simulation drives it with a virtual network that loses, repeats and delays.
//
// One reliable, ordered stream per lease: items get the numbers 1, 2, …; the coordinator acknowledges what is on its
// disk; what is not acknowledged in time is sent again from the first such item. A lost coordinator is waited for:
// training goes on and items gather here up to `buffer_bytes`.

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/messages.h"

namespace hivq {

struct SessionOptions {
  Millis heartbeat = 1000;
  Millis resend = 2000;                   // after this long without progress, then after twice as long, …
  Millis slowest_resend = 16000;          // … up to this
  size_t window_bytes = 16 << 20;         // on their way at once
  size_t buffer_bytes = size_t{1} << 30;  // full() beyond this
};

/// A trial to run: the lease's specification and the bytes of the checkpoint to go on from (empty: from the start).
struct Assignment {
  Lease lease;
  std::string spec;
  std::string checkpoint;
  int64_t checkpoint_step = -1;
};

class GangSession {
 public:
  GangSession(Hello hello, SessionOptions options = {});

  /// A message from the coordinator.
  void receive(const Message& message, Millis now);
  /// Time passes: heartbeats, resending. Call at least every 100 ms.
  void tick(Millis now);
  /// What is to be sent, in order; emptied by the call.
  std::vector<Message> take_outgoing();

  /// The next trial to run, once its checkpoint is here and verified.
  std::optional<Assignment> take_assignment();
  /// Adds an item to the lease's stream; ignored when the lease is no longer ours. A log line is cut at 64 KiB.
  void report(const Lease& lease, Item item, Millis now);
  /// A checkpoint's bytes as chunks and their manifest.
  void report_checkpoint(const Lease& lease, int64_t step, std::string_view bytes, Millis now);
  /// The gang ends: the coordinator shall not wait for it. Nothing is sent any more after this.
  void goodbye(const std::string& reason);
  /// What the next heartbeats say of the running trial.
  void set_progress(int64_t step, int64_t total_steps, std::string phase);

  /// The lease is ours: granted, not refused, and no newer one granted.
  bool holds(const Lease& lease) const { return lease_ && *lease_ == lease; }
  /// A trial is being fetched, run or reported.
  bool busy() const { return lease_.has_value(); }
  /// Why the trial was taken away; for its log.
  const std::string& refusal() const { return refusal_; }
  /// The reporter shall wait: too much is not acknowledged yet.
  bool full() const { return pending_bytes_ > options_.buffer_bytes; }
  /// The coordinator asked the gang to end.
  bool leaving() const { return leaving_; }
  /// When the coordinator was last heard; for giving up on one that never returns.
  Millis last_heard() const { return last_heard_; }

 private:
  void on(const HelloAgain&, Millis now);
  void on(const Welcome&, Millis now);
  void on(const Assign&, Millis now);
  void on(const Ack&, Millis now);
  void on(const Refused&, Millis now);
  void on(const Chunk&, Millis now);
  void on(const Leave&, Millis now);
  template <typename Other>
  void on(const Other&, Millis) {}

  void drop_lease();
  void fetch(Millis now);
  void begin(const Assign& assign, Millis now);
  void send_items();
  void send_again(Millis now);
  void send(Body body);

  Hello hello_;
  SessionOptions options_;
  std::vector<Message> outgoing_;
  Millis last_heard_ = 0;
  Millis last_heartbeat_ = 0;
  bool welcomed_ = false;
  bool leaving_ = false;
  bool gone_ = false;  // goodbye() was called
  Heartbeat progress_;

  std::optional<Lease> lease_;
  std::string refusal_;

  // Fetching the checkpoint of an assignment.
  std::optional<Assign> assign_;
  std::map<std::string, std::string> chunks_;  // by hash
  std::set<std::string> asked_;                // on their way
  Millis last_fetch_ = 0;
  std::optional<Assignment> ready_;

  // The stream.
  std::deque<std::string> pending_;  // packed items; the first has number first_
  uint64_t first_ = 1;
  uint64_t next_send_ = 1;
  size_t pending_bytes_ = 0;
  size_t in_flight_ = 0;  // bytes of the items from first_ up to, not with, next_send_
  bool ended_ = false;    // the EndItem has been reported
  Millis last_progress_ = 0;
  Millis resend_after_ = 0;
};

}  // namespace hivq
