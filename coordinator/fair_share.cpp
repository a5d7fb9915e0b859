// Fair share: what projects and users have used, and their order by it.

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "coordinator/schedule_state.h"

namespace hivq {

namespace {
constexpr Millis period = 5000;  // shares of what runs and does not change move slowly: hours of half-life
}

/// An account that runs `r` ranks from `at` on has mean(t) = mean·d + r·(1 − d) with d = 2^(−(t − at) / half-life): the
/// exponentially weighted average of its ranks over time. It is always computed from the last change, so that it does
/// not depend on how often somebody asked, or on a restart.
double Scheduler::State::mean_at(const Account& account, Millis now) const {
  const auto past = static_cast<double>(std::max<Millis>(0, now - account.at));
  const double decay = std::exp2(-past / static_cast<double>(policy.half_life));
  return account.mean * decay + static_cast<double>(account.running) * (1 - decay);
}

void Scheduler::State::charge(Account& account, int64_t ranks, Millis now) {
  account.mean = mean_at(account, now);
  account.at = std::max(account.at, now);
  account.running += static_cast<uint64_t>(ranks);
  touched.insert(&account);
  reweigh(account, now);
}

void Scheduler::State::charge(Member& member, int64_t ranks, Millis now) {
  charge(member.account, ranks, now);
  charge(member.project->account, ranks, now);
  member.project->quota.running += static_cast<uint64_t>(ranks);
  member.user->quota.running += static_cast<uint64_t>(ranks);
}

/// Of the weight: ranks that run and ranks that ran on average.
double Scheduler::State::share_at(const Account& account, Millis now) const {
  return (static_cast<double>(account.running) + mean_at(account, period_of(now))) / account.weight;
}

void Scheduler::State::reweigh(Account& account, Millis now) {
  account.share = share_at(account, now);
  for (Lane* lane : account.lanes) {
    if (account.whole) {
      lane->projects.put(account, *lane->branches.at(&account).all.begin());
    } else {
      Branch& branch = lane->branches.at(&projects.at(account.project).account);
      branch.members.put(account, *branch.jobs.at(&account).second.begin());
    }
  }
}

Millis Scheduler::State::period_of(Millis now) { return now - now % period; }

void Scheduler::State::refresh(Millis now) {
  if (refreshed == period_of(now)) return;
  refreshed = period_of(now);
  for (auto& [name, project] : projects) {
    if (!project.account.lanes.empty()) reweigh(project.account, now);
  }
  for (auto& [name, member] : members) {
    if (!member.account.lanes.empty()) reweigh(member.account, now);
  }
}

std::vector<Usage> Scheduler::take_usage() {
  std::vector<Usage> changed;
  for (const State::Account* account : std::exchange(state_->touched, {})) {
    changed.push_back({account->project, account->user, account->whole, account->mean, account->at});
  }
  std::sort(changed.begin(), changed.end(), [](const Usage& a, const Usage& b) {
    return std::tie(a.project, a.user, a.whole) < std::tie(b.project, b.user, b.whole);
  });
  return changed;
}

void Scheduler::restore_usage(const Usage& usage) {
  State::Account& account =
      usage.whole ? state_->project_of(usage.project).account : state_->member_of(usage.project, usage.user).account;
  account.mean = usage.mean;
  account.at = usage.at;
  state_->reweigh(account, usage.at);
}

uint64_t Scheduler::running_ranks_of_project(const std::string& project) const {
  auto found = state_->projects.find(project);
  return found == state_->projects.end() ? 0 : found->second.quota.running;
}

uint64_t Scheduler::running_ranks_of_user(const std::string& user) const {
  auto found = state_->users.find(user);
  return found == state_->users.end() ? 0 : found->second.quota.running;
}

}  // namespace hivq
