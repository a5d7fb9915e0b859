// What searchers are told and asked.
//
// A searcher that learns is asked for a trial when a gang can take it, and not before: so it knows all that there is to
// know. What it proposed is in the trial's row, and what a stopper decided too; after a restart both are told the
// stored trials again, and nothing is asked twice.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "coordinator/core_running.h"
#include "jobs/search/objectives.h"
#include "jobs/study.h"

namespace hivq {

namespace {

/// A whole parameter of a trial: the sweep's, or the job's where the sweep does not set it.
int64_t whole_of(const Params& params, const std::string& key, int64_t otherwise) {
  const auto found = params.find(key);
  return found == params.end() ? otherwise : std::get<int64_t>(found->second);
}

}  // namespace

/// None where they are another version's. Of a study's own trial all that the space has: what it did not ask for is what the
/// search chose while it runs, so that the next one is chosen elsewhere, and drawn once it has ended.
Params Core::params_of(const Job& owner, const TrialRow& row) {
  if (owner.spec.study) {
    if (row.id.job != owner.row.id) return values_in(*owner.spec.sweep, row.params);
    auto known = row.params;
    known.insert(row.proposed.begin(), row.proposed.end());
    return filled(*owner.spec.sweep, row.id.index, known);
  }
  auto read = read_params(row.params);
  return read ? std::move(*read) : Params{};
}

Observation Core::observation_of(const Job& owner, const TrialRow& row) {
  const SweepSpec& sweep = *owner.spec.sweep;
  Observation seen;
  seen.index = static_cast<int64_t>(row.id.index);
  seen.params = params_of(owner, row);
  seen.stopped = row.stopped;
  for (size_t i = 0; i < row.curve.size(); ++i) {
    seen.curve.push_back({row.curve_epochs[i], to_minimise(sweep.goal, row.curve[i])});
  }
  if (!ended(row.state)) return seen;
  seen.state = row.state == State::finished ? Observation::State::ended : Observation::State::failed;
  seen.values = objective_values(sweep, row.final);
  seen.violation = violation_of(sweep, row.final);
  return seen;
}

void Core::tell(Job& owner, const TrialRow& row) {
  if (owner.searcher->adaptive()) owner.searcher->tell(observation_of(owner, row));
}

/// A searcher that knows nothing yet hears of the earlier trials, then of the job's own.
void Core::tell_all(Job& owner) {
  if (!owner.searcher->adaptive()) return;
  for (const TrialRow& row : owner.earlier) owner.searcher->recall(observation_of(owner, row));
  for (const auto& [index, trial] : owner.trials) tell(owner, trial.row);
}

/// After a restart: searcher and stopper hear of the stored trials.
void Core::remember(Job& owner, const Snapshot& snapshot) {
  if (auto earlier = snapshot.earlier.find(owner.row.id); earlier != snapshot.earlier.end()) {
    owner.earlier = earlier->second.trials;
  }
  tell_all(owner);
  if (!owner.spec.study) {
    owner.earlier.clear();
    if (owner.searcher->adaptive() && owner.trials.size() < owner.row.trials) searching_.insert(owner.row.id);
  }
  if (!owner.stopper) return;
  for (const auto& [index, trial] : owner.trials) {
    const auto whole = observation_of(owner, trial.row).curve;
    for (size_t i = 1; i <= whole.size(); ++i) {
      (void)owner.stopper->record(static_cast<int64_t>(index), {whole.begin(), whole.begin() + static_cast<long>(i)});
    }
  }
}

/// The ended trials of the jobs that a sweep learns from. Errors: there is no such job, or it cannot be read.
Result<EarlierRow> Core::earlier_trials(const SweepSpec& sweep) const {
  EarlierRow earlier;
  for (const int64_t number : sweep.warm_start) {
    const auto id = static_cast<JobId>(number);
    if (id >= next_job_) {
      return error("sweep.warm_start names job {}, but there is none; `hivq list` shows them", number);
    }
    EndedJob found;
    if (auto open = jobs_.find(id); open != jobs_.end()) {
      found.metric = open->second.row.metric;
      for (const auto& [index, trial] : open->second.trials) found.trials.push_back(trial.row);
    } else if (options_.ended_job) {
      auto read = options_.ended_job(id);
      if (!read) return error("job {}, which sweep.warm_start names, cannot be read: {}", number, read.error().message);
      found = std::move(*read);
    }
    for (TrialRow& row : found.trials) {
      if (!ended(row.state) || row.state == State::cancelled) continue;
      // Of another metric the epochs alone tell something.
      if (found.metric != sweep.metric) row.curve.assign(row.curve.size(), std::nan(""));
      earlier.trials.push_back(std::move(row));
    }
  }
  return earlier;
}

// ---- Proposing ----

/// Asks the searchers for as many trials as gangs could take now, and for one where a job has none that has not ended.
/// Which of the waiting trials have them is the scheduler's choice: where others come first, these wait.
void Core::propose_ahead(Running& run) {
  if (searching_.empty()) return;
  constexpr uint64_t most_at_once = 64;  // so that a step stays short; the next one goes on
  const std::vector<GangId> idle = scheduler_.idle_gangs();
  uint64_t left = most_at_once;
  for (std::set<JobId> searching = searching_; const JobId id : searching) {
    Job* owner = job(id);
    if (owner == nullptr || owner->held()) continue;
    const uint64_t ended = owner->row.finished + owner->row.failed + owner->row.cancelled;
    const uint64_t room = room_for(*owner, idle), waiting = scheduler_.waiting(id);
    uint64_t wanted = room > waiting ? room - waiting : owner->trials.size() == ended ? 1 : 0;
    wanted = std::min(wanted, left);
    // The last one may end with its job.
    while (wanted > 0 && searching_.contains(id) && propose_next(run, *owner)) --wanted, --left;
  }
}

/// Trials that the idle gangs, and those that may still be launched, could take if no other job wanted them.
uint64_t Core::room_for(const Job& owner, const std::vector<GangId>& idle) const {
  const GangSpec& wanted = owner.spec.trial.gang;
  const Need need{static_cast<uint64_t>(wanted.ranks), wanted.labels};
  uint64_t gangs = 0;
  for (const GangId& id : idle) {
    const Hello& hello = gangs_.at(id).hello;
    gangs += fits(need, {hello.ranks, hello.labels});
  }
  for (const PoolState& state : pools_) {
    if (state.fruitless > 0 || !fits(need, kind_of(state, need))) continue;
    gangs += state.pool.maximum - std::min(state.pool.maximum, state.launches);
  }
  return gangs * static_cast<uint64_t>(wanted.fuse);
}

/// One more trial. False: the searcher has none, or must hear first how others end. May end the job.
bool Core::propose_next(Running& run, Job& owner) {
  const uint64_t index = owner.trials.size();
  const auto proposal = owner.searcher->propose(static_cast<int64_t>(index));
  if (!proposal) return false;
  if (index + 1 == owner.row.trials) searching_.erase(owner.row.id);
  auto made = make_trial(owner, index, *proposal);
  if (made) {
    add_trial(run, owner, std::move(*made));
    return true;
  }
  Trial refused;
  refused.row.id = {owner.row.id, index};
  refused.row.variant = proposal->variant;
  for (const auto& [key, value] : proposal->params) refused.row.params[key] = to_string(value);
  Trial& kept = owner.trials.emplace(index, std::move(refused)).first->second;
  tell(owner, kept.row);
  end_trial(run, owner, kept, State::failed, made.error().message);
  return true;
}

/// The job ends with the trials that it has.
void Core::propose_no_more(Running& run, Job& owner) {
  if (searching_.erase(owner.row.id) == 0 && !owner.spec.study) return;
  owner.row.trials = owner.trials.size();
  put(run, owner.row);
}

std::string Core::next_proposal(JobId id) const {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return "";
  const auto proposal = found->second.searcher->propose(static_cast<int64_t>(found->second.trials.size()));
  return proposal ? fmt::format("{} {}", proposal->variant, to_string(proposal->params)) : "";
}

// ---- Metrics, and stopping ----

/// The metrics of an evaluation, and of those that the sweep looks at and that it lacks, such as the loss, the last
/// ones.
void Core::keep_metrics(const Job& owner, const std::map<std::string, double>& values,
                        std::map<std::string, double>& kept) {
  const auto before = std::exchange(kept, values);
  for (const std::string& name : owner.metrics) {
    if (const auto found = before.find(name); found != before.end()) kept.insert(*found);
  }
}

/// What a trial's row keeps of its metrics. False: the trial ends here.
bool Core::keep_last(Running& run, Job& owner, Trial& trial, const MetricsItem& item) {
  // Every evaluation has it; what is measured at single steps and epochs has not.
  constexpr const char* of_evaluations = "auroc";
  auto& kept = item.step == 0 ? trial.row.initial : trial.row.final;
  if (item.values.contains(of_evaluations)) {
    keep_metrics(owner, item.values, kept);
    if (owner.stopper && item.step > 0) return judge(run, owner, trial, item.step);
    put(run, trial.row);
    return true;
  }
  bool changed = false;
  for (const std::string& name : owner.metrics) {
    const auto found = item.values.find(name);
    if (found == item.values.end()) continue;
    kept[name] = found->second;
    changed = true;
  }
  if (changed) put(run, trial.row);
  return true;
}

/// A trial was evaluated. False: it ends here. What a resumed trial reports again was judged before.
bool Core::judge(Running& run, Job& owner, Trial& trial, int64_t step) {
  TrialRow& row = trial.row;
  if (!row.curve_steps.empty() && step <= row.curve_steps.back()) {
    put(run, row);
    return true;
  }
  const Params params = params_of(owner, row);
  const TrainSpec& train = owner.spec.trial.train;
  const int64_t epochs = whole_of(params, "train.epochs", train.epochs);
  const int64_t every = whole_of(params, "train.eval_every", train.eval_every);
  // The worker evaluates every so many epochs, and after the last one.
  const int64_t epoch = std::min(epochs, every * (static_cast<int64_t>(row.curve.size()) + 1));
  const auto value = row.final.find(owner.row.metric);
  row.curve_steps.push_back(step);
  row.curve_epochs.push_back(epoch);
  row.curve.push_back(value == row.final.end() ? std::nan("") : value->second);
  const Observation seen = observation_of(owner, row);
  const bool stop = owner.stopper->record(seen.index, seen.curve) && epoch < epochs;
  if (!stop) {
    tell(owner, row);
    put(run, row);
    return true;
  }
  row.stopped = true;
  const std::string reason = fmt::format("stopped early by {} at epoch {}", owner.spec.sweep->stop.by, epoch);
  run.tell(trial.lease->gang, Refused{trial.lease->lease, reason});
  end_trial(run, owner, trial, State::finished, reason);
  return false;
}

}  // namespace hivq
