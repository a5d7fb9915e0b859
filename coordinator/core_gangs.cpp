// Gangs: how they come, live and are lost.

#include <fmt/format.h>

#include <algorithm>

#include "common/version.h"
#include "coordinator/core_running.h"

namespace hivq {

namespace {
constexpr uint64_t largest_epoch = uint64_t{1} << 62;  // that a gang may have seen; beyond it the numbers would run out
constexpr uint64_t least_credit = 64 << 10, most_credit = 64 << 20;
constexpr Millis longest_step = 2000;                  // a coordinator that was away for longer did not listen
}  // namespace

void Core::on(Running& run, const std::string& peer, const Hello& hello) {
  if (hello.gang != peer || hello.gang.empty() || hello.epoch > largest_epoch) {
    return run.tell(peer, Leave{"a gang's name must be its ZeroMQ identity, and its epoch one of this coordinator's"});
  }
  if (!may_speak(run, peer, hello)) return;
  auto [found, fresh] = gangs_.try_emplace(peer);
  GangState& gang = found->second;
  if (fresh || pack(gang.hello) != pack(hello)) run.put(Family::gangs, gang_key(peer), pack(hello));
  if (fresh) {
    gang.busy = run.now;
    event(run,
          fmt::format("gang {} joined: {} ranks on {} ({})", short_id(peer), hello.ranks, hello.host, hello.devices));
  }
  gang.hello = hello;
  scheduler_.put_gang(peer, {hello.ranks, hello.labels}, run.now);
  gang.connected = true;
  gang.heard = run.now;
  next_epoch_ = std::max(next_epoch_, hello.epoch + 1);
  run.tell(peer, Welcome{version, credit(), true});
}

/// So much less for each, the more there are: together they never have more on the way than the coordinator has memory
/// for, however slow its disk is.
uint64_t Core::credit() const {
  return std::clamp<uint64_t>(options_.input_bytes / std::max<size_t>(1, gangs_.size()), least_credit, most_credit);
}

void Core::on(Running& run, const std::string& peer, const Heartbeat& heartbeat) {
  auto found = gangs_.find(peer);
  if (found == gangs_.end()) return run.tell(peer, HelloAgain{});
  GangState& gang = found->second;
  // After a restart of ours: the gang shall send again what was on its way.
  if (!gang.connected) run.tell(peer, Welcome{version, credit(), true});
  gang.connected = true;
  gang.heard = run.now;
  gang.progress.clear();
  for (const auto& said : heartbeat.trials) gang.progress[said.lease] = said;
  if (!gang.progress.empty() || !gang.leases.empty()) gang.busy = run.now;
  run.tell(peer, Heard{credit()});
  if (gang.progress.empty() && gang.leases.empty()) offer(peer);
  for (const auto& [lease, said] : gang.progress) {
    if (!gang.leases.contains(lease)) answer_claim(run, peer, lease);
  }
  const auto unheard = [&](const Lease& lease) { return !gang.progress.contains(lease); };
  // The Assign was lost.
  if (std::any_of(gang.leases.begin(), gang.leases.end(), unheard)) assign(run, gang);
}

/// The gang believes in a lease that is not live: it is done and has not heard of it, or the lease was lost. Either way
/// the answer ends it.
void Core::answer_claim(Running& run, const std::string& peer, const Lease& lease) {
  scheduler_.set_idle(peer, false);
  const Trial* claimed = trial(lease.trial);
  if (claimed && claimed->lease && claimed->lease->lease == lease && claimed->lease->done) {
    run.tell(peer, Ack{lease, claimed->lease->last});
  } else {
    run.tell(peer, Refused{lease, "the lease has ended"});
  }
}

void Core::on(Running& run, const std::string& peer, const Goodbye& goodbye) {
  forget_drain(run, peer);
  if (gangs_.contains(peer)) lose_gang(run, peer, goodbye.reason.empty() ? "it left" : goodbye.reason, true);
}

void Core::on(Running& run, const Tick&) {
  // Silence counts only while we listened: after a slow disk or a suspended machine the messages are still in the
  // socket.
  Millis away = run.now - last_tick_;
  last_tick_ = run.now;
  if (away > longest_step) {
    for (auto& [id, gang] : gangs_) gang.heard = std::min(gang.heard + away, run.now);
  }
  std::map<GangId, Millis> lost;
  for (const auto& [id, gang] : gangs_) {
    Millis limit = gang.heard + options_.gang_timeout;
    if (!gang.connected) limit = std::max(limit, grace_until_);
    if (run.now > limit) lost[id] = run.now - gang.heard;
  }
  for (const auto& [id, silence] : lost) lose_gang(run, id, fmt::format("it was silent for {} s", silence / 1000));
  yield_again(run);
  end_silent(run, away > longest_step ? away : 0);
  end_overdue(run);
  preempt(run);
  forget_ended();
  stop_silent_launches(run);
  shrink(run);
  grow_ = true;
}

void Core::lose_gang(Running& run, const GangId& id, const std::string& reason, bool goodbye) {
  auto node = gangs_.extract(id);
  scheduler_.remove_gang(id, run.now);
  const GangState& gang = node.mapped();
  run.erase(Family::gangs, gang_key(id));
  event(run, fmt::format("gang {} lost: {}", short_id(id), reason));
  gang_of_launch_lost(run, gang, reason, goodbye);
  for (const Lease& lease : gang.leases) {
    if (Trial* leased = trial(lease.trial)) lose_lease(run, *leased, reason);
  }
}

}  // namespace hivq
