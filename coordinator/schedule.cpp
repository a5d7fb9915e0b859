#include "coordinator/schedule.h"

#include <algorithm>

namespace hivq {

namespace {

/// The trials of one Fusion that are not placed yet.
struct Rest {
  std::set<TrialId>::const_iterator next;
  size_t count;
};
using Rests = std::map<const std::set<TrialId>*, Rest>;

/// The oldest trial of the queue, and with it a share of its companions where `gangs` fit.
std::vector<TrialId> take_pack(const Queue& queue, const TrialId& oldest, size_t gangs, Rests& rests) {
  const Fusion& fusion = queue.trials.at(oldest);
  if (fusion.most == 1) return {oldest};
  const std::set<TrialId>& companions = queue.companions.at(fusion);
  Rest& rest = rests.try_emplace(&companions, Rest{companions.begin(), companions.size()}).first->second;
  std::vector<TrialId> pack;
  for (size_t size = std::min<size_t>(fusion.most, (rest.count + gangs - 1) / gangs); size > 0; --size) {
    pack.push_back(*rest.next++);
    --rest.count;
  }
  return pack;
}

}  // namespace

void Queue::add(const TrialId& trial, const Fusion& fusion) {
  trials[trial] = fusion;
  if (fusion.most > 1) companions[fusion].insert(trial);
}

void Queue::remove(const TrialId& trial) {
  auto node = trials.extract(trial);
  if (node.empty()) return;
  auto others = companions.find(node.mapped());
  if (others == companions.end()) return;
  others->second.erase(trial);
  if (others->second.empty()) companions.erase(others);
}

std::vector<Placement> schedule(const WaitingTrials& waiting, std::vector<IdleGang> idle) {
  // The oldest trial of each size that is not placed; a size that no idle gang fits drops out.
  std::map<TrialId, uint64_t> oldest;
  for (const auto& [ranks, queue] : waiting) oldest[queue.trials.begin()->first] = ranks;
  std::vector<Placement> placements;
  std::set<TrialId> placed;
  Rests rests;
  while (!oldest.empty() && !idle.empty()) {
    auto [trial, ranks] = *oldest.begin();
    oldest.erase(oldest.begin());
    const auto fitting = [&, size = ranks](const IdleGang& gang) { return fits(size, gang.ranks); };
    auto gang = std::find_if(idle.begin(), idle.end(), fitting);
    if (gang == idle.end()) continue;
    const auto gangs = static_cast<size_t>(std::count_if(gang, idle.end(), fitting));
    const Queue& queue = waiting.at(ranks);
    std::vector<TrialId> pack = take_pack(queue, trial, gangs, rests);
    placed.insert(pack.begin(), pack.end());
    placements.push_back({std::move(pack), gang->id});
    idle.erase(gang);
    auto next = queue.trials.find(trial);
    while (next != queue.trials.end() && placed.contains(next->first)) ++next;
    if (next != queue.trials.end()) oldest[next->first] = ranks;
  }
  return placements;
}

}  // namespace hivq
