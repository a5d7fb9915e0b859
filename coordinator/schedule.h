#pragma once

// The scheduler: which waiting trial goes to which idle gang. Pure.

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "common/ids.h"

namespace hivq {

struct WaitingTrial {
  TrialId id;
  uint64_t ranks = 0;  // that its gang must have; 0: any
};
inline bool operator<(const WaitingTrial& a, const WaitingTrial& b) { return a.id < b.id; }

struct IdleGang {
  GangId id;
  uint64_t ranks = 0;
};

struct Placement {
  TrialId trial;
  GangId gang;
};

inline bool fits(const WaitingTrial& trial, uint64_t ranks) { return trial.ranks == 0 || trial.ranks == ranks; }

/// First in, first out: trials in the order of their jobs' submission, each to the first idle gang that fits. A trial that
/// no idle gang fits does not hold up those behind it.
std::vector<Placement> schedule(const std::set<WaitingTrial>& waiting, std::vector<IdleGang> idle);

}  // namespace hivq
