#pragma once

// The invariants of the coordinator, checked after every step, every commit and everything that is let out.

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

  /// The coordinator's, and how long a trial may wait while a gang that fits it runs a lower priority; 0: not checked.
  void rules(Policy policy, Millis longest_inversion) {
    policy_ = std::move(policy);
    longest_inversion_ = longest_inversion;
  }

  /// The core made a step. `input` is what was sent to it, `before` and `step` what it wrote of this round before and
  /// now.
  void after_step(const Input& input, const Effects& step, const Core& core, Millis now);
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
  void nobody_waits_in_vain(const Core& core);
  void count_leases(const LeaseRow& row, const std::optional<LeaseRow>& before, const Core& core);
  void granted_lawfully(const LeaseRow& row, const Core& core);
  void count_ranks(const Core& core);
  void within_time(const Input& input);
  const JobSpec& spec_of(JobId job);
  bool held(JobId job);
  bool has_room(JobId job, uint64_t ranks);
  bool may_run_on(const TrialRow& row, const GangState& gang);
  bool paused(JobId job) const;
  void acknowledged(const Ack& ack, const MapStore& store);
  void is_stored(const Lease& lease, const Item& item, const MapStore& store) const;
  void is_shown(const TrialId& trial, const MapStore& store) const;
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
  Policy policy_;
  Millis longest_inversion_ = 0, now_ = 0;
  std::map<JobId, JobSpec> specs_;
  std::map<GangId, Labels> labels_;                             // what gangs said of themselves
  std::set<std::string> drained_;                               // what is drained in the store
  std::map<std::string, uint64_t> user_ranks_, project_ranks_;  // that run
  std::map<GangId, std::pair<int64_t, Millis>> running_;        // priority and begin of what a gang runs
  std::map<TrialId, Millis> inverted_;                          // since when it waits for a lower priority
};

}  // namespace hivq
