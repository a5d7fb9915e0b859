// Jobs that are held or have another priority, and trials that their gangs give back.

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core_running.h"

namespace hivq {

namespace {
constexpr size_t most_keys = 64;  // that are remembered of a job's wishes
}

/// A repetition may arrive after a later wish to the contrary.
bool Core::is_new_wish(JobRow& row, const std::string& key) {
  auto& keys = row.pause_keys;
  if (key.empty()) return true;
  if (std::find(keys.begin(), keys.end(), key) != keys.end()) return false;
  keys.push_back(key);
  if (keys.size() > most_keys) keys.erase(keys.begin());
  return true;
}

void Core::on(Running& run, const std::string& peer, const SetPaused& wish, uint64_t request) {
  Job* owner = job(wish.job);
  if (owner == nullptr) {
    bool known = wish.job != 0 && wish.job < next_job_;
    return run.reply(peer, request,
                     Failed{known ? fmt::format("job {} has ended: there is nothing to {}", wish.job,
                                                wish.paused ? "pause" : "resume")
                                  : fmt::format("there is no job {}; `hivq list` shows them", wish.job)});
  }
  if (is_new_wish(owner->row, wish.key)) {
    if (owner->row.paused != wish.paused) set_paused(run, *owner, wish.paused);
    put(run, owner->row);
  }
  PausedSet answer;
  for (const auto& [index, trial] : owner->trials) {
    answer.running += trial.row.state == State::running;
    answer.waiting += trial.row.state == State::pending;
  }
  run.reply(peer, request, answer);
}

void Core::set_paused(Running& run, Job& owner, bool paused) {
  owner.row.paused = paused;
  event(run, fmt::format("job {} {}", owner.row.id, paused ? "paused" : "resumed"));
  for (auto& [index, trial] : owner.trials) {
    if (trial.row.state != State::pending) continue;
    if (paused) {
      wait_no_more(trial);
    } else {
      wait(trial);
    }
  }
  for (auto& [id, gang] : gangs_) {
    if (gang.leases.empty() || gang.leases.begin()->trial.job != owner.row.id) continue;
    if (paused) {
      yield(run, gang);
    } else {
      keep_pack(gang);
    }
  }
}

void Core::on(Running& run, const std::string& peer, const SetPriority& wish, uint64_t request) {
  Job* owner = job(wish.job);
  if (owner == nullptr) {
    const bool known = wish.job != 0 && wish.job < next_job_;
    return run.reply(peer, request,
                     Failed{known ? fmt::format("job {} has ended: its priority decides nothing any more", wish.job)
                                  : fmt::format("there is no job {}; `hivq list` shows them", wish.job)});
  }
  if (wish.priority > most_priority || wish.priority < -most_priority) {
    return run.reply(peer, request, Failed{fmt::format("priority is {}; it must be from {} to {}", wish.priority,
                                                       -most_priority, most_priority)});
  }
  const Status allowed = options_.policy.allows(owner->row.user, owner->spec.project, wish.priority);
  if (!allowed) return run.reply(peer, request, Failed{allowed.error().message});
  if (is_new_wish(owner->row, wish.key)) {
    if (owner->row.priority != wish.priority) set_priority(run, *owner, wish.priority);
    put(run, owner->row);
  }
  run.reply(peer, request, PrioritySet{owner->row.priority});
}

/// What waits is put where it belongs now.
void Core::set_priority(Running& run, Job& owner, int64_t priority) {
  event(run, fmt::format("job {} has the priority {}, it had {}", owner.row.id, priority, owner.row.priority));
  std::vector<const Trial*> waiting;
  for (auto& [index, trial] : owner.trials) {
    if (trial.row.state == State::pending && !owner.held() && !owner.spec.study) waiting.push_back(&trial);
  }
  for (const Trial* trial : waiting) wait_no_more(*trial);
  owner.row.priority = owner.spec.priority = priority;
  for (const Trial* trial : waiting) wait(*trial);
  for (const auto& [id, gang] : gangs_) {
    if (!gang.leases.empty() && gang.leases.begin()->trial.job == owner.row.id) scheduler_.set_priority(id, priority);
  }
}

void Core::yield(Running& run, GangState& gang) {
  if (gang.leases.empty()) return;
  gang.yield_asked = run.now;
  scheduler_.set_yielding(gang.hello.gang, true);
  run.tell(gang.hello.gang, Yield{gang.leases.begin()->epoch});
}

bool Core::must_yield(const GangState& gang) const {
  if (gang.leases.empty()) return false;
  const DrainRow* drain = drain_of(gang);
  return gang.preempted || paused(gang.leases.begin()->trial.job) || (drain != nullptr && !drain->to_the_end) ||
         (closing_ && ends_with_us(gang));
}

/// It is not asked again, where nothing else wants its pack back.
void Core::keep_pack(GangState& gang) {
  if (must_yield(gang)) return;
  gang.yield_asked.reset();
  scheduler_.set_yielding(gang.hello.gang, false);
}

void Core::on(Running& run, const Closing&) {
  closing_ = true;
  for (auto& [id, gang] : gangs_) {
    if (must_yield(gang)) yield(run, gang);
  }
}

bool Core::local_gangs_busy() const {
  return std::any_of(gangs_.begin(), gangs_.end(), [&](const auto& entry) {
    return ends_with_us(entry.second) && !entry.second.leases.empty();
  });
}

void Core::yield_again(Running& run) {
  for (auto& [id, gang] : gangs_) {
    if (gang.yield_asked && run.now - *gang.yield_asked >= options_.yield_again) yield(run, gang);
  }
}

/// The trial waits again, and goes on where it stopped; to be asked for it was no attempt.
void Core::take_back(Running& run, Trial& trial) {
  end_lease(run, trial);
  trial.row.state = State::pending;
  trial.row.attempts -= 1;
  put(run, trial.row);
  wait(trial);
  event(run, fmt::format("trial {} was given back at step {}", to_string(trial.row.id),
                         std::max<int64_t>(0, checkpoint_step(trial.row.id))));
}

}  // namespace hivq
