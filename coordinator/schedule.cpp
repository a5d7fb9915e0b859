#include "coordinator/schedule.h"

#include <algorithm>
#include <set>

namespace hivq {

namespace {

using Queue = std::map<TrialId, Fusion>;

/// The trial, and those of its job behind it that may go with it.
std::vector<TrialId> fusable(const Queue& queue, Queue::const_iterator first, const std::set<TrialId>& placed) {
  std::vector<TrialId> found{first->first};
  if (first->second.most == 1) return found;
  for (auto at = std::next(first); at != queue.end() && at->first.job == first->first.job; ++at) {
    if (at->second == first->second && !placed.contains(at->first)) found.push_back(at->first);
  }
  return found;
}

}  // namespace

std::vector<Placement> schedule(const WaitingTrials& waiting, std::vector<IdleGang> idle) {
  // The oldest trial of each size that is not placed; a size that no idle gang fits drops out.
  std::map<TrialId, uint64_t> oldest;
  for (const auto& [ranks, queue] : waiting) {
    if (!queue.empty()) oldest[queue.begin()->first] = ranks;
  }
  std::vector<Placement> placements;
  std::set<TrialId> placed;
  while (!oldest.empty() && !idle.empty()) {
    auto [trial, ranks] = *oldest.begin();
    oldest.erase(oldest.begin());
    const auto fitting = [&, size = ranks](const IdleGang& gang) { return fits(size, gang.ranks); };
    auto gang = std::find_if(idle.begin(), idle.end(), fitting);
    if (gang == idle.end()) continue;
    const Queue& queue = waiting.at(ranks);
    auto first = queue.find(trial);
    std::vector<TrialId> pack = fusable(queue, first, placed);
    const auto gangs = static_cast<size_t>(std::count_if(idle.begin(), idle.end(), fitting));
    pack.resize(std::min<size_t>(first->second.most, (pack.size() + gangs - 1) / gangs));
    placed.insert(pack.begin(), pack.end());
    placements.push_back({std::move(pack), gang->id});
    idle.erase(gang);
    while (first != queue.end() && placed.contains(first->first)) ++first;
    if (first != queue.end()) oldest[first->first] = ranks;
  }
  return placements;
}

}  // namespace hivq
