// Preemption: which gangs shall give their packs back so that a higher priority can start.

#include <algorithm>
#include <cmath>

#include "coordinator/schedule_state.h"

namespace hivq {

namespace {

using State = Scheduler::State;

constexpr size_t most_asked = 16;    // of one decision: a tick is never long
constexpr size_t most_members = 64;  // that wait and are looked at

struct Victim {
  GangId gang;
  const State::KindState* kind = nullptr;
  const State::Member* member = nullptr;
  int64_t priority = 0;
  double of_project = 0, of_user = 0;  // shares
  Millis started = 0;

  /// The least comes first: low priority, of whom has most of its share, begun last.
  auto rank() const { return std::tuple(priority, -of_project, -of_user, -started, gang); }
};
using Candidate = std::optional<Victim>;

void take_lesser(Candidate& least, const Candidate& other) {
  if (other && (!least || other->rank() < least->rank())) least = other;
}

/// Who gives gangs back and who gets them, as far as it is decided.
class Plan {
 public:
  Plan(const State& state, Millis now) : state_(state), now_(now) {
    for (const GangId& id : state.yielding) {
      const State::Gang& gang = state.gangs.at(id);
      coming_[gang.kind] += 1;
      coming_count_ += 1;
      move(*gang.run->member, *gang.kind, -1);
    }
  }

  bool full() const { return asked_.size() == most_asked || looked_at_ == most_members; }
  std::vector<GangId> asked() && { return std::move(asked_); }

  /// Gangs for a lane's trials, in the order of those whose they are.
  void make_room(const State::Lane& lane) {
    for (const auto& [share, oldest, project] : lane.projects.order()) {
      const State::Branch& branch = lane.branches.at(project);
      for (const auto& [of_user, first, account] : branch.members.order()) {
        if (full()) return;
        ++looked_at_;
        const auto& [member, jobs] = branch.jobs.at(account);
        for (uint64_t packs = packs_of(jobs, lane.key.need); packs > 0 && !full(); --packs) {
          if (!take_coming(lane, *member) && !take_away(lane, *member)) break;
        }
      }
    }
  }

 private:
  /// Packs of some jobs that wait for one need, as many as could matter.
  uint64_t packs_of(const std::set<JobId>& jobs, const Need& need) const {
    double packs = 0;
    const auto most = static_cast<double>(most_asked + coming_count_);
    for (auto id = jobs.begin(); id != jobs.end() && packs < most; ++id)
      packs += state_.jobs.at(*id).queues.at(need).packs;
    return static_cast<uint64_t>(std::ceil(std::min(packs, most) - 1e-6));
  }

  /// A gang begins (+1) or ends (−1) to run for a member.
  void move(const State::Member& member, const State::KindState& kind, int64_t sign) {
    const int64_t ranks = sign * static_cast<int64_t>(kind.kind.ranks);
    moved_[&member.project->quota] += ranks;
    moved_[&member.user->quota] += ranks;
  }
  uint64_t room(const State::Quota& quota, uint64_t given_back) const {
    auto found = moved_.find(&quota);
    return quota.room((found == moved_.end() ? 0 : found->second) - static_cast<int64_t>(given_back));
  }
  /// The member's quotas have room for a gang of the kind, once `leaves` has given one of it back.
  bool has_room(const State::Member& member, const State::KindState& kind, const State::Member* leaves) const {
    const uint64_t ranks = kind.kind.ranks;
    const bool same_project = leaves != nullptr && leaves->project == member.project;
    const bool same_user = leaves != nullptr && leaves->user == member.user;
    return room(member.project->quota, same_project ? ranks : 0) >= ranks &&
           room(member.user->quota, same_user ? ranks : 0) >= ranks;
  }

  /// One that is being given back already.
  bool take_coming(const State::Lane& lane, const State::Member& member) {
    if (coming_count_ == 0) return false;
    for (const auto& [key, kind] : lane.need->fitting) {
      auto found = coming_.find(kind);
      if (found == coming_.end() || found->second == 0 || !has_room(member, *kind, nullptr)) continue;
      found->second -= 1;
      coming_count_ -= 1;
      move(member, *kind, +1);
      return true;
    }
    return false;
  }

  bool take_away(const State::Lane& lane, const State::Member& member) {
    Candidate least;
    for (const auto& [key, kind] : lane.need->fitting) {
      take_lesser(least, has_room(member, *kind, nullptr)
                             ? least_of(*kind, lane.key.priority)
                             : search(*kind, lane.key.priority,
                                      [&, &kind = kind](const State::Member& leaves) {
                                        return has_room(member, *kind, &leaves);
                                      }));
    }
    if (!least) return false;
    asked_.push_back(least->gang);
    spared_.insert(least->gang);
    std::erase_if(least_, [&](const auto& entry) { return entry.first.first == least->kind; });
    move(*least->member, *least->kind, -1);
    move(member, *least->kind, +1);
    return true;
  }

  /// The first pack of a kind to go, whosever it is.
  const Candidate& least_of(const State::KindState& kind, int64_t below) {
    auto [found, fresh] = least_.try_emplace({&kind, below});
    if (fresh) found->second = search(kind, below, [](const State::Member&) { return true; });
    return found->second;
  }

  /// The first pack of a kind to go, among those of lower priority that have run for long enough and whose members
  /// may give it.
  template <typename MayGive>
  Candidate search(const State::KindState& kind, int64_t below, const MayGive& may_give) const {
    for (const auto& [priority, members] : kind.running) {
      if (priority >= below) break;
      Candidate least;
      for (const auto& [member, packs] : members) {
        if (!may_give(*member)) continue;
        auto pack = packs.lower_bound({now_ - state_.policy.min_run + 1, GangId()});
        while (pack != packs.begin() && spared_.contains(std::prev(pack)->second)) --pack;
        if (pack == packs.begin()) continue;
        --pack;
        take_lesser(least,
                    Victim{pack->second, &kind, member, priority, state_.share_at(member->project->account, now_),
                           state_.share_at(member->account, now_), pack->first});
      }
      if (least) return least;
    }
    return std::nullopt;
  }

  const State& state_;
  Millis now_;
  std::map<const State::KindState*, uint64_t> coming_;  // gangs that are being given back
  uint64_t coming_count_ = 0;
  std::map<const State::Quota*, int64_t> moved_;  // ranks that quotas will have more or less
  std::vector<GangId> asked_;
  std::set<GangId> spared_;  // the same
  size_t looked_at_ = 0;
  std::map<std::pair<const State::KindState*, int64_t>, Candidate> least_;  // by kind and the priority that is above
};

}  // namespace

std::vector<GangId> Scheduler::preempt(Millis now) {
  State& state = *state_;
  if (!state.policy.preempt) return {};
  state.refresh(now);
  Plan plan(state, now);
  for (const auto& [key, lane] : state.lanes) {
    if (plan.full()) break;
    if (now - lane.since >= state.policy.preempt_after && !state.candidate(lane)) plan.make_room(lane);
  }
  return std::move(plan).asked();
}

}  // namespace hivq
