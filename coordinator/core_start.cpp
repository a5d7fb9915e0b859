// What trials start from: their own newest checkpoint, or that of another trial (train.start_from), which is held from
// the submission on until the trial has one of its own or ends.

#include <fmt/format.h>

#include "coordinator/core_running.h"

namespace hivq {

int64_t Core::checkpoint_step(const TrialId& id) const {
  auto found = checkpoints_.find(id);
  return found == checkpoints_.end() || found->second.empty() ? -1 : found->second.rbegin()->first;
}

/// Errors: there is no such trial, or it has no checkpoint.
Status Core::set_start(Trial& trial, const TrialSpec& spec) const {
  const std::string& from = spec.train.start_from;
  if (from.empty()) return {};
  const TrialId source = parse_trial_id(from).value_or(TrialId{});
  if (source.job == 0 || source.job >= next_job_) {
    return error("train.start_from is {}, but there is no job {}; `hivq list` shows them", from, source.job);
  }
  auto kept = checkpoints_of(source);
  if (!kept) return kept.error();
  if (kept->empty()) {
    return error(
        "train.start_from is {0}, but there is no checkpoint of trial {0}; name a trial for which `hivq show TRIAL` "
        "tells of one (`hivq show {1}` lists them)",
        from, source.job);
  }
  trial.row.start = source;
  trial.row.start_step = kept->rbegin()->first;
  return {};
}

bool Core::needs_start(const Trial& trial) const {
  return trial.row.start_step >= 0 && !ended(trial.row.state) && checkpoint_step(trial.row.id) < 0;
}

/// The source may get newer checkpoints; this one stays.
void Core::hold_start(Running&, const Trial& trial) {
  const auto& [source, step] = std::tie(trial.row.start, trial.row.start_step);
  auto [found, fresh] = starts_.try_emplace({source, step});
  found->second.trials += 1;
  if (fresh) found->second.checkpoint = checkpoints_of(source).value().at(step);
}

void Core::release_start(Running& run, const Trial& trial) {
  auto found = starts_.find({trial.row.start, trial.row.start_step});
  if (found == starts_.end() || --found->second.trials > 0) return;
  const CheckpointRow row = std::move(found->second.checkpoint);
  starts_.erase(found);
  if (row.spare && !row.pinned) erase_checkpoint(run, trial.row.start, row);
}

/// After a restart, once trials and checkpoints are there. Of a trial that has failed meanwhile, because its job is not
/// valid in this version, the start is let go.
void Core::load_starts(Running& run, Snapshot& snapshot) {
  const auto source_of = [&](const std::pair<TrialId, int64_t>& key) -> const CheckpointRow* {
    if (auto ended_job = snapshot.starts.find(key); ended_job != snapshot.starts.end()) return &ended_job->second;
    auto open = checkpoints_.find(key.first);
    if (open == checkpoints_.end() || !open->second.contains(key.second)) return nullptr;
    return &open->second.at(key.second);
  };
  for (const auto& [id, owner] : jobs_) {
    for (const auto& [index, trial] : owner.trials) {
      if (!needs_start(trial)) continue;
      Start& start = starts_[{trial.row.start, trial.row.start_step}];
      start.trials += 1;
      if (const auto* row = source_of({trial.row.start, trial.row.start_step})) start.checkpoint = *row;
    }
  }
  for (const auto& row : snapshot.trials) {
    if (row.start_step < 0 || job(row.id.job) != nullptr || held(row.start, row.start_step)) continue;
    const auto* source = source_of({row.start, row.start_step});
    if (source != nullptr && source->spare && !source->pinned) erase_checkpoint(run, row.start, CheckpointRow(*source));
  }
}

}  // namespace hivq
