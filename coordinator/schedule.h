#pragma once

// The scheduler: which waiting trial goes to which idle gang. Pure.

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/ids.h"

namespace hivq {

/// The trials that wait, by the ranks that their gang must have (0: any).
using WaitingTrials = std::map<uint64_t, std::set<TrialId>>;

struct IdleGang {
  GangId id;
  uint64_t ranks = 0;
};

struct Placement {
  TrialId trial;
  GangId gang;
};

inline bool fits(uint64_t wanted_ranks, uint64_t ranks) { return wanted_ranks == 0 || wanted_ranks == ranks; }

/// First in, first out: trials in the order of their jobs' submission, each to the first idle gang that fits. A trial
/// that no idle gang fits does not hold up those behind it.
std::vector<Placement> schedule(const WaitingTrials& waiting, std::vector<IdleGang> idle);

}  // namespace hivq
