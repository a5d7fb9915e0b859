#pragma once

// SIGTERM and SIGINT as an orderly end: a thread waits for them, so nothing happens inside a signal handler.

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace hivq {

/// Blocks the signals in the calling thread and in those that it will start; to be made before any other thread.
class SignalWatch {
 public:
  /// After a signal the program has `grace` to end; then it is ended.
  explicit SignalWatch(std::chrono::milliseconds grace);
  ~SignalWatch();

  /// Called with the signal's name, once, on the watch's thread; at once where the signal has come already.
  void on_signal(std::function<void(const char* name)> call);

 private:
  void run();

  const std::chrono::milliseconds grace_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  const char* signal_ = nullptr;
  std::function<void(const char*)> call_;
  std::thread thread_;
};

}  // namespace hivq
