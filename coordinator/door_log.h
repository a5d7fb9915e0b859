#pragma once

// Whom the coordinator has turned away, gathered so that a storm of attempts is a line now and then.

#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"

namespace hivq {

/// What somebody else said, for a log: its first 200 columns, without control characters.
std::string short_line(std::string_view text);

/// For any thread.
class DoorLog {
 public:
  /// Somebody at this address was turned away for this reason; a long one is cut, its control characters are replaced.
  void note(const std::string& address, const std::string& reason);
  /// Lines to be told now: of each address and reason one at once, and later how many more there were.
  std::vector<std::string> take(Millis now);

 private:
  struct Refusals {
    uint64_t untold = 0;
    Millis told = 0;  // when last; 0: not yet
  };
  std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, Refusals> refusals_;  // by address and reason
  uint64_t beyond_ = 0;                                               // of addresses that do not fit in any more
};

}  // namespace hivq
