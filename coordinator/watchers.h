#pragma once

// Who waits for something of a job to change. Each job has a version that grows with every commit that touches it, and
// when a gang that runs it speaks. Versions begin with the time of the start, so that they grow across restarts, too.

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "coordinator/rows.h"

namespace hivq {

class Watchers {
 public:
  struct Answer {
    std::string identity;
    uint64_t request;
    Changed changed;
  };

  /// `start`: milliseconds since 1970; a job that has not been touched since has this version.
  explicit Watchers(uint64_t start) : start_(start), newest_(start) {}

  /// A question; the same again (a client repeats what is not answered) is one.
  void add(const std::string& identity, uint64_t request, const Watch& watch, Millis now) {
    const Millis until = now + std::clamp<Millis>(watch.wait, 0, most_watch);
    waiting_[{identity, request}] = {watch.job, watch.version, until};
    if (waiting_.size() > most_watchers) waiting_.begin()->second.until = now;
  }

  /// What was committed.
  void note(std::span<const Write> writes) {
    for (const auto& write : writes) {
      const bool of_job = write.family == Family::jobs || write.family == Family::trials ||
                          write.family == Family::points || write.family == Family::logs ||
                          write.family == Family::checkpoints || write.family == Family::pictures;
      if (of_job && write.key.size() >= 8) touched_.insert(number_at(write.key, 0));
    }
  }
  /// How far its trials are.
  void note(const Heartbeat& beat) {
    for (const auto& said : beat.trials) touched_.insert(said.lease.trial.job);
  }

  /// Those whose job has changed, or whose time is over.
  std::vector<Answer> due(Millis now) {
    for (JobId job : touched_) versions_[job] = newest_ + 1;
    if (!touched_.empty()) ++newest_;
    touched_.clear();
    std::vector<Answer> answers;
    std::erase_if(waiting_, [&](const auto& entry) {
      const auto& [asker, wish] = entry;
      auto found = versions_.find(wish.job);
      const uint64_t version = found == versions_.end() ? start_ : found->second;
      // Another version than that of the question's store: a restored one may be older.
      const bool changed = version != wish.version;
      if (!changed && now < wish.until) return false;
      answers.push_back({asker.first, asker.second, Changed{version, changed}});
      return true;
    });
    return answers;
  }

 private:
  struct Wish {
    JobId job;
    uint64_t version;
    Millis until;
  };
  static constexpr size_t most_watchers = 10'000;
  uint64_t start_, newest_;
  std::map<JobId, uint64_t> versions_;  // of jobs that were touched
  std::set<JobId> touched_;             // since the last answers
  std::map<std::pair<std::string, uint64_t>, Wish> waiting_;
};

}  // namespace hivq
