// Why a job has no gang yet, for people.

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/schedule_state.h"

namespace hivq {

namespace {

using State = Scheduler::State;

std::string ranks_text(uint64_t ranks) { return fmt::format("{} rank{}", ranks, ranks == 1 ? "" : "s"); }
std::string user_text(const std::string& user) { return user.empty() ? "(not named)" : user; }

/// No gang that is there fits.
std::string no_gang(const State& state, const Need& need) {
  std::set<uint64_t> sizes;
  bool labels = false, size = false;
  for (const auto& [key, kind] : state.kinds) {
    sizes.insert(kind.kind.ranks);
    labels |= fits({0, need.labels}, kind.kind);
    size |= fits({need.ranks, {}}, kind.kind);
  }
  if (sizes.empty()) return fmt::format("it waits for {}; none is connected", to_string(need));
  if (!labels) return fmt::format("it waits for {}; no connected gang carries these labels", to_string(need));
  if (size) return fmt::format("it waits for {}; those of this size carry other labels", to_string(need));
  return fmt::format("it waits for {}; the connected ones have {}", to_string(need), fmt::join(sizes, ", "));
}

/// Who has the ranks of a project.
std::string users_of(const State& state, const State::Project& project) {
  std::vector<std::pair<uint64_t, std::string>> users;
  for (const auto& [key, member] : state.members) {
    if (member.project == &project && member.account.running > 0) users.push_back({member.account.running, key.second});
  }
  std::sort(users.rbegin(), users.rend());
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(users.size(), 3); ++i) {
    text += fmt::format("{}{} {}", i == 0 ? "" : ", ", user_text(users[i].second), users[i].first);
  }
  if (users.size() > 3) text += fmt::format(", {} others", users.size() - 3);
  return text;
}

/// The quota that leaves no room for `ranks`.
std::string quota_text(const State& state, const State::Member& member, uint64_t ranks) {
  const State::Quota &of_user = member.user->quota, &of_project = member.project->quota;
  if (of_user.room() < ranks) {
    return fmt::format("user {} has {} of a quota of {} running, and the smallest gang that fits has {}",
                       user_text(member.user->name), ranks_text(of_user.running), of_user.most, ranks);
  }
  return fmt::format("project {} has {} of a quota of {} running ({}), and the smallest gang that fits has {}",
                     member.project->account.project, ranks_text(of_project.running), of_project.most,
                     users_of(state, *member.project), ranks);
}

/// The gangs that fit, all of them busy.
std::string gangs_text(const State& state, int64_t priority, const State::NeedState& need) {
  uint64_t gangs = 0, higher = 0, lower = 0;
  for (const auto& [key, kind] : need.fitting) {
    gangs += kind->gangs;
    for (const auto& [of_run, members] : kind->running) {
      if (of_run == priority) continue;
      for (const auto& [member, packs] : members) (of_run > priority ? higher : lower) += packs.size();
    }
  }
  std::string text =
      gangs == 1 ? "the only gang that fits is busy" : fmt::format("all {} gangs that fit are busy", gangs);
  if (higher > 0) text += fmt::format(", {} of them with a higher priority", higher);
  if (lower > 0 && state.policy.preempt) text += fmt::format(", {} with a lower one, to be taken away soon", lower);
  return text;
}

/// What waits for the same gangs and is before the job: `; …`, or nothing.
std::string before_text(const State& state, const State::Job& job, const State::Lane& lane) {
  uint64_t ahead = 0;
  for (const auto& [key, other] : state.lanes) {
    if (key.priority <= job.terms.priority) break;
    const auto wants = [&wanted = key.need](const auto& fitting) { return fits(wanted, fitting.second->kind); };
    const auto& gangs = lane.need->fitting;
    if (std::any_of(gangs.begin(), gangs.end(), wants)) ahead += other.trials;
  }
  if (ahead > 0) {
    return fmt::format("; {} waiting trial{} a higher priority than its {}", ahead, ahead == 1 ? " has" : "s have",
                       job.terms.priority);
  }
  State::Account& project = job.member->project->account;
  if (const auto& [share, oldest, first] = *lane.projects.order().begin(); share < project.share) {
    return fmt::format("; project {} has had more of its share than {}, which comes first", project.project,
                       first->project);
  }
  const State::Branch& branch = lane.branches.at(&project);
  if (const auto& [share, oldest, first] = *branch.members.order().begin(); share < job.member->account.share) {
    return fmt::format("; user {} comes first, who has had less of the project", user_text(first->user));
  }
  const JobId oldest = *branch.jobs.at(&job.member->account).second.begin();
  return oldest < job.terms.job ? fmt::format("; job {} of the same user comes first", oldest) : "";
}

}  // namespace

std::string Scheduler::why(JobId id) const {
  const State& state = *state_;
  auto found = state.jobs.find(id);
  if (found == state.jobs.end()) return "";
  const State::Job& job = found->second;
  std::string reason;
  for (const auto& [wanted, queue] : job.queues) {
    const State::NeedState& need = state.needs.at(wanted);
    if (need.fitting.empty()) return no_gang(state, wanted);
    if (!reason.empty()) continue;
    const uint64_t smallest = need.fitting.begin()->second->kind.ranks;
    if (State::room(*job.member) < smallest) {
      reason = quota_text(state, *job.member, smallest);
    } else if (need.idle.empty()) {
      reason = gangs_text(state, job.terms.priority, need) +
               before_text(state, job, state.lanes.at({job.terms.priority, wanted}));
    } else if (const uint64_t ranks = need.idle.begin()->second->kind.ranks; State::room(*job.member) < ranks) {
      reason = quota_text(state, *job.member, ranks);
    }
  }
  return reason.empty() ? "it is about to start" : reason;
}

}  // namespace hivq
