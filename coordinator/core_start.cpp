// What trials start from: their own newest checkpoint, or that of another trial (train.start_from), which is held from
// the submission on until the trial has one of its own or ends.

#include <fmt/format.h>

#include "coordinator/core_running.h"

namespace hivq {

int64_t Core::checkpoint_step(const TrialId& id) const {
  auto found = checkpoints_.find(id);
  return found == checkpoints_.end() ? -1 : found->second.step;
}

/// Errors: there is no such trial, or it has no checkpoint.
Status Core::set_start(Trial& trial, const TrialSpec& spec) const {
  const std::string& from = spec.train.start_from;
  if (from.empty()) return {};
  const TrialId source = parse_trial_id(from).value_or(TrialId{});
  if (source.job == 0 || source.job >= next_job_) {
    return error("train.start_from is {}, but there is no job {}; `hivq list` shows them", from, source.job);
  }
  const int64_t step = checkpoint_step(source);
  if (step < 0) {
    return error(
        "train.start_from is {0}, but there is no checkpoint of trial {0}; name a trial for which `hivq show TRIAL` "
        "tells of one (`hivq show {1}` lists them)",
        from, source.job);
  }
  trial.row.start = source;
  trial.row.start_step = step;
  return {};
}

bool Core::needs_start(const Trial& trial) const {
  return trial.row.start_step >= 0 && !ended(trial.row.state) && !checkpoints_.contains(trial.row.id);
}

/// The source may replace its checkpoint, or has done so since; its chunks stay.
void Core::hold_start(Running& run, const Trial& trial) {
  const auto& [source, step] = std::tie(trial.row.start, trial.row.start_step);
  auto [found, fresh] = starts_.try_emplace({source, step});
  found->second.trials += 1;
  if (!fresh) return;
  found->second.manifest = checkpoints_.at(source);
  for (const auto& chunk : found->second.manifest.chunks) ++chunk_uses_[chunk];
  run.put(Family::checkpoints, start_key(source, step), pack(found->second.manifest));
}

void Core::release_start(Running& run, const Trial& trial) {
  auto found = starts_.find({trial.row.start, trial.row.start_step});
  if (found == starts_.end() || --found->second.trials > 0) return;
  for (const auto& chunk : found->second.manifest.chunks) release(run, chunk);
  run.erase(Family::checkpoints, start_key(trial.row.start, trial.row.start_step));
  starts_.erase(found);
}

/// After a restart, once trials and checkpoints are there. What nobody starts from any more goes.
void Core::load_starts(Running& run, Snapshot& snapshot) {
  for (auto& [key, manifest] : snapshot.starts) {
    for (const auto& chunk : manifest.chunks) ++chunk_uses_[chunk];
    starts_[key].manifest = std::move(manifest);
  }
  for (const auto& [id, owner] : jobs_) {
    for (const auto& [index, trial] : owner.trials) {
      if (needs_start(trial)) starts_[{trial.row.start, trial.row.start_step}].trials += 1;
    }
  }
  std::erase_if(starts_, [&](const auto& entry) {
    const auto& [key, start] = entry;
    if (start.trials > 0) return false;
    for (const auto& chunk : start.manifest.chunks) release(run, chunk);
    run.erase(Family::checkpoints, start_key(key.first, key.second));
    return true;
  });
}

}  // namespace hivq
