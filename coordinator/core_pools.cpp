// Gangs that this coordinator launches: pools that grow with what waits and shrink with what is idle.

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core_running.h"

namespace hivq {

namespace {

constexpr uint64_t most_fruitless_launches = 3;  // before the trials that wait for the pool fail
constexpr Millis longest_pause = 60'000;         // between two of them
constexpr Millis spill_after = 60'000;           // in an engine's queue: then another pool may start a gang as well
constexpr int most_decisions = 64;               // of one step; the next one goes on
constexpr size_t most_earlier = 64;              // gangs of a launch that are remembered

/// 1, 2, 3 seconds, then ever twice as long.
Millis pause_after(uint64_t fruitless) {
  if (fruitless <= most_fruitless_launches) return 1000 * static_cast<Millis>(fruitless);
  return std::min(longest_pause, Millis{3000} << std::min<uint64_t>(fruitless - most_fruitless_launches, 10));
}

std::string gangs_text(uint64_t count) { return fmt::format("{} gang{}", count, count == 1 ? "" : "s"); }

}  // namespace

/// After the gangs.
void Core::load_launches(Running& run, std::vector<LaunchRow> rows) {
  for (const Pool& pool : options_.pools) {
    PoolState state;
    state.pool = pool;
    state.labels = gang_labels(pool);
    pools_.push_back(std::move(state));
  }
  for (auto& row : rows) {
    if (row.gang.empty()) {  // stored by a version that did not note it
      const auto of_launch = [&](const auto& gang) { return gang.second.hello.launch == row.id; };
      const auto gang = std::find_if(gangs_.begin(), gangs_.end(), of_launch);
      if (gang != gangs_.end()) row.gang = gang->first;
    }
    const std::string id = row.id;
    OwnLaunch& own = launches_[id];
    own.row = std::move(row);
    own.since = run.now;
    PoolState* state = pool_of(id);
    if (state == nullptr) continue;
    state->launches += 1;
    if (own.row.useful) state->proven.insert(own.row.ranks);
  }
}

// ---- Lookup ----

/// Nothing where the pool is not among the options any more.
Core::PoolState* Core::pool_of(const std::string& launch) {
  const auto own = launches_.find(launch);
  if (own == launches_.end()) return nullptr;
  const auto named = [&](const PoolState& state) { return state.pool.name == own->second.row.pool; };
  const auto found = std::find_if(pools_.begin(), pools_.end(), named);
  return found == pools_.end() ? nullptr : &*found;
}

/// What its gang will be.
Kind Core::kind_of(const OwnLaunch& own) const {
  const PoolState* state = pool_of(own.row.id);
  return {own.row.ranks, state != nullptr ? state->labels : Labels{{pool_label, own.row.pool}}};
}

/// The gang that the pool would start for a trial; it may not fit.
Kind Core::kind_of(const PoolState& state, const Need& need) {
  uint64_t ranks = state.pool.ranks;
  if (ranks == 0) ranks = need.ranks != 0 ? need.ranks : state.pool.default_ranks;
  return {ranks, state.labels};
}

uint64_t Core::gangs_of(const std::string& pool) const {
  const auto named = [&](const PoolState& state) { return state.pool.name == pool; };
  const auto found = std::find_if(pools_.begin(), pools_.end(), named);
  return found == pools_.end() ? 0 : found->launches;
}

bool Core::ends_with_us(const GangState& gang) const {
  const PoolState* state = pool_of(gang.hello.launch);
  return launches_.contains(gang.hello.launch) && (state == nullptr || !state->pool.stays);
}

bool Core::spoke(const std::string& launch) const {
  const auto own = launches_.find(launch);
  return own != launches_.end() && gangs_.contains(own->second.row.gang);
}

bool Core::on_its_way(const OwnLaunch& own) const {
  return !own.lost && !spoke(own.row.id) && !stopping_.contains(own.row.id);
}

/// Gangs that fit, busy ones too, and those on their way.
uint64_t Core::fitting_gangs(const Need& need) const {
  uint64_t fitting = 0;
  for (const auto& [id, gang] : gangs_) {
    fitting += fits(need, {gang.hello.ranks, gang.hello.labels}) && !gang.leaving && !drained(gang);
  }
  for (const auto& [id, own] : launches_) fitting += on_its_way(own) && fits(need, kind_of(own));
  return fitting;
}

/// Gangs that trials need not wait for much longer: those without a trial (of a quota that leaves no room), and those
/// on their way.
std::vector<Core::ComingGang> Core::coming_gangs() const {
  std::vector<ComingGang> coming;
  for (const auto& [id, gang] : gangs_) {
    if (!gang.leases.empty() || gang.leaving || !gang.connected || drained(gang)) continue;
    coming.push_back({{gang.hello.ranks, gang.hello.labels}, ""});
  }
  for (const auto& [id, own] : launches_) {
    if (!on_its_way(own)) continue;
    const bool stuck = own.queued && now_ - own.since > spill_after;
    coming.push_back({kind_of(own), stuck ? own.row.pool : ""});
  }
  return coming;
}

// ---- Growing ----

/// Starts a gang for trials that wait although too few gangs that fit them are idle or on their way: in the first pool
/// that fits and can. All of a step at once, so that an engine can be asked for them together; looked at when time
/// passes, and when there may be more to do.
void Core::launch_gangs(Running& run) {
  if (pools_.empty()) return;
  // What waits comes first: the minimum is of any size, and room that was made for a trial must not be taken from it.
  for (int decisions = 0; grow_ && decisions < most_decisions; ++decisions) grow_ = grow(run) || keep_minimum(run);
}

bool Core::grow(Running& run) {
  if (scheduler_.waiting() == 0) return false;
  std::vector<ComingGang> coming = coming_gangs();
  for (const Demand& demand : scheduler_.demands()) {
    const PoolState* full = nullptr;
    for (PoolState& state : pools_) {
      const Kind kind = kind_of(state, demand.need);
      if (!fits(demand.need, kind) || run.now < state.next_launch) continue;
      if (state.launches >= state.pool.maximum) {
        if (full == nullptr && state.pool.maximum > 0) full = &state;
        continue;
      }
      // What stands in another engine's queue for long keeps no pool from growing.
      const auto count = std::count_if(coming.begin(), coming.end(), [&](const ComingGang& gang) {
        return fits(demand.need, gang.kind) && (gang.stuck_in.empty() || gang.stuck_in == state.pool.name);
      });
      if (static_cast<uint64_t>(count) >= scheduler_.startable(demand.need, kind.ranks)) continue;
      launch(run, state, kind.ranks);
      return true;
    }
    if (full != nullptr && fitting_gangs(demand.need) == 0 && make_room(run, *full, demand.need)) return true;
    // Each of them is for one trial, the first in order.
    uint64_t left = demand.trials;
    std::erase_if(coming,
                  [&](const ComingGang& gang) { return left > 0 && fits(demand.need, gang.kind) && left-- > 0; });
  }
  return false;
}

bool Core::keep_minimum(Running& run) {
  for (PoolState& state : pools_) {
    const Pool& pool = state.pool;
    if (state.launches >= std::min(pool.minimum, pool.maximum) || run.now < state.next_launch) continue;
    launch(run, state, pool.ranks == 0 ? pool.default_ranks : pool.ranks);
    return true;
  }
  return false;
}

void Core::launch(Running& run, PoolState& state, uint64_t ranks) {
  // Named by the event that tells of it, so no two launches of a store share a name.
  OwnLaunch own;
  own.row.id = std::to_string(next_event_);
  own.row.ranks = ranks;
  own.row.pool = state.pool.name;
  own.row.at = own.since = run.now;
  state.launches += 1;
  event(run, fmt::format("pool {} starts a gang of {} rank{}: {} of {}", state.pool.name, ranks, ranks == 1 ? "" : "s",
                         state.launches, state.pool.maximum));
  put(run, own.row);
  run.effects.launches.push_back({own.row.id, ranks, own.row.pool});
  launches_.emplace(own.row.id, std::move(own));
}

/// An idle gang of another size ends, in a pool whose gangs have any. False: there is none.
bool Core::make_room(Running& run, const PoolState& state, const Need& need) {
  if (state.pool.ranks != 0 || state.stopping > 0) return false;
  for (const auto& id : scheduler_.idle_gangs()) {
    const Hello& hello = gangs_.at(id).hello;
    if (pool_of(hello.launch) != &state || fits(need, {hello.ranks, hello.labels})) continue;
    end_idle(run, id, fmt::format("{} is needed", to_string(need)), "a gang of another size is needed");
    return true;
  }
  return false;
}

/// New work: whoever submitted it may have mended what was wrong.
void Core::try_pools_again() {
  for (PoolState& state : pools_) {
    state.fruitless = state.setbacks = 0;
    state.next_launch = 0;
  }
  grow_ = true;
}

// ---- Shrinking ----

void Core::shrink(Running& run) {
  if (pools_.empty() || closing_) return;
  const std::vector<Demand> demands = scheduler_.demands();
  for (auto& [id, own] : launches_) {
    const Kind kind = kind_of(own);
    const bool wanted = spoke(id) || std::any_of(demands.begin(), demands.end(), [&](const Demand& demand) {
                          return fits(demand.need, kind) && scheduler_.startable(demand.need, kind.ranks) > 0;
                        });
    if (wanted) {
      own.unwanted = 0;
    } else if (own.unwanted == 0) {
      own.unwanted = run.now;
    }
  }
  for (PoolState& state : pools_) shrink(run, state);
}

/// Since when the launch does nothing; nothing where it does.
std::optional<Millis> Core::idle_since(const OwnLaunch& own) const {
  const auto found = gangs_.find(own.row.gang);
  if (found == gangs_.end()) return own.unwanted == 0 ? std::nullopt : std::optional(own.unwanted);
  const GangState& gang = found->second;
  const bool idle = gang.connected && !gang.leaving && gang.leases.empty() && gang.progress.empty();
  return idle ? std::optional(gang.busy) : std::nullopt;
}

/// What has been idle for longest ends first; beyond the maximum, after a restart with a lower one, at once.
void Core::shrink(Running& run, PoolState& state) {
  while (state.launches - state.stopping > std::min(state.pool.minimum, state.pool.maximum)) {
    const bool over = state.launches - state.stopping > state.pool.maximum;
    if (!over && state.pool.idle == 0) return;
    std::optional<std::pair<Millis, std::string>> longest;
    for (const auto& [id, own] : launches_) {
      if (own.row.pool != state.pool.name || stopping_.contains(id)) continue;
      const auto since = idle_since(own);
      if (since && (!longest || *since < longest->first)) longest = {*since, id};
    }
    if (!longest || (!over && run.now - longest->first < state.pool.idle)) return;
    const Millis idle = (run.now - longest->first) / 1000;
    const std::string why = over ? fmt::format("pool {} shrinks to {}", state.pool.name, gangs_text(state.pool.maximum))
                                 : fmt::format("pool {} shrinks: it had nothing to do for {} s", state.pool.name, idle);
    OwnLaunch& own = launches_.at(longest->second);
    if (gangs_.contains(own.row.gang)) {
      end_idle(run, own.row.gang, why, "there was nothing to do");
    } else {
      event(run, fmt::format("the gang of pool {} that was to come is not needed any more", state.pool.name));
      own.dismissed = true;
      mark_useful(run, own.row.id);
      stop_launch(run, own.row.id);
    }
  }
}

void Core::end_idle(Running& run, const GangId& id, const std::string& why, const std::string& leave) {
  GangState& gang = gangs_.at(id);
  event(run, fmt::format("gang {} ends: {}", short_id(id), why));
  gang.leaving = true;
  run.tell(id, Leave{leave});
  if (const auto own = launches_.find(gang.hello.launch); own != launches_.end()) own->second.dismissed = true;
  mark_useful(run, gang.hello.launch);
  stop_launch(run, gang.hello.launch);
  scheduler_.set_idle(id, false);
}

void Core::stop_launch(Running& run, const std::string& launch) {
  if (!stopping_.insert(launch).second) return;
  run.effects.stops.push_back(launch);
  if (PoolState* state = pool_of(launch)) state->stopping += 1;
}

// ---- What becomes of a launch ----

/// False: the gang was told to leave. Its engine may have started its launch again, so that another gang speaks for it.
bool Core::may_speak(Running& run, const GangId& peer, const Hello& hello) {
  if (hello.launch.empty()) return true;
  const auto found = launches_.find(hello.launch);
  if (found == launches_.end()) {
    run.tell(peer, Leave{"the coordinator does not know this launch, or it has ended"});
    return false;
  }
  LaunchRow& row = found->second.row;
  if (stopping_.contains(row.id) || std::find(row.earlier.begin(), row.earlier.end(), peer) != row.earlier.end()) {
    run.tell(peer, Leave{"the coordinator has ended this launch"});
    return false;
  }
  found->second.lost = found->second.queued = false;
  if (row.gang == peer) return true;
  const GangId before = std::exchange(row.gang, peer);
  if (!before.empty()) row.earlier.push_back(before);
  if (row.earlier.size() > most_earlier) row.earlier.erase(row.earlier.begin());
  put(run, row);
  if (gangs_.contains(before)) lose_gang(run, before, "its engine has started it again");
  return true;
}

/// Where the engine starts its gangs again, one that said goodbye, because it was preempted, is waited for. One that
/// fell silent is not: the engine may believe for long that it runs.
void Core::gang_of_launch_lost(Running& run, const GangState& gang, const std::string& reason, bool goodbye) {
  const auto found = launches_.find(gang.hello.launch);
  if (found == launches_.end() || found->second.row.gang != gang.hello.gang) return;
  if (found->second.queued || stopping_.contains(gang.hello.launch)) return;
  const PoolState* state = pool_of(gang.hello.launch);
  if (state == nullptr || !state->pool.returns || !goodbye) return stop_launch(run, gang.hello.launch);
  found->second.lost = true;
  found->second.since = run.now;
  found->second.text = reason;
}

void Core::mark_useful(Running& run, const std::string& launch) {
  const auto found = launches_.find(launch);
  if (found == launches_.end()) return;
  if (PoolState* state = pool_of(launch); state != nullptr && spoke(launch)) {
    state->fruitless = state->setbacks = 0;
    state->proven.insert(found->second.row.ranks);
  }
  if (!std::exchange(found->second.row.useful, true)) put(run, found->second.row);
}

void Core::put(Running& run, const LaunchRow& row) { run.put(Family::gangs, launch_key(row.id), pack(row)); }

void Core::on(Running& run, const LaunchStarted& started) {
  const auto found = launches_.find(started.launch);
  if (found == launches_.end()) return;
  found->second.row.handle = started.handle;
  put(run, found->second.row);
}

void Core::on(Running& run, const LaunchWaits& waits) {
  const auto found = launches_.find(waits.launch);
  if (found == launches_.end()) return;
  OwnLaunch& own = found->second;
  if (own.queued != waits.queued || own.lost) own.since = run.now;
  own.queued = waits.queued;
  own.text = waits.text;
  if (!own.queued) return;
  if (std::exchange(own.lost, false)) event(run, fmt::format("pool {}: {}", own.row.pool, waits.text));
  // Its engine has put it back into its queue.
  if (const GangId gang = own.row.gang; gangs_.contains(gang)) lose_gang(run, gang, waits.text);
}

void Core::stop_silent_launches(Running& run) {
  for (const auto& [id, own] : launches_) {
    if (own.queued || stopping_.contains(id) || spoke(id)) continue;
    const PoolState* state = pool_of(id);
    const Millis limit =
        state != nullptr && state->pool.start_within > 0 ? state->pool.start_within : options_.launch_timeout;
    if (run.now <= own.since + limit) continue;
    event(run, fmt::format("pool {}: no gang came within {} s{}{}", own.row.pool, limit / 1000,
                           own.text.empty() ? "" : ": ", own.text));
    stop_launch(run, id);
  }
}

void Core::on(Running& run, const LaunchEnded& end) {
  const auto found = launches_.find(end.launch);
  if (found == launches_.end()) return;
  PoolState* state = pool_of(end.launch);
  const OwnLaunch own = std::move(found->second);
  launches_.erase(found);
  const bool asked = stopping_.erase(end.launch) > 0;
  run.erase(Family::gangs, launch_key(end.launch));
  std::vector<GangId> gone;
  for (const auto& [id, gang] : gangs_) {
    if (gang.hello.launch == end.launch) gone.push_back(id);
  }
  for (const auto& id : gone) {
    forget_drain(run, id);
    lose_gang(run, id, end.reason);
  }
  grow_ = true;
  if (state == nullptr) return;
  state->launches -= 1;
  if (asked) state->stopping -= 1;
  if (own.row.useful && !own.dismissed && gone.empty()) {
    event(run, fmt::format("pool {}: the gang that was lost has ended: {}", state->pool.name, end.reason));
  }
  if (own.row.useful) return;
  // It ended before its gang did any work: wait a little longer each time, then give up.
  event(run, fmt::format("pool {}: a gang ended before it had a trial: {}", state->pool.name, end.reason));
  state->setbacks += 1;
  if (!end.blameless) state->fruitless += 1;
  state->trouble = end.reason;
  state->next_launch = run.now + pause_after(state->setbacks);
  if (state->fruitless >= most_fruitless_launches && !end.blameless) give_up_launching(run);
}

/// Trials that no gang serves, and for which no pool can start one, fail.
void Core::give_up_launching(Running& run) {
  std::vector<std::pair<TrialId, std::string>> stuck;
  for (const Demand& demand : scheduler_.demands()) {
    if (fitting_gangs(demand.need) > 0) continue;
    const PoolState* broken = nullptr;
    bool hope = false;
    for (const PoolState& state : pools_) {
      if (state.pool.maximum == 0 || !fits(demand.need, kind_of(state, demand.need))) continue;
      broken = &state;
      const bool proven = state.proven.contains(kind_of(state, demand.need).ranks);
      hope |= proven || state.fruitless < most_fruitless_launches;
    }
    if (hope || broken == nullptr) continue;
    const std::string reason = fmt::format("no gang could be started in pool {}, {} times in a row: {}",
                                           broken->pool.name, broken->fruitless, broken->trouble);
    for (const TrialId& id : scheduler_.trials_of(demand.need)) {
      if (trial(id)->row.attempts == 0) stuck.push_back({id, reason});  // for others there was a gang
    }
  }
  for (const auto& [id, reason] : stuck) propose_no_more(run, *job(id.job));
  for (const auto& [id, reason] : stuck) {
    Job* owner = job(id.job);  // it may have ended with the one before
    if (Trial* waits = owner != nullptr ? trial(id) : nullptr) end_trial(run, *owner, *waits, State::failed, reason);
  }
}

// ---- For people ----

/// What the pools do for trials that wait; empty: nothing. `none`: no gang that fits is there.
std::string Core::growing(const Need& need, bool none) const {
  for (const auto& [id, own] : launches_) {
    if (!on_its_way(own) || !fits(need, kind_of(own))) continue;
    const PoolState* state = pool_of(id);
    std::string text = own.text;
    if (text.empty() && state != nullptr && state->setbacks > 0) text = "the last one ended: " + state->trouble;
    return fmt::format("pool {} is starting a gang{}{}", own.row.pool, text.empty() ? "" : ": ", text);
  }
  std::string full, broken;
  for (const PoolState& state : pools_) {
    const Pool& pool = state.pool;
    if (pool.maximum == 0 || !fits(need, kind_of(state, need))) continue;
    if (state.launches >= pool.maximum) {
      full += fmt::format("{}pool {} is full ({})", full.empty() ? "" : ", ", pool.name, gangs_text(pool.maximum));
    } else if (now_ < state.next_launch) {
      broken +=
          fmt::format("{}pool {} could not start a gang: {}; it is tried again in {} s", broken.empty() ? "" : ". ",
                      pool.name, state.trouble, (state.next_launch - now_ + 999) / 1000);
    } else if (none) {
      return fmt::format("pool {} is starting a gang", pool.name);
    }
  }
  return broken.empty() || full.empty() ? broken + full : broken + ". " + full;
}

}  // namespace hivq
