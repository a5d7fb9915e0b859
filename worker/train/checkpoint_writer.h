#pragma once

// Writes checkpoints beside training.

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "worker/train/checkpoint.h"

namespace hivq {

/// One thread that turns snapshots into bytes and hands them on, in order. One snapshot waits at most, so that memory
/// holds no more than two.
class CheckpointWriter {
 public:
  using Sink = std::function<void(int64_t step, std::string bytes)>;

  CheckpointWriter();
  /// Finishes what was taken.
  ~CheckpointWriter();

  /// Takes a snapshot to write to `sink`, which is called from the writer's thread and must outlive it; waits while
  /// another one waits.
  void write(TrainingSnapshot snapshot, const Sink& sink);
  /// Returns when everything that was taken has been handed on.
  void finish();

 private:
  struct Work {
    TrainingSnapshot snapshot;
    const Sink& sink;
  };
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Work> waiting_;
  bool busy_ = false, ending_ = false;
  std::thread thread_;
};

}  // namespace hivq
