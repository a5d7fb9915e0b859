#include "coordinator/door_log.h"

#include <fmt/format.h>

#include <utility>

#include "jobs/table.h"

namespace hivq {

namespace {

constexpr Millis tell_again = 60'000;
constexpr size_t most_kept = 1000;

}  // namespace

std::string short_line(std::string_view text) {
  constexpr size_t longest = 200;
  // Its first bytes only: of what a stranger said it may be long.
  return elide(printable(text.substr(0, 4 * longest)), longest);
}

void DoorLog::note(const std::string& address, const std::string& reason) {
  const std::string why = short_line(reason);
  const std::lock_guard lock(mutex_);
  if (refusals_.size() >= most_kept && !refusals_.contains({address, why})) {
    ++beyond_;
    return;
  }
  ++refusals_[{address, why}].untold;
}

std::vector<std::string> DoorLog::take(Millis now) {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> lines;
  for (auto it = refusals_.begin(); it != refusals_.end();) {
    auto& [who, refusals] = *it;
    const auto& [address, why] = who;
    const bool quiet = refusals.told != 0 && now < refusals.told + tell_again;
    if (refusals.untold == 0 && !quiet) {
      it = refusals_.erase(it);
      continue;
    }
    if (refusals.untold > 0 && !quiet) {
      const std::string times = refusals.untold > 1 ? fmt::format(", {} times", refusals.untold) : "";
      lines.push_back(fmt::format("refused {}{}: {}", address.empty() ? "a peer that has left" : address, times, why));
      refusals = {0, now};
    }
    ++it;
  }
  if (beyond_ > 0 && !lines.empty()) lines.push_back(fmt::format("refused {} more peers", std::exchange(beyond_, 0)));
  return lines;
}

}  // namespace hivq
