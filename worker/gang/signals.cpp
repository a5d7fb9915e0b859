#include "worker/gang/signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

namespace hivq {
namespace {

sigset_t watched() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

SignalWatch::SignalWatch(std::chrono::milliseconds grace) : grace_(grace) {
  const sigset_t set = watched();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  thread_ = std::thread([this] { run(); });
}

SignalWatch::~SignalWatch() {
  {
    std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  // Wakes sigwait; blocked in every thread, so it does nothing else.
  pthread_kill(thread_.native_handle(), SIGTERM);
  thread_.join();
}

void SignalWatch::on_signal(std::function<void(const char*)> call) {
  std::lock_guard lock(mutex_);
  if (signal_ != nullptr) {
    call(signal_);
  } else {
    call_ = std::move(call);
  }
}

void SignalWatch::run() {
  const sigset_t set = watched();
  int number = 0;
  sigwait(&set, &number);
  std::unique_lock lock(mutex_);
  if (done_) return;
  signal_ = number == SIGINT ? "SIGINT" : "SIGTERM";
  if (call_) call_(signal_);
  if (changed_.wait_for(lock, grace_, [this] { return done_; })) return;
  std::fprintf(stderr, "hivq-worker: %s came, and the work did not end within %lld s: ended at once\n", signal_,
               static_cast<long long>(grace_.count() / 1000));
  _exit(128 + number);
}

}  // namespace hivq
