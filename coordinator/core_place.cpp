// Trials to gangs.

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core_running.h"

namespace hivq {

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
  gang.busy = run.now;
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

}  // namespace hivq
