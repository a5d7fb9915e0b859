// Studies: jobs whose trials a client's own program runs. It asks for a trial and holds its lease, asks for parameters,
// reports and ends it. No gang and no part of the scheduler has to do with them.
//
// Whatever is asked again has the same answer: a trial by the key of its question, a value by the row that it is in, a
// point by its step, an end by the row of its lease.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "coordinator/core_running.h"
#include "jobs/search/objectives.h"
#include "jobs/study.h"
#include "jobs/yaml_tree.h"

namespace hivq {

namespace {

constexpr size_t most_parameters = 1000;                                          // of a study
constexpr size_t most_points = 10'000;                                            // of a report
constexpr size_t most_metrics = 1000;                                             // of a trial
constexpr size_t longest_metric = 200, longest_key = 200, longest_reason = 2000;  // bytes
constexpr int64_t last_step = int64_t{1} << 53;

std::string holder_of(const std::string& key) { return "study/" + key; }
std::string key_of_holder(const std::string& holder) { return holder.substr(std::string_view("study/").size()); }

std::map<std::string, std::string> texts_of(const Params& params) {
  std::map<std::string, std::string> texts;
  for (const auto& [name, value] : params) texts[name] = to_string(value);
  return texts;
}

Status lawful_metrics(const std::map<std::string, double>& metrics) {
  for (const auto& [name, value] : metrics) {
    if (name.empty() || name.size() > longest_metric || name.find('\0') != name.npos) {
      return error("a metric's name has {} bytes; it must have 1 to {}, none of them 0", name.size(), longest_metric);
    }
  }
  return {};
}

Status lawful_points(const std::vector<MetricsItem>& points) {
  if (points.size() > most_points) return error("a report of {} points; the most is {}", points.size(), most_points);
  int64_t before = -1;
  for (const MetricsItem& point : points) {
    if (point.step <= before || point.step > last_step) {
      return error("a report with step {} after {}; steps must rise, from 0 to 2^53", point.step, before);
    }
    before = point.step;
    if (auto good = lawful_metrics(point.values); !good) return good;
  }
  return {};
}

std::string sentence_of(const TrialRow& row) {
  return fmt::format("trial {} has ended: {}", to_string(row.id),
                     row.reason.empty() ? to_string(row.state) : row.reason);
}

}  // namespace

// ---- Studies by name ----

void Core::on(Running& run, const std::string& peer, const FindStudy& question, uint64_t request) {
  const auto found = submissions_.find(study_key(question.name));
  if (found != submissions_.end()) return run.reply(peer, request, Submitted{found->second});
  run.reply(peer, request,
            Failed{fmt::format("there is no study '{}'; say how many trials it shall have to create it",
                               shown(question.name))});
}

/// The answer where a study of this name is there; nothing where it is new.
std::optional<Body> Core::study_already(const Job& wanted) const {
  const auto found = submissions_.find(study_key(wanted.spec.name));
  if (found == submissions_.end()) return std::nullopt;
  Status same;
  if (const auto open = jobs_.find(found->second); open != jobs_.end()) {
    same = same_study(open->second.spec, wanted.spec);
  } else if (options_.ended_job) {
    const auto ended = options_.ended_job(found->second);
    if (!ended) return Failed{ended.error().message};
    const auto there = parse_job(ended->yaml, wanted.spec.name);
    if (there && there->study) same = same_study(*there, wanted.spec);
  }
  if (same) return Submitted{found->second};
  return Failed{
      fmt::format("the study '{}' is job {} already, with other settings: {}; ask for it as it is, or take "
                  "another name",
                  shown(wanted.spec.name), found->second, same.error().message)};
}

// ---- Trials for clients ----

void Core::on(Running& run, const std::string& peer, const AskTrial& ask, uint64_t request) {
  run.reply(peer, request, ask_trial(run, ask));
}

Body Core::ask_trial(Running& run, const AskTrial& ask) {
  Job* owner = job(ask.job);
  if (owner == nullptr) {
    const auto outcome = outcomes_.find(ask.job);
    if (outcome == outcomes_.end()) return Failed{fmt::format("there is no job {}; `hivq list` shows them", ask.job)};
    const char* how = outcome->second == State::cancelled ? "been cancelled" : to_string(outcome->second);
    return AskedTrial{"ended", fmt::format("job {} has {}", ask.job, how), {}};
  }
  if (!owner->spec.study) return Failed{fmt::format("job {} is no study: gangs run its trials", ask.job)};
  if (ask.key.empty() || ask.key.size() > longest_key) {
    return Failed{
        fmt::format("the key of the question has {} bytes; it must have 1 to {}", ask.key.size(), longest_key)};
  }
  if (const auto before = owner->asked.find(ask.key); before != owner->asked.end()) {
    const Trial& given = owner->trials.at(before->second);
    return AskedTrial{"trial", "", given.lease->lease, given.row.proposed};
  }
  if (owner->trials.size() >= owner->row.trials) {
    return AskedTrial{"ended", fmt::format("all {} trials of job {} have been given", owner->row.trials, ask.job), {}};
  }
  if (closing_) return AskedTrial{"wait", "the coordinator ends", {}};
  if (owner->held()) return AskedTrial{"wait", waiting_reason(ask.job), {}};
  const auto proposal = owner->searcher->propose(static_cast<int64_t>(owner->trials.size()));
  if (!proposal) return AskedTrial{"wait", "the search must hear first how trials before it end", {}};
  const Trial& given = give_trial(run, *owner, ask.key, *proposal);
  return AskedTrial{"trial", "", given.lease->lease, given.row.proposed};
}

Core::Trial& Core::give_trial(Running& run, Job& owner, const std::string& key, const Proposal& proposal) {
  Trial made;
  made.row.id = {owner.row.id, owner.trials.size()};
  made.row.state = State::running;
  made.row.attempts = 1;
  made.row.started = run.now;
  made.row.proposed = texts_of(proposal.params);
  made.lease = LeaseRow{{made.row.id, next_epoch_++}, holder_of(key), 0, true, false, {}, run.now, 1, 0};
  run.put(Family::meta, "next_epoch", key_of(next_epoch_));
  Trial& trial = owner.trials.emplace(made.row.id.index, std::move(made)).first->second;
  put(run, trial.row);
  put(run, *trial.lease);
  event(run, fmt::format("trial {} given to a client", to_string(trial.row.id)));
  hold_study_trial(trial);
  begin_job(run, owner);
  tell(owner, trial.row);
  return trial;
}

/// Its client is heard of from now on; also after a restart.
void Core::hold_study_trial(Trial& trial) {
  Job& owner = *job(trial.row.id.job);
  owner.asked[key_of_holder(trial.lease->gang)] = trial.row.id.index;
  if (!trial.lease->live) return;
  study_heard_[trial.row.id] = now_;
  watch_time(owner, trial, true);
}

// ---- Parameters ----

void Core::on(Running& run, const std::string& peer, const SuggestValue& wish, uint64_t request) {
  Trial* trial = trial_of(wish.lease);
  if (trial == nullptr) return run.reply(peer, request, Failed{why_ended(wish.lease)});
  study_heard_[trial->row.id] = run.now;
  auto value = suggest(run, *job(wish.lease.trial.job), *trial, wish);
  if (!value) return run.reply(peer, request, Failed{value.error().message});
  run.reply(peer, request, SuggestedValue{std::move(*value)});
}

/// Errors: the range is none, the study has another one for this name, or it takes no more.
Result<std::string> Core::suggest(Running& run, Job& owner, Trial& trial, const SuggestValue& wish) {
  auto range = parse_range(wish.range, wish.name);
  if (!range) return range.error();
  const auto& parameters = owner.spec.sweep->parameters;
  if (const auto known = parameters.find(wish.name); known != parameters.end()) {
    SearchRange there = known->second;
    there.when.clear();
    if (there != *range) {
      return error(
          "trial {} asks for {} in {}, but the study has it in {}: a parameter has one range in all trials; "
          "give another range another name",
          to_string(trial.row.id), shown(wish.name), to_yaml(*range), to_yaml(there));
    }
  } else if (auto added = add_parameter(run, owner, wish.name, *range); !added) {
    return added.error();
  }
  auto [value, fresh] = trial.row.params.try_emplace(wish.name);
  if (!fresh) return value->second;
  const auto chosen = trial.row.proposed.find(wish.name);
  value->second = chosen != trial.row.proposed.end()
                      ? chosen->second
                      : to_string(drawn_value(*range, owner.spec.sweep->seed, trial.row.id.index, wish.name));
  put(run, trial.row);
  return value->second;
}

/// The searcher is made anew for the larger space, and told all again. Errors: why the study cannot have it.
Status Core::add_parameter(Running& run, Job& owner, const std::string& name, const SearchRange& range) {
  if (owner.spec.sweep->search == "grid") {
    return error("the study has no parameter {}, and a grid walks those that study.parameters lists", shown(name));
  }
  if (owner.spec.sweep->parameters.size() >= most_parameters) {
    return error("the study has {} parameters, and takes no more", most_parameters);
  }
  JobSpec grown = owner.spec;
  grown.sweep->parameters[name] = range;
  std::string yaml = to_yaml(grown);
  // What is stored must be read again after a restart.
  const auto again = parse_job(yaml, owner.row.name + ".yaml");
  if (!again) return again.error();
  if (*again != grown) return error("the parameter {} in {} cannot be written down", shown(name), to_yaml(range));
  owner.spec = std::move(grown);
  owner.row.yaml = std::move(yaml);
  put(run, owner.row);
  event(run, fmt::format("job {} has the parameter {} in {}", owner.row.id, shown(name), to_yaml(range)));
  owner.searcher = make_searcher(owner.spec);
  tell_all(owner);
  return {};
}

// ---- Reports ----

void Core::on(Running& run, const std::string& peer, const ReportTrial& report, uint64_t request) {
  if (auto good = lawful_points(report.points); !good) return run.reply(peer, request, Failed{good.error().message});
  Trial* trial = trial_of(report.lease);
  if (trial == nullptr) {
    const auto known = find_trial(report.lease.trial);
    const bool ours = known && known->lease.lease == report.lease && ended(known->row.state);
    if (!ours) return run.reply(peer, request, Failed{why_ended(report.lease)});
    return run.reply(peer, request, TrialReported{true, true, sentence_of(known->row)});
  }
  study_heard_[trial->row.id] = run.now;
  auto metrics = trial->row.final;
  for (const MetricsItem& point : report.points) metrics.insert(point.values.begin(), point.values.end());
  if (metrics.size() > most_metrics) {
    return run.reply(peer, request, Failed{fmt::format("trial {} would have {} metrics; the most is {}",
                                                       to_string(trial->row.id), metrics.size(), most_metrics)});
  }
  take_points(run, *job(report.lease.trial.job), *trial, report.points);
  run.reply(peer, request, TrialReported{trial->row.stopped, false, trial->row.reason});
}

void Core::take_points(Running& run, Job& owner, Trial& trial, const std::vector<MetricsItem>& points) {
  TrialRow& row = trial.row;
  const int64_t before = row.final_step;
  for (const auto& [step, values] : points) {
    if (step <= row.final_step) continue;  // sent again
    row.final_step = step;
    for (const auto& [name, value] : values) {
      run.curves[name].push_back({step, value});
      row.final[name] = value;
    }
    const auto judged = values.find(owner.row.metric);
    if (owner.stopper && judged != values.end()) judge_study(owner, trial, step, judged->second);
  }
  if (row.final_step == before) return;
  put(run, row);
  put_curves(run, row.id);
}

/// The stopper hears of a point. What it decides is in the row, until the client ends the trial.
void Core::judge_study(Job& owner, Trial& trial, int64_t step, double value) {
  TrialRow& row = trial.row;
  row.curve_steps.push_back(step);
  row.curve_epochs.push_back(step);
  row.curve.push_back(value);
  const StopSpec& stop = owner.spec.sweep->stop;
  const Observation seen = observation_of(owner, row);
  const bool last = stop.max_epochs > 0 && step >= stop.max_epochs;
  if (owner.stopper->record(seen.index, seen.curve) && !last && !row.stopped) {
    row.stopped = true;
    row.reason = fmt::format("stopped early by {} at epoch {}", stop.by, step);
  }
  tell(owner, row);
}

// ---- Ends ----

void Core::on(Running& run, const std::string& peer, const EndTrial& end, uint64_t request) {
  run.reply(peer, request, end_study_trial(run, end));
}

Body Core::end_study_trial(Running& run, const EndTrial& end) {
  if (end.state != "finished" && end.state != "stopped" && end.state != "failed") {
    return Failed{fmt::format("a trial's end is '{}'; it must be finished, stopped or failed", shown(end.state))};
  }
  if (auto good = lawful_metrics(end.metrics); !good) return Failed{good.error().message};
  Trial* trial = trial_of(end.lease);
  if (trial == nullptr) {
    const auto known = find_trial(end.lease.trial);
    const bool told = known && known->lease.lease == end.lease && known->lease.done;
    if (!told) return Failed{why_ended(end.lease)};
    return TrialEnded{to_string(known->row.state), known->row.reason};
  }
  Job& owner = *job(end.lease.trial.job);
  TrialRow& row = trial->row;
  auto final = row.final;
  for (const auto& [name, value] : end.metrics) final[name] = value;
  if (final.size() > most_metrics) {
    return Failed{fmt::format("trial {} would have {} metrics; the most is {}", to_string(row.id), final.size(),
                              most_metrics)};
  }
  const auto values = objective_values(*owner.spec.sweep, final);
  if (end.state == "finished" && values.empty()) {
    return Failed{fmt::format("trial {} cannot finish without {}: report it, or give it with the end",
                              to_string(row.id), fmt::join(metrics_of(*owner.spec.sweep), ", "))};
  }
  State state = end.state == "failed" ? State::failed : State::finished;
  std::string reason = end.reason.substr(0, longest_reason);
  if (end.state == "finished") {
    reason.clear();
    row.stopped = false;
    if (!std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); })) {
      state = State::failed;
      reason = fmt::format("its {} is not finite", owner.row.metric);
    }
  } else if (end.state == "stopped") {
    const std::string own = fmt::format("stopped early by its own program{}{}", reason.empty() ? "" : ": ", reason);
    reason = row.stopped ? row.reason : own;
    row.stopped = true;
  } else {
    row.stopped = false;
    if (reason.empty()) reason = "its program gave no reason";
  }
  row.final = std::move(final);
  trial->lease->done = true;
  study_heard_.erase(row.id);
  TrialEnded answer{to_string(state), reason};
  end_trial(run, owner, *trial, state, reason);
  return answer;
}

/// Clients that are silent have lost their trials. `away`: so long we did not listen.
void Core::end_silent(Running& run, Millis away) {
  std::vector<TrialId> lost;
  for (auto& [id, heard] : study_heard_) {
    heard = std::min(heard + away, run.now);
    if (run.now > std::max(heard + options_.study_timeout, grace_until_)) lost.push_back(id);
  }
  for (const TrialId& id : lost) {
    Trial* silent = trial(id);
    if (silent == nullptr) continue;
    silent->row.stopped = false;
    end_trial(run, *job(id.job), *silent, State::failed,
              fmt::format("its client was silent for {} s", options_.study_timeout / 1000));
  }
}

// ---- Lookup ----

/// The trial that the lease is for; nullptr where it is not valid (any more).
Core::Trial* Core::trial_of(const Lease& lease) {
  Trial* found = trial(lease.trial);
  const bool ours = found != nullptr && is_study(lease.trial.job) && found->lease && found->lease->live;
  return ours && found->lease->lease == lease ? found : nullptr;
}

/// A trial that has a lease, also of a job that has ended. Errors: there is none.
Result<EndedTrial> Core::find_trial(const TrialId& id) const {
  const Trial* found = trial(id);
  if (const auto study = ended_studies_.find(id.job); study != ended_studies_.end()) {
    const auto ended = study->second.find(id.index);
    if (ended != study->second.end()) found = &ended->second;
  }
  if (found != nullptr && found->lease) return EndedTrial{found->row, *found->lease};
  if (found == nullptr && outcomes_.contains(id.job) && options_.ended_trial) {
    auto read = options_.ended_trial(id);
    if (!read) return read.error();
    if (*read) return std::move(**read);
  }
  return error("there is no trial {} that a client runs; `hivq show {}` shows the trials of a job", to_string(id),
               id.job);
}

/// Why a lease is not valid.
std::string Core::why_ended(const Lease& lease) const {
  const auto found = find_trial(lease.trial);
  if (!found) return found.error().message;
  if (!found->lease.gang.starts_with(holder_of(""))) return fmt::format("a gang runs trial {}", to_string(lease.trial));
  if (found->lease.lease != lease) {
    return fmt::format("trial {} was not given with the lease {}", to_string(lease.trial), lease.epoch);
  }
  return sentence_of(found->row);
}

/// Why a study has no more trials under way than it has.
std::string Core::study_waits(const Job& owner) const {
  if (running_trials(owner.row.id) > 0 || owner.trials.size() >= owner.row.trials) return "";
  return fmt::format("no client runs its trials; in Python: hivq.Client().study('{}').optimize(objective)",
                     shown(owner.row.name));
}

}  // namespace hivq
