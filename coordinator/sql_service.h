#pragma once

// Questions in SQL beside everything else: a few threads that read while the coordinator's own goes on. An answer goes
// out a batch at a time, each when the client asks for it, so that a long one costs neither side memory.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/messages.h"
#include "coordinator/sql.h"

namespace hivq {

struct SqlServiceOptions {
  size_t threads = 2;
  size_t cursors = 32;                      // open at once; beyond, the one that was not asked for longest is given up
  std::chrono::milliseconds idle{120'000};  // the same after so long
  size_t batch_bytes = 1 << 20;
  SqlLimits limits;
};

class SqlService {
 public:
  struct Asked {
    std::string peer;
    uint64_t request = 0;
    QuerySql question;
  };
  struct Answered {
    std::string peer;
    Message message;  // SqlAnswer or Failed
  };

  /// `store` must outlive it.
  explicit SqlService(const Store& store, SqlServiceOptions options = {});
  /// What is being answered is broken off.
  ~SqlService();

  /// Never waits. A question that comes again is answered again, unless its answer is under way.
  void ask(Asked asked);
  /// What has been answered since the last call.
  std::vector<Answered> take();
  /// Answers are under way.
  bool busy() const;

 private:
  struct Slot {
    std::optional<SqlCursor> cursor;
    std::optional<SqlAnswer> last;  // the batch that was answered last
    bool working = false;
    std::chrono::steady_clock::time_point used;
  };

  void run();
  Body answer(Slot& slot, const QuerySql& question);
  void forget_idle();

  const Store& store_;
  SqlServiceOptions options_;
  mutable std::mutex mutex_;  // guards what follows; a slot that works is its thread's
  std::condition_variable changed_;
  std::deque<Asked> asked_;
  std::vector<Answered> answered_;
  std::map<std::string, Slot> slots_;  // by key
  size_t working_ = 0;
  std::atomic<bool> ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace hivq
