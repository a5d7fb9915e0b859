#pragma once

// The scheduler: which waiting trials go to which idle gang. Pure.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/ids.h"

namespace hivq {

/// With whom a trial may train side by side on one gang: with trials of its job whose Fusion is equal.
struct Fusion {
  uint64_t most = 1;  // trials of a pack
  std::string key;    // of their shape; empty where most is 1
  int64_t step = -1;  // where they stand; -1: untrained
  bool operator==(const Fusion&) const = default;
};

/// The trials that wait, by the ranks that their gang must have (0: any).
using WaitingTrials = std::map<uint64_t, std::map<TrialId, Fusion>>;

struct IdleGang {
  GangId id;
  uint64_t ranks = 0;
};

/// A pack of trials for a gang.
struct Placement {
  std::vector<TrialId> trials;
  GangId gang;
};

inline bool fits(uint64_t wanted_ranks, uint64_t ranks) { return wanted_ranks == 0 || wanted_ranks == ranks; }

/// First in, first out: trials in the order of their jobs' submission, each to the first idle gang that fits, and with
/// it those that may train side by side with it; not more than its share where several idle gangs fit. A trial that no
/// idle gang fits does not hold up those behind it.
std::vector<Placement> schedule(const WaitingTrials& waiting, std::vector<IdleGang> idle);

}  // namespace hivq
