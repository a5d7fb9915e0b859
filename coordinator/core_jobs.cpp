// Jobs: how they are submitted, cancelled, loaded after a restart, and how trials and leases end.

#include <fmt/format.h>

#include <algorithm>

#include "common/sha256.h"
#include "coordinator/core_running.h"
#include "jobs/fusion.h"
#include "jobs/search/objectives.h"
#include "jobs/study.h"

namespace hivq {

namespace {

constexpr int64_t most_trials = 100'000;  // of one job

std::map<std::string, std::string> readable(const Params& params) {
  std::map<std::string, std::string> text;
  for (const auto& [key, value] : params) text[key] = to_string(value);
  return text;
}

/// Trials that are made at the submission: all, or the first one, where the others depend on how that goes.
/// Those of a study are made when a client asks for one.
int64_t made_at_once(const JobSpec& spec, const Searcher& searcher) {
  return spec.study ? 0 : searcher.adaptive() ? 1 : searcher.size();
}

void count(JobRow& row, State state) {
  row.finished += state == State::finished;
  row.failed += state == State::failed;
  row.cancelled += state == State::cancelled;
}

uint64_t open_trials(const JobRow& row) { return row.trials - row.finished - row.failed - row.cancelled; }

std::string fusion_of(const TrialSpec& spec) {
  return spec.gang.fuse == 1 ? "" : sha256_hex(fusion_key(spec)).substr(0, 15);
}

}  // namespace

Result<Core::Job> Core::make_job(JobRow row, const std::string& file) {
  auto spec = parse_job(row.yaml, file);
  if (!spec) return spec.error();
  Job made{std::move(row), std::move(*spec), nullptr, nullptr, {}, {}};
  made.searcher = make_searcher(made.spec);
  made.metrics = metrics_of(made.spec.sweep.value_or(SweepSpec{}));
  const int64_t epochs = made.spec.study ? made.spec.sweep->stop.max_epochs : made.spec.trial.train.epochs;
  if (made.spec.sweep) made.stopper = make_stopper(*made.spec.sweep, epochs);
  return made;
}

/// A trial's resolved values: the same whenever they are asked for.
Result<TrialSpec> Core::spec_of(const Job& owner, uint64_t index) {
  if (owner.searcher->adaptive()) {
    auto params = read_params(owner.trials.at(index).row.params);
    if (!params) return params.error();
    return with_params(owner.spec.trial, *params);
  }
  auto proposal = owner.searcher->propose(static_cast<int64_t>(index));
  if (!proposal) return error("the sweep has no such trial in this version");
  return with_params(owner.spec.trial, proposal->params);
}

/// After a restart: jobs that have not ended go on.
void Core::load(Running& run, Snapshot& snapshot) {
  const Reasons invalid = load_jobs(run, snapshot.jobs);
  checkpoints_ = std::move(snapshot.checkpoints);
  load_trials(run, snapshot.trials, invalid);
  for (auto& [id, owner] : jobs_) remember(owner, snapshot);
  for (auto& row : snapshot.jobs) {
    if (!invalid.contains(row.id)) continue;
    for (const auto& trial : snapshot.trials) {
      if (trial.id.job == row.id) count(row, trial.state);
    }
    put(run, row);
  }
  load_starts(run, snapshot);
  load_leases(run, snapshot.leases);
  for (auto& [id, gang] : gangs_) {
    if (must_yield(gang)) yield(run, gang);
  }
  begin_after_invalid(run, invalid);
}

/// Those that cannot go on, since they were written by another version with other rules, and why.
Core::Reasons Core::load_jobs(Running& run, std::vector<JobRow>& rows) {
  Reasons invalid;
  for (auto& row : rows) {
    if (!row.key.empty()) submissions_[row.key] = row.id;
    next_job_ = std::max(next_job_, row.id + 1);
    if (ended(row.state)) {
      outcomes_[row.id] = row.state;
      continue;
    }
    row.finished = row.failed = row.cancelled = 0;
    auto made = make_job(row, row.name + ".yaml");
    if (made) {
      made->spec.priority = row.priority;  // it may have been changed since
      jobs_.emplace(row.id, std::move(*made));
      continue;
    }
    row.state = State::failed;
    row.reason = "its specification is not valid in this version: " + made.error().message;
    row.ended = run.now;
    event(run, fmt::format("job {} failed: {}", row.id, row.reason));
    invalid[row.id] = row.reason;
    ended_now_.push_back(row.id);
    outcomes_[row.id] = row.state;
  }
  for (auto& [id, owner] : jobs_) {
    // One that failed meanwhile, with another version, ends it.
    if (!wait_for_jobs(owner)) settling_.push_back(id);
    for (JobId earlier : owner.after) dependents_[earlier].insert(id);
    if (owner.row.started != 0 && owner.spec.max_job_seconds > 0) {
      job_deadlines_.insert({owner.row.started + 1000 * owner.spec.max_job_seconds, id});
    }
  }
  return invalid;
}

void Core::load_trials(Running& run, std::vector<TrialRow>& rows, const Reasons& invalid) {
  for (auto& row : rows) {
    if (auto found = invalid.find(row.id.job); found != invalid.end() && !ended(row.state)) {
      row.state = State::failed;
      row.reason = found->second;
      row.ended = run.now;
      put(run, row);
    }
    Job* owner = job(row.id.job);
    if (owner == nullptr) continue;
    count(owner->row, row.state);
    auto [added, _] = owner->trials.emplace(row.id.index, Trial{std::move(row), std::nullopt});
    Trial& trial = added->second;
    if (ended(trial.row.state)) continue;
    if (trial.row.fuse > 1 && trial.row.fusion.empty()) {
      if (auto spec = spec_of(*owner, trial.row.id.index)) trial.row.fusion = fusion_of(*spec);
    }
    if (trial.row.state == State::pending) wait(trial);
  }
}

void Core::load_leases(Running& run, std::vector<LeaseRow>& rows) {
  for (auto& row : rows) {
    Trial* owner = trial(row.lease.trial);
    if (owner == nullptr) {
      if (row.live || !row.staged.empty()) {  // of a job that is not valid any more
        row.live = false;
        drop_staged(run, row);
        put(run, row);
      }
      continue;
    }
    owner->lease = std::move(row);
    if (job(owner->row.id.job)->spec.study) {
      hold_study_trial(*owner);
      continue;
    }
    if (!owner->lease->live) continue;
    auto gang = gangs_.find(owner->lease->gang);
    if (gang == gangs_.end()) {
      lose_lease(run, *owner, "its gang is not known any more");
      continue;
    }
    const Job& of = *job(owner->row.id.job);
    gang->second.leases.insert(owner->lease->lease);
    scheduler_.restore_run(gang->first, terms_of(of), owner->lease->at);
    watch_time(of, *owner, true);
  }
}

void Core::on(Running& run, const std::string& peer, const Submit& submit, uint64_t request) {
  if (auto known = submissions_.find(submit.key); known != submissions_.end()) {
    return run.reply(peer, request, Submitted{known->second});
  }
  JobRow row;
  row.id = next_job_;
  row.key = submit.key;
  row.yaml = submit.yaml;
  row.submitted = run.now;
  row.state = State::running;
  row.user = submit.user;
  auto made = make_job(std::move(row), submit.file);
  if (!made) return run.reply(peer, request, Failed{made.error().message});
  if (made->spec.study) {
    if (auto already = study_already(*made)) return run.reply(peer, request, std::move(*already));
    made->row.key = study_key(made->spec.name);
    made->row.yaml = to_yaml(made->spec);
  } else if (submit.key.starts_with(study_key(""))) {
    return run.reply(peer, request, Failed{fmt::format("a submission's key may not begin with {}", study_key(""))});
  }
  EarlierRow earlier;
  if (Status ready = prepare(*made, submit, earlier); !ready) {
    return run.reply(peer, request, Failed{fmt::format("{}: {}", submit.file, ready.error().message)});
  }
  ++next_job_;
  const JobId id = made->row.id;
  if (!made->row.key.empty()) submissions_[made->row.key] = id;
  put(run, made->row);
  if (!earlier.trials.empty()) run.put(Family::searchers, key_of(id), pack(earlier));
  event(run, fmt::format("job {} '{}' submitted: {} trials", id, made->row.name, made->row.trials));
  try_pools_again();
  run.reply(peer, request, Submitted{id});
  for (JobId source : made->after) dependents_[source].insert(id);
  Job& owner = jobs_.emplace(id, std::move(*made)).first->second;
  for (auto& [index, trial] : std::exchange(owner.trials, {})) add_trial(run, owner, std::move(trial));
  if (owner.spec.study) {
    owner.earlier = std::move(earlier.trials);
  } else if (owner.trials.size() < owner.row.trials) {
    searching_.insert(id);
  }
}

/// What a submitted job needs besides its specification: its place among the others, its trials, and the earlier ones
/// that its searcher learned from. Errors: what the user is told.
Status Core::prepare(Job& made, const Submit& submit, EarlierRow& earlier) const {
  const SweepSpec sweep = made.spec.sweep.value_or(SweepSpec{});
  made.row.name = made.spec.name;
  made.row.metric = sweep.metric;
  made.row.goal = sweep.goal;
  made.row.project = made.spec.project;
  made.row.priority = made.spec.priority;
  const Status allowed = options_.policy.allows(submit.user, made.spec.project, made.spec.priority);
  if (!allowed) return allowed;
  if (auto known = wait_for_jobs(made); !known) return known;
  const int64_t size = made.searcher->size();
  if (size < 1 || size > most_trials) {
    return error("the sweep has {} trials; it must have 1 to {}: {} its parameters", size, most_trials,
                 size < 1 ? "widen" : "narrow");
  }
  made.row.trials = static_cast<uint64_t>(size);
  auto found = earlier_trials(sweep);
  if (!found) return found.error();
  earlier = std::move(*found);
  for (const TrialRow& each : earlier.trials) made.searcher->recall(observation_of(made, each));
  for (int64_t index = 0; index < made_at_once(made.spec, *made.searcher); ++index) {
    auto trial = make_trial(made, static_cast<uint64_t>(index), made.searcher->propose(index).value());
    if (!trial) {
      const std::string which = made.spec.sweep ? fmt::format("trial {}: ", index) : "";
      return error("{}{}", which, trial.error().message);
    }
    made.trials.emplace(trial->row.id.index, std::move(*trial));
  }
  return {};
}

/// A trial that waits from now on.
void Core::add_trial(Running& run, Job& owner, Trial made) {
  Trial& trial = owner.trials.emplace(made.row.id.index, std::move(made)).first->second;
  put(run, trial.row);
  if (needs_start(trial)) hold_start(run, trial);
  wait(trial);
  tell(owner, trial.row);
}

/// A trial of a job. Errors: its parameters, or what it is to start from.
Result<Core::Trial> Core::make_trial(const Job& owner, uint64_t index, const Proposal& proposal) const {
  Params params = proposal.params;
  if (proposal.start_from) {
    params["train.start_from"] = to_string(TrialId{owner.row.id, static_cast<uint64_t>(*proposal.start_from)});
  }
  auto spec = with_params(owner.spec.trial, params);
  if (!spec) return spec.error();
  if (!owner.spec.study) {
    const Status allowed = within_roots(spec->data, spec->backbone, options_.roots, Links::as_named);
    if (!allowed) return allowed.error();
  }
  Trial trial;
  trial.row.id = {owner.row.id, index};
  trial.row.variant = proposal.variant;
  trial.row.params = readable(params);
  trial.row.ranks = static_cast<uint64_t>(spec->gang.ranks);
  trial.row.fuse = static_cast<uint64_t>(spec->gang.fuse);
  trial.row.fusion = fusion_of(*spec);
  if (starts_later(owner, *spec)) return trial;
  if (auto possible = set_start(trial, *spec); !possible) return possible.error();
  return trial;
}

void Core::on(Running& run, const std::string& peer, const Cancel& cancel, uint64_t request) {
  Job* owner = job(cancel.job);
  if (owner == nullptr) {
    bool known = cancel.job != 0 && cancel.job < next_job_;
    if (known) return run.reply(peer, request, Cancelled{0});  // the same again when the first answer was lost
    return run.reply(peer, request, Failed{fmt::format("there is no job {}; `hivq list` shows them", cancel.job)});
  }
  run.reply(peer, request, Cancelled{open_trials(owner->row)});
  cancel_job(run, *owner, "cancelled");
}

/// All of its trials that have not ended do, and with the last of them the job.
void Core::cancel_job(Running& run, Job& owner, const std::string& reason) {
  std::vector<Trial*> open;
  for (auto& [index, trial] : owner.trials) {
    if (!ended(trial.row.state)) open.push_back(&trial);
  }
  propose_no_more(run, owner);
  event(run, fmt::format("job {} cancelled: {} trials had not ended", owner.row.id, open.size()));
  for (Trial* trial : open) {
    if (trial->lease && trial->lease->live && !owner.spec.study) {
      run.tell(trial->lease->gang, Refused{trial->lease->lease, "the job was cancelled"});
    }
    // The last one ends the job and takes it out of memory.
    end_trial(run, owner, *trial, State::cancelled, reason);
  }
  // A job that was held may have had no trial at hand.
  if (open.empty()) end_job_if_done(run, owner, reason, true);
}

// ---- Ends ----

void Core::end_lease(Running& run, Trial& trial) {
  if (!trial.lease || !trial.lease->live) return;
  LeaseRow& lease = *trial.lease;
  watch_time(*job(trial.row.id.job), trial, false);
  study_heard_.erase(trial.row.id);
  lease.live = false;
  drop_staged(run, lease);
  put(run, lease);
  const Millis ran = lease.at == 0 ? 0 : std::max<Millis>(0, run.now - lease.at);
  trial.row.ran += ran;
  trial.row.rank_millis += static_cast<double>(ran) * static_cast<double>(lease.ranks) /
                           static_cast<double>(std::max<uint64_t>(1, lease.pack));
  auto gang = gangs_.find(lease.gang);
  if (gang == gangs_.end()) return;
  gang->second.leases.erase(lease.lease);
  if (gang->second.leases.empty()) scheduler_.ended(lease.gang, run.now);
}

void Core::lose_lease(Running& run, Trial& trial, const std::string& reason) {
  end_lease(run, trial);
  Job& owner = *job(trial.row.id.job);
  if (trial.row.attempts >= static_cast<uint64_t>(owner.spec.max_attempts)) {
    return end_trial(run, owner, trial, State::failed,
                     fmt::format("lost its gang {} times; the last one: {}", trial.row.attempts, reason));
  }
  const Millis pause = retry_wait(owner, trial);
  trial.row.state = State::pending;
  trial.row.not_before = pause == 0 ? 0 : run.now + pause;
  put(run, trial.row);
  wait(trial);
  const std::string later = pause == 0 ? "" : fmt::format(" in {} s", pause / 1000);
  event(run, fmt::format("trial {} waits for another gang{}: {}", to_string(trial.row.id), later, reason));
}

/// Erases the job, and with it `owner` and `trial`, when its last trial ends.
void Core::end_trial(Running& run, Job& owner, Trial& trial, State state, const std::string& reason) {
  wait_no_more(trial);
  end_lease(run, trial);
  if (needs_start(trial)) release_start(run, trial);
  trial.row.state = state;
  trial.row.reason = reason;
  trial.row.ended = run.now;
  trial.row.proposed.clear();
  put(run, trial.row);
  event(run,
        fmt::format("trial {} {}{}{}", to_string(trial.row.id), to_string(state), reason.empty() ? "" : ": ", reason));
  count(owner.row, state);
  retain_best_trials(run, owner);
  tell(owner, trial.row);
  end_job_if_done(run, owner, reason);
}

/// `reason`: of the last trial that ended. Erases the job where that was the last.
void Core::end_job_if_done(Running& run, Job& owner, const std::string& reason, bool cancelled) {
  JobRow& row = owner.row;
  if (row.finished + row.failed + row.cancelled < row.trials) return;
  row.ended = run.now;
  row.paused = false;
  row.state = cancelled || row.cancelled > 0 ? State::cancelled : row.finished > 0 ? State::finished : State::failed;
  if (row.state == State::failed || (row.state == State::cancelled && reason != "cancelled")) row.reason = reason;
  put(run, row);
  event(run, fmt::format("job {} {}", row.id, to_string(row.state)));
  ended_now_.push_back(row.id);
  outcomes_[row.id] = row.state;
  for (JobId earlier : owner.after) {
    if (auto later = dependents_.find(earlier); later != dependents_.end()) later->second.erase(row.id);
  }
  if (dependents_.contains(row.id)) settling_.push_back(row.id);
  if (row.started != 0) job_deadlines_.erase({row.started + 1000 * owner.spec.max_job_seconds, row.id});
  if (owner.spec.sweep && !owner.spec.sweep->warm_start.empty()) run.erase(Family::searchers, key_of(row.id));
  searching_.erase(row.id);
  if (owner.spec.study) ended_studies_[row.id] = std::move(owner.trials);
  jobs_.erase(JobId(row.id));
}

}  // namespace hivq
