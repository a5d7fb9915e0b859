// What takes gangs away from trials: higher priorities, and gangs or hosts that shall get no new ones.

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core_running.h"

namespace hivq {

namespace {

constexpr Millis preemption_time = 1000;  // between two looks
constexpr size_t most_keys = 64;          // that are remembered of wishes to drain
constexpr std::string_view host_prefix = "host:";

std::string host_target(const std::string& host) { return std::string(host_prefix) + host; }

}  // namespace

void Core::preempt(Running& run) {
  if (run.now < next_preemption_ || scheduler_.waiting() == 0) return;
  next_preemption_ = run.now + preemption_time;
  for (const GangId& id : scheduler_.preempt(run.now)) {
    GangState& gang = gangs_.at(id);
    gang.preempted = true;
    event(run, fmt::format("gang {} shall give trial {} back: a higher priority waits", short_id(id),
                           to_string(gang.leases.begin()->trial)));
    yield(run, gang);
  }
}

const DrainRow* Core::drain_of(const GangState& gang) const {
  if (drains_.empty()) return nullptr;
  auto found = drains_.find(gang.hello.gang);
  if (found == drains_.end()) found = drains_.find(host_target(gang.hello.host));
  return found == drains_.end() ? nullptr : &found->second;
}

/// A host as it is said; a gang's whole name. Errors: no gang, or several, have such a name.
Result<std::string> Core::drain_target(const std::string& said) const {
  if (said.starts_with(host_prefix) && said.size() > host_prefix.size()) return said;
  if (gangs_.contains(said) || drains_.contains(said)) return said;
  std::vector<std::string> found;
  for (const auto& [id, gang] : gangs_) {
    if (!said.empty() && id.starts_with(said)) found.push_back(id);
  }
  if (found.size() == 1) return found[0];
  if (found.empty()) {
    return error("there is no gang {}; `hivq gangs` shows them (a host is written host:NAME)", said);
  }
  return error("{} gangs have a name that begins with {}; give more of it", found.size(), said);
}

void Core::on(Running& run, const std::string& peer, const SetDrained& wish, uint64_t request) {
  auto target = drain_target(wish.target);
  if (!target) return run.reply(peer, request, Failed{target.error().message});
  // A repetition may arrive after a later wish to the contrary.
  if (wish.key.empty() || std::find(drain_keys_.begin(), drain_keys_.end(), wish.key) == drain_keys_.end()) {
    if (!wish.key.empty()) drain_keys_.push_back(wish.key);
    if (drain_keys_.size() > most_keys) drain_keys_.erase(drain_keys_.begin());
    run.put(Family::meta, drain_keys_key, pack(drain_keys_));
    set_drained(run, {*target, wish.to_the_end}, wish.drained);
  }
  DrainSet answer{*target, 0, 0};
  for (const auto& [id, gang] : gangs_) {
    if (id != *target && host_target(gang.hello.host) != *target) continue;
    answer.gangs += 1;
    answer.running += gang.leases.size();
  }
  run.reply(peer, request, answer);
}

/// A gang that has ended does not come back.
void Core::forget_drain(Running& run, const GangId& id) {
  if (drains_.erase(id) > 0) run.erase(Family::gangs, drain_key(id));
}

void Core::set_drained(Running& run, const DrainRow& row, bool drained) {
  event(run, fmt::format("{} {}", row.target, drained ? "is drained: no new trials" : "may have trials again"));
  if (drained) {
    drains_[row.target] = row;
    run.put(Family::gangs, drain_key(row.target), pack(row));
  } else {
    drains_.erase(row.target);
    run.erase(Family::gangs, drain_key(row.target));
  }
  for (auto& [id, gang] : gangs_) {
    if (id != row.target && host_target(gang.hello.host) != row.target) continue;
    if (drain_of(gang) != nullptr) scheduler_.set_idle(id, false);  // otherwise its next heartbeat offers it again
    if (must_yield(gang)) {
      yield(run, gang);
    } else {
      keep_pack(gang);
    }
  }
}

}  // namespace hivq
