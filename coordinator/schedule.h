#pragma once

// The scheduler: which waiting trials go to which idle gang. Pure.

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/ids.h"

namespace hivq {

/// With whom a trial may train side by side on one gang: trials whose Fusion is equal may.
struct Fusion {
  JobId job = 0;
  std::string key;    // of their shape
  int64_t step = -1;  // where they stand; -1: untrained
  uint64_t most = 1;  // trials of a pack
  auto operator<=>(const Fusion&) const = default;
};

/// The trials that wait for a gang of one size.
struct Queue {
  std::map<TrialId, Fusion> trials;                // by age
  std::map<Fusion, std::set<TrialId>> companions;  // of those that may train with others

  void add(const TrialId& trial, const Fusion& fusion);
  void remove(const TrialId& trial);
};

/// By the ranks that the gang must have (0: any). No queue is empty.
using WaitingTrials = std::map<uint64_t, Queue>;

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
