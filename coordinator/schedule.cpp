#include "coordinator/schedule.h"

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/schedule_state.h"

namespace hivq {

namespace {

bool carries(const Labels& labels, const Labels& wanted) {
  return std::includes(labels.begin(), labels.end(), wanted.begin(), wanted.end());
}

/// Of a trial, where all go in the largest packs that may be.
double part_of_pack(const Fusion* fusion) { return fusion == nullptr ? 1 : 1 / static_cast<double>(fusion->most); }

}  // namespace

bool fits(const Need& need, const Kind& kind) {
  return (need.ranks == 0 || need.ranks == kind.ranks) && carries(kind.labels, need.labels);
}

bool stricter(const Need& a, const Need& b) {
  return a != b && (b.ranks == 0 || a.ranks == b.ranks) && carries(a.labels, b.labels);
}

std::string to_string(const Need& need) {
  std::string text = need.ranks == 0 ? "a gang" : fmt::format("a gang of {} ranks", need.ranks);
  const char* link = " with ";
  for (const auto& [key, value] : need.labels) {
    text += fmt::format("{}{}={}", link, key, value);
    link = ", ";
  }
  return text;
}

using State = Scheduler::State;

// ---- Indexes ----

void State::Ranking::put(Account& account, JobId oldest) {
  const Key key{account.share, oldest, &account};
  auto [found, fresh] = keys_.try_emplace(&account, key);
  if (!fresh) {
    if (found->second == key) return;
    order_.erase(found->second);
    found->second = key;
  }
  order_.insert(key);
}

void State::Ranking::erase(Account& account) {
  auto node = keys_.extract(&account);
  if (!node.empty()) order_.erase(node.mapped());
}

void State::Queue::add(uint64_t trial, const Fusion& fusion) {
  remove(trial);
  const Fusion* shared = nullptr;
  if (fusion.most > 1) {
    auto group = companions.try_emplace(fusion).first;
    group->second.insert(trial);
    shared = &group->first;
  }
  trials.emplace(trial, shared);
  packs += part_of_pack(shared);
}

bool State::Queue::remove(uint64_t trial) {
  auto node = trials.extract(trial);
  if (node.empty()) return false;
  packs -= part_of_pack(node.mapped());
  if (node.mapped() == nullptr) return true;
  auto group = companions.find(*node.mapped());
  group->second.erase(trial);
  if (group->second.empty()) companions.erase(group);
  return true;
}

std::vector<uint64_t> State::Queue::take(uint64_t gangs) {
  const auto [oldest, fusion] = *trials.begin();
  std::vector<uint64_t> pack{oldest};
  if (fusion != nullptr) {
    const auto& group = companions.at(*fusion);
    const uint64_t size = std::min<uint64_t>(fusion->most, (group.size() + gangs - 1) / gangs);
    pack.assign(group.begin(), std::next(group.begin(), static_cast<std::ptrdiff_t>(size)));
  }
  for (uint64_t trial : pack) remove(trial);
  return pack;
}

State::Project& State::project_of(const std::string& name) {
  auto [found, fresh] = projects.try_emplace(name);
  if (fresh) {
    const Allowance& allowance = policy.of_project(name);
    found->second.account = {name, "", true, allowance.weight};
    found->second.quota.most = allowance.max_ranks;
  }
  return found->second;
}

State::Member& State::member_of(const std::string& project, const std::string& user) {
  auto [found, fresh] = members.try_emplace({project, user});
  if (fresh) {
    const Allowance& allowance = policy.of_user(user);
    auto [owner, _] = users.try_emplace(user, User{user, {0, allowance.max_ranks}});
    found->second.account = {project, user, false, allowance.weight};
    found->second.project = &project_of(project);
    found->second.user = &owner->second;
  }
  return found->second;
}

void State::put_kind(NeedState& need, KindState& kind) {
  if (!fits(need.need, kind.kind)) return;
  const KindKey key{kind.kind.ranks, kind.kind.labels.size(), kind.kind.labels};
  need.fitting.emplace(key, &kind);
  if (kind.idle.empty()) return;
  need.idle.emplace(key, &kind);
  need.idle_gangs += kind.idle.size();
}

State::NeedState& State::need_of(const Need& need) {
  auto [found, fresh] = needs.try_emplace(need);
  if (fresh) {
    found->second.need = need;
    for (auto& [key, kind] : kinds) put_kind(found->second, kind);
  }
  return found->second;
}

State::KindState& State::kind_of(const Kind& kind) {
  auto [found, fresh] = kinds.try_emplace({kind.ranks, kind.labels.size(), kind.labels});
  if (fresh) {
    found->second.kind = kind;
    for (auto& [wanted, need] : needs) put_kind(need, found->second);
  }
  return found->second;
}

void State::drop_kind_if_unused(KindState& kind) {
  if (kind.gangs > 0) return;
  const KindKey key{kind.kind.ranks, kind.kind.labels.size(), kind.kind.labels};
  for (auto& [wanted, need] : needs) {
    need.fitting.erase(key);
    need.idle.erase(key);
  }
  kinds.erase(key);
}

State::Lane& State::lane_of(const LaneKey& key, Millis now) {
  auto [found, fresh] = lanes.try_emplace(key);
  Lane& lane = found->second;
  if (fresh) {
    lane.key = key;
    lane.need = &need_of(key.need);
    lane.need->lanes += 1;
    lane.since = lane.turn = now;
  }
  return lane;
}

void State::drop_lane(Lane& lane) {
  if (--lane.need->lanes == 0) needs.erase(lane.key.need);
  lanes.erase(LaneKey(lane.key));
}

void State::enlist(Lane& lane, Member& member, JobId job) {
  Account& project = member.project->account;
  Branch& branch = lane.branches[&project];
  auto& [owner, waiting_jobs] = branch.jobs[&member.account];
  owner = &member;
  waiting_jobs.insert(job);
  branch.all.insert(job);
  member.account.lanes.insert(&lane);
  project.lanes.insert(&lane);
  branch.members.put(member.account, *waiting_jobs.begin());
  lane.projects.put(project, *branch.all.begin());
}

void State::strike_off(Lane& lane, Member& member, JobId job) {
  Account& project = member.project->account;
  Branch& branch = lane.branches.at(&project);
  auto& waiting_jobs = branch.jobs.at(&member.account).second;
  waiting_jobs.erase(job);
  branch.all.erase(job);
  if (waiting_jobs.empty()) {
    branch.members.erase(member.account);
    branch.jobs.erase(&member.account);
    member.account.lanes.erase(&lane);
  } else {
    branch.members.put(member.account, *waiting_jobs.begin());
  }
  if (branch.all.empty()) {
    lane.projects.erase(project);
    lane.branches.erase(&project);
    project.lanes.erase(&lane);
  } else {
    lane.projects.put(project, *branch.all.begin());
  }
}

/// `trials` of a job's queue wait no more. May take the job and its lane away.
void State::taken(Job& job, const Need& need, uint64_t trials) {
  auto queue = job.queues.find(need);
  Lane& lane = lanes.at({job.terms.priority, need});
  lane.trials -= trials;
  waiting -= trials;
  if (!queue->second.trials.empty()) return;
  strike_off(lane, *job.member, job.terms.job);
  if (lane.branches.empty()) drop_lane(lane);
  job.queues.erase(queue);
  if (job.queues.empty()) jobs.erase(JobId(job.terms.job));
}

void State::set_idle(const GangId& id, Gang& gang, bool idle) {
  if (gang.idle == idle) return;
  gang.idle = idle;
  KindState& kind = *gang.kind;
  const bool first = kind.idle.empty();
  if (idle) {
    kind.idle.insert(id);
  } else {
    kind.idle.erase(id);
  }
  changed |= idle;
  const KindKey key{kind.kind.ranks, kind.kind.labels.size(), kind.kind.labels};
  for (auto& [wanted, need] : needs) {
    if (!fits(wanted, kind.kind)) continue;
    need.idle_gangs += idle ? 1 : -1;
    if (idle && first) need.idle.emplace(key, &kind);
    if (kind.idle.empty()) need.idle.erase(key);
  }
}

void State::index_run(const GangId& id, Gang& gang, bool there) {
  const Run& run = *gang.run;
  auto& of_priority = gang.kind->running[run.terms.priority];
  auto& packs = of_priority[run.member];
  if (there) {
    packs.insert({run.started, id});
    return;
  }
  packs.erase({run.started, id});
  if (packs.empty()) of_priority.erase(run.member);
  if (of_priority.empty()) gang.kind->running.erase(run.terms.priority);
}

void State::put_run(const GangId& id, Gang& gang, Run run) {
  set_idle(id, gang, false);
  gang.run = std::move(run);
  index_run(id, gang, true);
}

void State::end_run(const GangId& id, Gang& gang, Millis now) {
  if (!gang.run) return;
  if (!gang.run->yielding) index_run(id, gang, false);
  yielding.erase(id);
  charge(*gang.run->member, -static_cast<int64_t>(gang.kind->kind.ranks), now);
  gang.run.reset();
  changed = true;  // its quota has room again
}

// ---- Decisions ----

/// Who is first in the lane and within quota, and the smallest idle gang that fits.
std::optional<State::Choice> State::candidate(const Lane& lane) const {
  if (lane.need->idle.empty()) return std::nullopt;
  KindState* kind = lane.need->idle.begin()->second;  // no other one has fewer ranks
  for (const auto& [share, oldest, project] : lane.projects.order()) {
    if (projects.at(project->project).quota.room() < kind->kind.ranks) continue;
    const Branch& branch = lane.branches.at(project);
    for (const auto& [of_user, first, account] : branch.members.order()) {
      Member* member = branch.jobs.at(account).first;
      if (room(*member) >= kind->kind.ranks) return Choice{&lane, member, first, kind};
    }
  }
  return std::nullopt;
}

/// Of lanes of one priority.
std::optional<State::Choice> State::best(Lanes::const_iterator first, Lanes::const_iterator last, Millis now) const {
  std::vector<Choice> choices;
  for (auto lane = first; lane != last; ++lane) {
    if (auto choice = candidate(lane->second)) choices.push_back(*choice);
  }
  if (choices.empty()) return std::nullopt;
  Choice chosen = *std::min_element(choices.begin(), choices.end(),
                                    [](const Choice& a, const Choice& b) { return a.rank() < b.rank(); });
  // A stricter need that had no gang for too long has its turn.
  const Need& flexible = chosen.lane->key.need;
  std::optional<Choice> overdue;
  for (const Choice& other : choices) {
    if (now - other.lane->turn < policy.reserve_after || !stricter(other.lane->key.need, flexible)) continue;
    if (!overdue || other.lane->turn < overdue->lane->turn) overdue = other;
  }
  return overdue ? overdue : chosen;
}

Placement State::take(const Choice& choice, Millis now) {
  Lane& lane = lanes.at(choice.lane->key);
  const Need need = lane.key.need;
  Job& job = jobs.at(choice.job);
  Placement placement;
  placement.gang = *choice.kind->idle.begin();
  const std::vector<uint64_t> pack = job.queues.at(need).take(lane.need->idle_gangs);
  for (uint64_t trial : pack) placement.trials.push_back({choice.job, trial});
  lane.turn = now;
  put_run(placement.gang, gangs.at(placement.gang), {job.terms, choice.member, now});
  taken(job, need, pack.size());
  charge(*choice.member, static_cast<int64_t>(choice.kind->kind.ranks), now);
  return placement;
}

std::optional<Placement> Scheduler::next(Millis now) {
  State& state = *state_;
  if (!state.changed || state.lanes.empty()) return std::nullopt;
  state.refresh(now);
  for (auto first = state.lanes.cbegin(); first != state.lanes.cend();) {
    auto last = first;
    while (last != state.lanes.cend() && last->first.priority == first->first.priority) ++last;
    if (auto choice = state.best(first, last, now)) return state.take(*choice, now);
    first = last;
  }
  state.changed = false;
  return std::nullopt;
}

// ---- What waits ----

Scheduler::Scheduler(Policy policy) : state_(std::make_unique<State>(std::move(policy))) {}
Scheduler::~Scheduler() = default;
Scheduler::Scheduler(Scheduler&&) noexcept = default;
Scheduler& Scheduler::operator=(Scheduler&&) noexcept = default;

const Policy& Scheduler::policy() const { return state_->policy; }

void Scheduler::add(const Terms& terms, const Need& need, uint64_t trial, const Fusion& fusion, Millis now) {
  State& state = *state_;
  remove({terms.job, trial});
  State::Lane& lane = state.lane_of({terms.priority, need}, now);
  auto [found, fresh] = state.jobs.try_emplace(terms.job);
  State::Job& job = found->second;
  if (fresh) job = {terms, &state.member_of(terms.project, terms.user), {}};
  auto [queue, first] = job.queues.try_emplace(need);
  if (first) {
    state.reweigh(job.member->account, now);
    state.reweigh(job.member->project->account, now);
    state.enlist(lane, *job.member, terms.job);
  }
  queue->second.add(trial, fusion);
  lane.trials += 1;
  state.waiting += 1;
  state.changed = true;
}

void Scheduler::remove(const TrialId& trial) {
  auto job = state_->jobs.find(trial.job);
  if (job == state_->jobs.end()) return;
  for (auto& [need, queue] : job->second.queues) {
    if (queue.remove(trial.index)) return state_->taken(job->second, Need(need), 1);
  }
}

uint64_t Scheduler::waiting() const { return state_->waiting; }

uint64_t Scheduler::waiting(JobId id) const {
  uint64_t trials = 0;
  auto job = state_->jobs.find(id);
  if (job == state_->jobs.end()) return 0;
  for (const auto& [need, queue] : job->second.queues) trials += queue.trials.size();
  return trials;
}

std::vector<Demand> Scheduler::demands() const {
  std::vector<Demand> demands;
  for (const auto& [key, lane] : state_->lanes) {
    JobId oldest = UINT64_MAX;
    for (const auto& [project, branch] : lane.branches) oldest = std::min(oldest, *branch.all.begin());
    auto same = std::find_if(demands.begin(), demands.end(),
                             [&need = key.need](const Demand& demand) { return demand.need == need; });
    if (same == demands.end()) {
      demands.push_back({key.need, lane.trials, key.priority, oldest});
    } else {
      same->trials += lane.trials;
    }
  }
  std::stable_sort(demands.begin(), demands.end(), [](const Demand& a, const Demand& b) {
    return std::tuple(-a.priority, a.oldest) < std::tuple(-b.priority, b.oldest);
  });
  return demands;
}

uint64_t Scheduler::startable(const Need& need, uint64_t ranks) const {
  uint64_t trials = 0;
  for (const auto& [id, job] : state_->jobs) {
    const auto queue = job.queues.find(need);
    if (queue == job.queues.end()) continue;
    trials += std::min<uint64_t>(queue->second.trials.size(), State::room(*job.member) / std::max<uint64_t>(1, ranks));
  }
  return trials;
}

std::vector<TrialId> Scheduler::trials_of(const Need& need) const {
  std::vector<TrialId> trials;
  for (const auto& [id, job] : state_->jobs) {
    auto queue = job.queues.find(need);
    if (queue == job.queues.end()) continue;
    for (const auto& [index, fusion] : queue->second.trials) trials.push_back({id, index});
  }
  return trials;
}

// ---- Gangs ----

void Scheduler::put_gang(const GangId& id, const Kind& kind, Millis now) {
  State& state = *state_;
  auto [found, fresh] = state.gangs.try_emplace(id);
  if (!fresh && found->second.kind->kind == kind) return;
  // It calls itself by another size or other labels: what runs on it goes on.
  const std::optional<State::Run> run = found->second.run;
  if (!fresh) remove_gang(id, now);
  State::Gang& gang = state.gangs[id];
  gang.kind = &state.kind_of(kind);
  gang.kind->gangs += 1;
  if (!run) return;
  state.charge(*run->member, static_cast<int64_t>(kind.ranks), now);
  state.put_run(id, gang, {run->terms, run->member, run->started});
}

void Scheduler::remove_gang(const GangId& id, Millis now) {
  auto found = state_->gangs.find(id);
  if (found == state_->gangs.end()) return;
  state_->set_idle(id, found->second, false);
  state_->end_run(id, found->second, now);
  State::KindState& kind = *found->second.kind;
  kind.gangs -= 1;
  state_->gangs.erase(found);
  state_->drop_kind_if_unused(kind);
}

void Scheduler::set_idle(const GangId& id, bool idle) {
  if (auto found = state_->gangs.find(id); found != state_->gangs.end()) {
    state_->set_idle(id, found->second, idle && !found->second.run);
  }
}

bool Scheduler::idle(const GangId& id) const {
  auto found = state_->gangs.find(id);
  return found != state_->gangs.end() && found->second.idle;
}

std::vector<GangId> Scheduler::idle_gangs() const {
  std::vector<GangId> idle;
  for (const auto& [key, kind] : state_->kinds) idle.insert(idle.end(), kind.idle.begin(), kind.idle.end());
  std::sort(idle.begin(), idle.end());
  return idle;
}

void Scheduler::restore_run(const GangId& id, const Terms& terms, Millis started) {
  State& state = *state_;
  State::Gang& gang = state.gangs.at(id);
  if (gang.run) return;
  State::Member& member = state.member_of(terms.project, terms.user);
  // Its ranks have been on the account since the account changed last.
  const uint64_t ranks = gang.kind->kind.ranks;
  for (State::Account* account : {&member.account, &member.project->account}) {
    account->running += ranks;
    if (account->at == 0) account->at = started;
    state.reweigh(*account, account->at);
  }
  member.project->quota.running += ranks;
  member.user->quota.running += ranks;
  state.put_run(id, gang, {terms, &member, started});
}

void Scheduler::ended(const GangId& id, Millis now) {
  if (auto found = state_->gangs.find(id); found != state_->gangs.end()) state_->end_run(id, found->second, now);
}

void Scheduler::set_priority(const GangId& id, int64_t priority) {
  const auto found = state_->gangs.find(id);
  if (found == state_->gangs.end() || !found->second.run) return;
  State::Run& run = *found->second.run;
  if (!run.yielding) state_->index_run(id, found->second, false);
  run.terms.priority = priority;
  if (!run.yielding) state_->index_run(id, found->second, true);
}

void Scheduler::set_yielding(const GangId& id, bool yielding) {
  auto found = state_->gangs.find(id);
  if (found == state_->gangs.end() || !found->second.run || found->second.run->yielding == yielding) return;
  state_->index_run(id, found->second, !yielding);
  found->second.run->yielding = yielding;
  if (yielding) {
    state_->yielding.insert(id);
  } else {
    state_->yielding.erase(id);
  }
}

}  // namespace hivq
