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
  if (paused(trial.row.id.job)) return;
  const TrialId& id = trial.row.id;
  waiting_[trial.row.ranks].add(id, {id.job, trial.row.fusion, checkpoint_step(id), trial.row.fuse});
}

void Core::wait_no_more(const Trial& trial) {
  auto queue = waiting_.find(trial.row.ranks);
  if (queue == waiting_.end()) return;
  queue->second.remove(trial.row.id);
  if (queue->second.trials.empty()) waiting_.erase(queue);
}

void Core::place(Running& run) {
  if (waiting_.empty() || closing_) return;
  std::vector<IdleGang> idle;
  for (const auto& id : idle_) idle.push_back({id, gangs_.at(id).hello.ranks});
  for (const auto& placement : schedule(waiting_, std::move(idle))) {
    lease(run, placement);
  }
  launch_gangs(run);
}

/// Gives a gang a pack: a lease for each trial, of one epoch.
void Core::lease(Running& run, const Placement& placement) {
  GangState& gang = gangs_.at(placement.gang);
  idle_.erase(placement.gang);
  gang.yield_asked.reset();
  const uint64_t epoch = next_epoch_++;
  run.put(Family::meta, "next_epoch", key_of(next_epoch_));
  for (const TrialId& id : placement.trials) {
    Trial& chosen = *trial(id);
    wait_no_more(chosen);
    chosen.lease = LeaseRow{{id, epoch}, placement.gang, 0, true, false, {}};
    chosen.row.state = State::running;
    chosen.row.attempts += 1;
    if (chosen.row.started == 0) chosen.row.started = run.now;
    put(run, chosen.row);
    put(run, *chosen.lease);
    gang.leases.insert(chosen.lease->lease);
    event(run, fmt::format("trial {} leased to gang {} (attempt {})", to_string(id), short_id(placement.gang),
                           chosen.row.attempts));
  }
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
uint64_t Core::fitting_gangs(uint64_t ranks) const {
  uint64_t fitting = 0;
  for (const auto& [id, gang] : gangs_) fitting += fits(ranks, gang.hello.ranks) && !gang.leaving;
  for (const auto& [id, row] : launches_) fitting += fits(ranks, row.ranks) && !spoke(id) && !stopping_.contains(id);
  return fitting;
}

/// Starts local gangs for trials that wait although no gang that fits them is there or on its way; one decision a step.
void Core::launch_gangs(Running& run) {
  if (options_.local_gangs == 0 || run.now < next_launch_) return;
  std::map<TrialId, uint64_t> sizes;  // by the oldest trial that asks for it
  for (const auto& [ranks, queue] : waiting_) sizes[queue.trials.begin()->first] = ranks;
  for (const auto& [oldest, ranks] : sizes) {
    uint64_t fitting = fitting_gangs(ranks);
    if (fitting >= std::min<uint64_t>(options_.local_gangs, waiting_.at(ranks).trials.size())) continue;
    if (launches_.size() < options_.local_gangs) return launch(run, ranks == 0 ? options_.local_ranks : ranks);
    if (fitting == 0) return make_room(run, ranks);
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
void Core::make_room(Running& run, uint64_t ranks) {
  for (const auto& id : idle_) {
    GangState& gang = gangs_.at(id);
    if (!launches_.contains(gang.hello.launch) || fits(ranks, gang.hello.ranks)) continue;
    event(run, fmt::format("gang {} ends: a gang of {} ranks is needed", short_id(id), ranks));
    gang.leaving = true;
    run.tell(id, Leave{"a gang of another size is needed"});
    mark_useful(run, gang.hello.launch);
    stop_launch(run, gang.hello.launch);
    idle_.erase(id);
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
  for (const auto& id : gone) lose_gang(run, id, end.reason);
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
  for (const auto& [ranks, queue] : waiting_) {
    if (fitting_gangs(ranks) > 0) continue;
    for (const auto& [id, fusion] : queue.trials) stuck.push_back(id);
  }
  for (const auto& id : stuck) {
    end_trial(run, *job(id.job), *trial(id), State::failed,
              fmt::format("no gang could be started, {} times in a row: {}", fruitless_launches_, reason));
  }
  fruitless_launches_ = 0;
}

}  // namespace hivq
