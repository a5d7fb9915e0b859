#pragma once

// The gang's side of the protocol as a pure state machine: messages and time in, messages out. The worker's rank 0
// drives it with a socket; the simulation drives it with a virtual network that loses, repeats and delays.
//
// A gang runs one pack of trials at a time. Each lease of it has one reliable, ordered stream: items get the numbers
// 1, 2, …; the coordinator acknowledges what is on its disk; what is not acknowledged in time is sent again from the
// first such item. A lost coordinator is waited for: training goes on and items gather here up to `buffer_bytes`.

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
  // On their way at once: four chunks and what they are wrapped in; less where the coordinator gives less credit.
  size_t window_bytes = (16 << 20) + (64 << 10);
  size_t buffer_bytes = size_t{1} << 30;  // full() beyond this
};

/// A trial to run: the lease's specification and the bytes of the checkpoint to start from (empty: untrained).
struct Assignment {
  Lease lease;
  std::string spec;
  std::string checkpoint;
  int64_t checkpoint_step = -1;
  bool warm = false;  // the checkpoint is another trial's: only its model and codebooks count
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

  /// The next pack to run, once all of its checkpoints are here and verified; empty: none is.
  std::vector<Assignment> take_assignments();
  /// Adds an item to the lease's stream; ignored when the lease is no longer ours. A log line is cut at 64 KiB; a picture
  /// is left out where the coordinator knows none.
  void report(const Lease& lease, Item item, Millis now);
  /// A checkpoint's bytes as chunks and their manifest.
  void report_checkpoint(const Lease& lease, int64_t step, std::string_view bytes, Millis now);
  /// The gang ends: the coordinator shall not wait for it. Nothing is sent any more after this.
  void goodbye(const std::string& reason);
  /// What the next heartbeats say of a running trial.
  void set_progress(const Lease& lease, int64_t step, int64_t total_steps, std::string phase);

  /// The lease is ours: granted, not refused, and no newer one granted.
  bool holds(const Lease& lease) const { return streams_.contains(lease); }
  /// The coordinator asked for it back.
  bool yields(const Lease& lease) const { return lease.epoch <= yield_epoch_; }
  /// Trials are being fetched, run or reported.
  bool busy() const { return !streams_.empty(); }
  /// Why a trial was taken away last; for its log.
  const std::string& refusal() const { return refusal_; }
  /// The reporter shall wait: too much is not acknowledged yet.
  bool full() const { return pending_bytes_ > options_.buffer_bytes; }
  /// The coordinator asked the gang to end.
  bool leaving() const { return leaving_; }
  /// When the coordinator was last heard; for giving up on one that never returns.
  Millis last_heard() const { return last_heard_; }

 private:
  /// What a lease's items are on their way.
  struct Stream {
    std::deque<std::string> pending;  // packed items; the first has number `first`
    uint64_t first = 1;
    uint64_t next_send = 1;
    size_t in_flight = 0;  // bytes of the items from `first` up to, not with, `next_send`
    bool ended = false;    // its last item has been reported
    Millis last_progress = 0;
    Millis resend_after = 0;
    Progress progress;

    bool has_unsent() const { return next_send < first + pending.size(); }
  };
  using Streams = std::map<Lease, Stream>;

  void on(const HelloAgain&, Millis now);
  void on(const Welcome&, Millis now);
  void on(const Heard&, Millis now);
  void on(const Assign&, Millis now);
  void on(const Yield&, Millis now);
  void on(const Ack&, Millis now);
  void on(const Refused&, Millis now);
  void on(const Chunk&, Millis now);
  void on(const Leave&, Millis now);
  template <typename Other>
  void on(const Other&, Millis) {}

  void drop(const Lease& lease);
  void fetch(Millis now);
  void begin(Millis now);
  void give_back(Millis now);
  void forget_part(const Lease& lease);
  void fail_part(const Lease& lease, const std::string& reason, Millis now);
  void take_credit(uint64_t credit);
  bool has_room(size_t bytes) const { return in_flight_ == 0 || in_flight_ + bytes <= window_; }
  void send_items();
  void send_report(const Lease& lease, Stream& stream);
  void send_again(Stream& stream, Millis now);
  void send(Body body);

  Hello hello_;  // its epoch: the newest that was seen
  SessionOptions options_;
  size_t window_;  // what of it the coordinator allows
  std::vector<Message> outgoing_;
  Millis last_heard_ = 0;
  Millis last_heartbeat_ = 0;
  bool welcomed_ = false;
  bool takes_pictures_ = true;  // until a Welcome of an older coordinator says otherwise
  bool leaving_ = false;
  bool gone_ = false;  // goodbye() was called

  Streams streams_;                           // of the leases that are ours
  Lease turn_;                                // whose stream sent last
  size_t pending_bytes_ = 0, in_flight_ = 0;  // of all streams
  uint64_t epoch_ = 0;                        // of the newest pack that was taken
  uint64_t yield_epoch_ = 0;                  // the newest that was asked back
  std::set<Lease> refused_;                   // before their Assign came
  std::string refusal_;

  // Fetching the checkpoints of a pack.
  std::vector<Part> parts_;                    // that are not ready yet
  std::map<std::string, std::string> chunks_;  // by hash
  std::set<std::string> asked_;                // on their way
  Millis last_fetch_ = 0;
  std::vector<Assignment> ready_;
};

}  // namespace hivq
