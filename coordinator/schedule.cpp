#include "coordinator/schedule.h"

#include <algorithm>

namespace hivq {

std::vector<Placement> schedule(const WaitingTrials& waiting, std::vector<IdleGang> idle) {
  // The oldest trial of each size; a size that no idle gang fits drops out.
  std::map<TrialId, uint64_t> oldest;
  for (const auto& [ranks, trials] : waiting) {
    if (!trials.empty()) oldest[*trials.begin()] = ranks;
  }
  std::vector<Placement> placements;
  while (!oldest.empty() && !idle.empty()) {
    auto [trial, ranks] = *oldest.begin();
    oldest.erase(oldest.begin());
    auto gang =
        std::find_if(idle.begin(), idle.end(), [&, size = ranks](const auto& g) { return fits(size, g.ranks); });
    if (gang == idle.end()) continue;
    placements.push_back({trial, gang->id});
    idle.erase(gang);
    const auto& trials = waiting.at(ranks);
    if (auto next = trials.upper_bound(trial); next != trials.end()) oldest[*next] = ranks;
  }
  return placements;
}

}  // namespace hivq
