#pragma once

// The five invariants of the coordinator, checked after every step, every commit and everything that is let out.

#include <map>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "coordinator/core.h"
#include "tests/coordinator/map_store.h"
#include "tests/coordinator/virtual_gang.h"

namespace hivq {

/// An invariant that does not hold; the text begins with its number.
struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Invariants {
 public:
  Invariants(const Script& script, const Streams& streams) : script_(script), streams_(streams) {}

  /// The core made a step. `input` is what was sent to it, `before` and `step` what it wrote of this round before and
  /// now.
  void after_step(const Input& input, const Effects& step, const Core& core);
  /// The writes of a round are in the store.
  void after_commit(const MapStore& store);
  /// Garbage was collected.
  void chunks_are_there(const MapStore& store) const;
  /// A message leaves the coordinator.
  void let_out(const Send& send, const MapStore& store);
  /// The coordinator has started (again) on the store.
  void after_start(const MapStore& store);
  /// All jobs have ended and all is quiet.
  void at_the_end(const MapStore& store) const;

 private:
  void data_needs_a_live_lease(const Input& input, const Effects& step);
  void each_lease_once();
  void nobody_waits_in_vain(const Core& core) const;
  void count_leases(const LeaseRow& row, const std::optional<LeaseRow>& before);
  bool paused(JobId job) const;
  void acknowledged(const Ack& ack, const MapStore& store);
  void is_stored(const Lease& lease, const Item& item, const MapStore& store) const;
  void is_given_back(const Lease& lease, const MapStore& store) const;

  const Script& script_;
  const Streams& streams_;
  MapStore ahead_;  // jobs, trials and leases as the core sees them: the store and what is not committed yet
  std::map<Lease, uint64_t> acknowledged_;                   // items of each stream
  std::set<JobId> submitted_;                                // acknowledged
  std::map<std::pair<uint64_t, std::string>, int> written_;  // points, by the lease's epoch and the key
  std::vector<std::pair<uint64_t, std::string>> writing_;    // the same, not committed yet
  std::map<TrialId, std::string> proposals_;
  std::map<TrialId, uint64_t> epochs_;                 // the newest that was let out
  std::map<TrialId, int64_t> attempts_;                // leases that were not given back
  std::vector<std::pair<TrialId, int64_t>> counting_;  // the same, not committed yet
  std::set<GangId> idle_;                              // that said so
};

}  // namespace hivq
