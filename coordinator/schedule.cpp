#include "coordinator/schedule.h"

#include <algorithm>

namespace hivq {

std::vector<Placement> schedule(const std::set<WaitingTrial>& waiting, std::vector<IdleGang> idle) {
  std::vector<Placement> placements;
  for (const auto& trial : waiting) {
    if (idle.empty()) break;
    auto gang = std::find_if(idle.begin(), idle.end(), [&](const IdleGang& g) { return fits(trial, g.ranks); });
    if (gang == idle.end()) continue;
    placements.push_back({trial.id, gang->id});
    idle.erase(gang);
  }
  return placements;
}

}  // namespace hivq
