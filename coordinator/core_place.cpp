// Trials to gangs, and gangs to be launched.

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core_running.h"

namespace hivq {

namespace {
constexpr uint64_t most_fruitless_launches = 3;  // before the waiting trials fail
}

/// Where its job is held, it waits without asking for a gang.
void Core::wait(const Trial& trial) {
  const TrialId& id = trial.row.id;
  const Job& owner = *job(id.job);
  if (owner.held()) return;
  if (trial.row.not_before > now_) {
    retries_.insert({trial.row.not_before, id});
    return;
  }
  scheduler_.add(terms_of(owner), {trial.row.ranks, owner.spec.trial.gang.labels}, id.index,
                 {trial.row.fusion, checkpoint_step(id), trial.row.fuse}, now_);
}

void Core::wait_no_more(const Trial& trial) {
  scheduler_.remove(trial.row.id);
  if (trial.row.not_before != 0) retries_.erase({trial.row.not_before, trial.row.id});
}

Terms Core::terms_of(const Job& owner) const {
  return {owner.row.id, owner.spec.priority, owner.spec.project, owner.row.user};
}

/// The gang is idle.
void Core::offer(const GangId& id) {
  const GangState& gang = gangs_.at(id);
  scheduler_.set_idle(id, !gang.leaving && !drained(gang));
}

void Core::place(Running& run) {
  if (closing_) return;
  propose_ahead(run);
  while (auto placement = scheduler_.next(run.now)) lease(run, *placement);
  launch_gangs(run);
}

void Core::keep_usage(Running& run) {
  for (const Usage& usage : scheduler_.take_usage()) {
    run.put(Family::meta, usage_key(usage.project, usage.user, usage.whole),
            pack(UsageRow{usage.project, usage.user, usage.whole, usage.mean, usage.at}));
  }
}

/// Gives a gang a pack: a lease for each trial, of one epoch.
void Core::lease(Running& run, const Placement& placement) {
  GangState& gang = gangs_.at(placement.gang);
  gang.yield_asked.reset();
  gang.preempted = false;
  const uint64_t epoch = next_epoch_++;
  run.put(Family::meta, "next_epoch", key_of(next_epoch_));
  for (const TrialId& id : placement.trials) {
    Trial& chosen = *trial(id);
    chosen.lease =
        LeaseRow{{id, epoch}, placement.gang, 0, true, false, {}, run.now, placement.trials.size(), gang.hello.ranks};
    chosen.row.state = State::running;
    chosen.row.attempts += 1;
    if (chosen.row.started == 0) chosen.row.started = run.now;
    put(run, chosen.row);
    put(run, *chosen.lease);
    watch_time(*job(id.job), chosen, true);
    gang.leases.insert(chosen.lease->lease);
    event(run, fmt::format("trial {} leased to gang {} (attempt {})", to_string(id), short_id(placement.gang),
                           chosen.row.attempts));
  }
  begin_job(run, *job(placement.trials.front().job));
  mark_useful(run, gang.hello.launch);
  assign(run, gang);
}

/// Tells a gang of its pack; again where it has not heard of it.
void Core::assign(Running& run, GangState& gang) {
  Assign pack;
  for (std::set<Lease> leases = gang.leases; const Lease& lease : leases) {
    Trial* leased = trial(lease.trial);
    if (leased == nullptr) continue;  // the job ended with the one before
    Job& owner = *job(lease.trial.job);
    if (auto spec = spec_of(owner, lease.trial.index)) {
      pack.parts.push_back(part_of(*leased, *spec));
    } else {
      end_trial(run, owner, *leased, State::failed, spec.error().message);
    }
  }
  if (!pack.parts.empty()) run.tell(gang.hello.gang, std::move(pack));
}

Part Core::part_of(const Trial& trial, const TrialSpec& spec) const {
  Part part{trial.lease->lease, to_yaml(spec), {}, needs_start(trial)};
  if (auto own = checkpoints_.find(trial.row.id); own != checkpoints_.end() && !own->second.empty()) {
    part.checkpoint = own->second.rbegin()->second.manifest;
  }
  if (part.warm) part.checkpoint = starts_.at({trial.row.start, trial.row.start_step}).checkpoint.manifest;
  return part;
}

// ---- Launching ----

bool Core::spoke(const std::string& launch) const {
  return std::any_of(gangs_.begin(), gangs_.end(), [&](const auto& g) { return g.second.hello.launch == launch; });
}

/// Gangs that fit, busy ones too, and those on their way.
uint64_t Core::fitting_gangs(const Need& need) const {
  uint64_t fitting = 0;
  for (const auto& [id, gang] : gangs_) {
    fitting += fits(need, {gang.hello.ranks, gang.hello.labels}) && !gang.leaving && !drained(gang);
  }
  for (const auto& [id, row] : launches_) {
    fitting += fits(need, {row.ranks, {}}) && !spoke(id) && !stopping_.contains(id);
  }
  return fitting;
}

/// Starts local gangs for trials that wait although no gang that fits them is there or on its way; one decision a step.
/// Local gangs carry no labels.
void Core::launch_gangs(Running& run) {
  if (options_.local_gangs == 0 || run.now < next_launch_ || scheduler_.waiting() == 0) return;
  for (const Demand& demand : scheduler_.demands()) {
    const Need& need = demand.need;
    if (!need.labels.empty()) continue;
    uint64_t fitting = fitting_gangs(need);
    if (fitting >= std::min<uint64_t>(options_.local_gangs, demand.trials)) continue;
    if (launches_.size() < options_.local_gangs)
      return launch(run, need.ranks == 0 ? options_.local_ranks : need.ranks);
    if (fitting == 0) return make_room(run, need);
  }
}

void Core::launch(Running& run, uint64_t ranks) {
  // Named by the event that tells of it, so no two launches of a store share a name.
  LaunchRow row{std::to_string(next_event_), ranks, 0, 0, run.now};
  event(run, fmt::format("launching a local gang of {} ranks", ranks));
  run.put(Family::gangs, launch_key(row.id), pack(row));
  run.effects.launches.push_back({row.id, ranks});
  launches_.emplace(row.id, std::move(row));
}

/// An idle local gang of another size ends.
void Core::make_room(Running& run, const Need& need) {
  for (const auto& id : scheduler_.idle_gangs()) {
    GangState& gang = gangs_.at(id);
    if (!launches_.contains(gang.hello.launch) || fits(need, {gang.hello.ranks, gang.hello.labels})) continue;
    event(run, fmt::format("gang {} ends: {} is needed", short_id(id), to_string(need)));
    gang.leaving = true;
    run.tell(id, Leave{"a gang of another size is needed"});
    mark_useful(run, gang.hello.launch);
    stop_launch(run, gang.hello.launch);
    scheduler_.set_idle(id, false);
    return;
  }
}

void Core::stop_launch(Running& run, const std::string& launch) {
  if (stopping_.insert(launch).second) run.effects.stops.push_back(launch);
}

void Core::mark_useful(Running& run, const std::string& launch) {
  auto found = launches_.find(launch);
  if (found == launches_.end()) return;
  fruitless_launches_ = 0;
  if (std::exchange(found->second.useful, true)) return;
  run.put(Family::gangs, launch_key(launch), pack(found->second));
}

void Core::on(Running& run, const LaunchStarted& started) {
  auto found = launches_.find(started.launch);
  if (found == launches_.end()) return;
  found->second.pid = started.pid;
  found->second.start_time = started.start_time;
  run.put(Family::gangs, launch_key(started.launch), pack(found->second));
}

void Core::on(Running& run, const LaunchEnded& end) {
  auto node = launches_.extract(end.launch);
  if (node.empty()) return;
  stopping_.erase(end.launch);
  run.erase(Family::gangs, launch_key(end.launch));
  std::vector<GangId> gone;
  for (const auto& [id, gang] : gangs_) {
    if (gang.hello.launch == end.launch) gone.push_back(id);
  }
  for (const auto& id : gone) {
    forget_drain(run, id);
    lose_gang(run, id, end.reason);
  }
  if (node.mapped().useful) return;
  // It ended before its gang did any work: wait a little longer each time, then give up.
  ++fruitless_launches_;
  next_launch_ = run.now + 1000 * static_cast<Millis>(fruitless_launches_);
  event(run, fmt::format("a local gang ended before it had a trial: {}", end.reason));
  if (fruitless_launches_ >= most_fruitless_launches) give_up_launching(run, end.reason);
}

/// Trials that no gang serves fail.
void Core::give_up_launching(Running& run, const std::string& reason) {
  std::vector<TrialId> stuck;
  for (const Demand& demand : scheduler_.demands()) {
    if (!demand.need.labels.empty() || fitting_gangs(demand.need) > 0) continue;
    const std::vector<TrialId> waiting = scheduler_.trials_of(demand.need);
    stuck.insert(stuck.end(), waiting.begin(), waiting.end());
  }
  for (const auto& id : stuck) propose_no_more(run, *job(id.job));
  for (const auto& id : stuck) {
    end_trial(run, *job(id.job), *trial(id), State::failed,
              fmt::format("no gang could be started, {} times in a row: {}", fruitless_launches_, reason));
  }
  fruitless_launches_ = 0;
}

}  // namespace hivq
