// What begins later and what ends early: jobs that come after others, trials that are tried again, time limits.

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core_running.h"

namespace hivq {

// ---- Jobs after others ----

/// Notes the jobs that it waits for. Errors: there is no such job, or one that should have finished has not.
Status Core::wait_for_jobs(Job& owner) const {
  Status status;
  for (int64_t number : owner.spec.after) {
    const auto id = static_cast<JobId>(number);
    if (jobs_.contains(id) && id != owner.row.id) {
      owner.after.insert(id);
    } else if (auto outcome = outcomes_.find(id); outcome == outcomes_.end()) {
      return error("after names job {}, but there is none; `hivq list` shows them", id);
    } else if (outcome->second != State::finished && !owner.spec.after_any) {
      status = error("after names job {}, which has {}; leave it out, or set after_any: true", id,
                     outcome->second == State::failed ? "failed" : "been cancelled");
    }
  }
  return status;
}

/// Jobs have ended: those that waited for them begin, or end too.
void Core::settle(Running& run) {
  while (!settling_.empty()) {
    const JobId id = settling_.back();
    settling_.pop_back();
    if (Job* failed = job(id)) {  // loaded after what it waits for has failed
      cancel_job(run, *failed, "a job that it comes after has not finished");
      continue;
    }
    auto node = dependents_.extract(id);
    if (node.empty()) continue;
    const State outcome = outcomes_.at(id);
    for (JobId later : node.mapped()) {
      Job* owner = job(later);
      if (owner == nullptr || owner->after.erase(id) == 0) continue;
      if (outcome != State::finished && !owner->spec.after_any) {
        cancel_job(run, *owner,
                   fmt::format("job {}, which it comes after, has {}", id,
                               outcome == State::failed ? "failed" : "been cancelled"));
      } else if (owner->after.empty()) {
        begin_after(run, *owner);
      }
    }
  }
}

/// A trial that starts from one of a job that has not ended: from what that leaves behind.
bool Core::starts_later(const Job& owner, const TrialSpec& spec) const {
  const auto source = parse_trial_id(spec.train.start_from);
  return source && owner.after.contains(source->job);
}

/// Nothing is before it any more.
void Core::begin_after(Running& run, Job& owner) {
  const JobId id = owner.row.id;
  event(run, fmt::format("job {} may begin: what it comes after has ended", id));
  std::vector<uint64_t> pending;
  for (const auto& [index, trial] : owner.trials) {
    if (trial.row.state == State::pending) pending.push_back(index);
  }
  for (uint64_t index : pending) {
    Job* still = job(id);
    if (still == nullptr) return;  // its last trial could not start
    Trial& trial = still->trials.at(index);
    const bool from_another =
        !still->spec.trial.train.start_from.empty() || trial.row.params.contains("train.start_from");
    if (from_another && trial.row.start_step < 0) {
      auto spec = spec_of(*still, index);
      Status possible = spec ? set_start(trial, *spec) : Status(spec.error());
      if (!possible) {
        end_trial(run, *still, trial, State::failed, possible.error().message);
        continue;
      }
      if (needs_start(trial)) hold_start(run, trial);
      put(run, trial.row);
    }
    wait(trial);
  }
}

/// After a restart: jobs came after one that has failed now, as not valid in this version, and may begin all the same.
void Core::begin_after_invalid(Running& run, const Reasons& invalid) {
  std::vector<JobId> ready;
  for (const auto& [id, owner] : jobs_) {
    const auto& after = owner.spec.after;
    const auto is_invalid = [&](int64_t earlier) { return invalid.contains(static_cast<JobId>(earlier)); };
    if (owner.spec.after_any && owner.after.empty() && std::any_of(after.begin(), after.end(), is_invalid)) {
      ready.push_back(id);
    }
  }
  for (JobId id : ready) begin_after(run, *job(id));
}

/// The first of its trials begins.
void Core::begin_job(Running& run, Job& owner) {
  if (owner.row.started != 0) return;
  owner.row.started = run.now;
  if (owner.spec.max_job_seconds > 0) {
    job_deadlines_.insert({run.now + 1000 * owner.spec.max_job_seconds, owner.row.id});
  }
  put(run, owner.row);
}

// ---- Retries ----

/// The first lost gang may be a gang's fault and costs no time; each one more doubles the wait.
Millis Core::retry_wait(const Job& owner, const Trial& trial) const {
  if (trial.row.attempts < 2) return 0;
  Millis wait = 1000 * owner.spec.retry_seconds;
  for (uint64_t doubled = 2; doubled < trial.row.attempts && wait < options_.longest_retry; ++doubled) wait *= 2;
  return std::min(wait, options_.longest_retry);
}

void Core::retry_due(Running& run) {
  while (!retries_.empty() && retries_.begin()->first <= run.now) {
    const TrialId id = retries_.begin()->second;
    retries_.erase(retries_.begin());
    Trial* due = trial(id);
    if (due != nullptr && due->row.state == State::pending) wait(*due);
  }
}

// ---- Time limits ----

/// Whether the trial's time runs.
void Core::watch_time(const Job& owner, const Trial& trial, bool there) {
  if (owner.spec.max_trial_seconds == 0 || trial.lease->at == 0) return;
  const std::pair<Millis, TrialId> entry{trial.lease->at + 1000 * owner.spec.max_trial_seconds - trial.row.ran,
                                         trial.row.id};
  if (there) {
    deadlines_.insert(entry);
  } else {
    deadlines_.erase(entry);
  }
}

void Core::end_overdue(Running& run) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= run.now) {
    const TrialId id = deadlines_.begin()->second;
    deadlines_.erase(deadlines_.begin());
    Trial* late = trial(id);
    if (late == nullptr || !late->lease || !late->lease->live) continue;
    Job& owner = *job(id.job);
    if (!owner.spec.study) run.tell(late->lease->gang, Refused{late->lease->lease, "its time is over"});
    end_trial(run, owner, *late, State::failed,
              fmt::format("it ran for longer than max_trial_seconds, which is {}", owner.spec.max_trial_seconds));
  }
  while (!job_deadlines_.empty() && job_deadlines_.begin()->first <= run.now) {
    const JobId id = job_deadlines_.begin()->second;
    job_deadlines_.erase(job_deadlines_.begin());
    if (Job* owner = job(id)) {
      cancel_job(run, *owner,
                 fmt::format("the job took longer than max_job_seconds, which is {}", owner->spec.max_job_seconds));
    }
  }
}

}  // namespace hivq
