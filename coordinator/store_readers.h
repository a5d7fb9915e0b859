#pragma once

// Questions that the store alone answers (curves, logs, chunks of checkpoints), on threads of their own: a long curve
// or a chunk's checksum holds up neither gangs nor the scheduler.

#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/messages.h"
#include "coordinator/store.h"

namespace hivq {

class StoreReaders {
 public:
  struct Answered {
    std::string peer;
    uint64_t request = 0;
    std::string bytes;  // of the answer's message
  };

  /// `store` must outlive it.
  explicit StoreReaders(const Store& store, size_t threads = 2);
  /// What is being read is read to its end; what waits is not answered.
  ~StoreReaders();

  /// One of which reads_store_alone() holds; what was committed before is in its answer. Never waits. A question that
  /// comes again while it is under way is the same one.
  void ask(std::string peer, Message question);
  /// What has been answered since the last call.
  std::vector<Answered> take();
  /// Answers are under way, or to be taken.
  bool busy() const;

 private:
  void run();

  const Store& store_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<std::pair<std::string, Message>> asked_;
  std::set<std::pair<std::string, uint64_t>> under_way_;  // peer and request, until the answer is taken
  std::vector<Answered> answered_;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace hivq
