#pragma once

// Time is passed in, so that tests and the simulation choose it.

#include <chrono>
#include <cstdint>

namespace hivq {

/// Milliseconds since 1970-01-01 UTC.
using Millis = int64_t;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Millis now() const = 0;
};

/// Wall-clock time now.
inline Millis wall_clock() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

/// Wall-clock time at the start, advanced by the monotonic clock: it never jumps while the program runs.
class SystemClock final : public Clock {
 public:
  Millis now() const override {
    using namespace std::chrono;
    return start_ + duration_cast<milliseconds>(steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  Millis start_ = wall_clock();
};

/// Time that stands still until it is set.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(Millis now = 0) : now_(now) {}
  Millis now() const override { return now_; }
  void set(Millis now) { now_ = now; }
  void advance(Millis millis) { now_ += millis; }

 private:
  Millis now_;
};

}  // namespace hivq
