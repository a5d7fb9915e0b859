// Checkpoints: how they become whole, which are kept, and who names their chunks. A chunk that nobody names any more is
// noted as garbage and erased later: garbage.h.

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "coordinator/core_running.h"

namespace hivq {

namespace {

std::set<std::string> chunks_of(const CheckpointRow& row) {
  return {row.manifest.chunks.begin(), row.manifest.chunks.end()};
}

/// Whether a is better than b; no figure is worse than any.
bool better(const std::optional<double>& a, const std::optional<double>& b, const std::string& goal) {
  const bool has_a = a && *a == *a, has_b = b && *b == *b;
  if (!has_a || !has_b) return has_a && !has_b;
  return goal == "minimize" ? *a < *b : *a > *b;
}

/// The steps that retention asks for: the newest, and the best; of equal ones the older, which is nearer to the
/// evaluation that both have their figure from.
std::set<int64_t> wanted(const Kept& kept, const RetentionSpec& retention, const std::string& goal) {
  std::vector<const CheckpointRow*> rows;
  std::set<int64_t> steps;
  for (auto at = kept.rbegin(); at != kept.rend(); ++at) {
    if (steps.size() < static_cast<size_t>(retention.last)) steps.insert(at->first);
    if (at->second.metric) rows.push_back(&at->second);
  }
  std::ranges::reverse(rows);
  std::ranges::stable_sort(rows, [&](auto* a, auto* b) { return better(a->metric, b->metric, goal); });
  if (rows.size() > static_cast<size_t>(retention.best)) rows.resize(static_cast<size_t>(retention.best));
  for (const auto* row : rows) steps.insert(row->manifest.step);
  return steps;
}

}  // namespace

void Core::apply_checkpoint(Running& run, Job& owner, Trial& trial, const CheckpointItem& item) {
  const TrialId& id = trial.row.id;
  const bool first = needs_start(trial);
  CheckpointRow row{{item.step, item.size, item.chunks}, run.now, std::nullopt, false, false};
  const auto& evaluation = trial.row.final;
  auto metric = evaluation.find(owner.row.metric);
  if (metric != evaluation.end() && trial.row.final_step <= item.step) row.metric = metric->second;
  // The same step again, of a later attempt.
  Kept& kept = checkpoints_[id];
  const auto chunks = chunks_of(row);
  if (auto old = kept.find(item.step); old != kept.end()) {
    row.pinned = old->second.pinned;
    for (const auto& chunk : chunks_of(old->second)) {
      if (!chunks.contains(chunk)) drop_use(run, chunk, id, item.step);
    }
  }
  for (const auto& chunk : chunks) add_use(run, chunk, id, item.step);
  put_checkpoint(run, id, row);
  if (first) release_start(run, trial);
  retain(run, owner, id);
  drop_staged(run, *trial.lease);
}

/// An evaluation came after the checkpoint of its own step.
void Core::measure_checkpoint(Running& run, Job& owner, Trial& trial, int64_t step, double metric) {
  auto found = checkpoints_.find(trial.row.id);
  if (found == checkpoints_.end() || !found->second.contains(step)) return;
  CheckpointRow row = found->second.at(step);
  row.metric = metric;
  put_checkpoint(run, trial.row.id, row);
  retain(run, owner, trial.row.id);
}

/// Erases what retention does not ask for, unless it is pinned or a trial is to start from it.
void Core::retain(Running& run, const Job& owner, const TrialId& id) {
  const Kept kept = checkpoints_.at(id);
  const auto steps = wanted(kept, owner.spec.retention, owner.row.goal);
  for (auto [step, row] : kept) {
    if (steps.contains(step)) continue;
    if (!row.pinned && !held(id, step)) {
      erase_checkpoint(run, id, row);
    } else if (!std::exchange(row.spare, true)) {
      put_checkpoint(run, id, row);
    }
  }
}

/// Of the trials that have ended only the best of the job keep their checkpoints.
void Core::retain_best_trials(Running& run, const Job& owner) {
  const auto most = static_cast<size_t>(owner.spec.retention.trials);
  // Of population-based training each one of a generation may be gone on from.
  const bool wanted_later = searching_.contains(owner.row.id) && owner.spec.sweep->search == "pbt";
  if (most == 0 || wanted_later) return;
  std::vector<std::pair<std::optional<double>, TrialId>> ranked;
  for (auto at = checkpoints_.lower_bound(TrialId{owner.row.id, 0});
       at != checkpoints_.end() && at->first.job == owner.row.id; ++at) {
    const TrialRow& row = owner.trials.at(at->first.index).row;
    if (!ended(row.state)) continue;
    auto metric = row.final.find(owner.row.metric);
    ranked.push_back({metric == row.final.end() ? std::nullopt : std::optional(metric->second), at->first});
  }
  std::ranges::stable_sort(ranked, [&](const auto& a, const auto& b) {
    return better(a.first, b.first, owner.row.goal);
  });
  for (size_t i = most; i < ranked.size(); ++i) {
    const TrialId& id = ranked[i].second;
    for (auto [step, row] : Kept(checkpoints_.at(id))) {
      if (!row.pinned && !held(id, step)) {
        erase_checkpoint(run, id, row);
      } else if (!std::exchange(row.spare, true)) {
        put_checkpoint(run, id, row);
      }
    }
  }
}

void Core::on(Running& run, const std::string& peer, const Pin& pin, uint64_t request) {
  auto kept = checkpoints_of(pin.trial);
  if (!kept) return run.reply(peer, request, Failed{kept.error().message});
  auto found = pin.step < 0 ? (kept->empty() ? kept->end() : std::prev(kept->end())) : kept->find(pin.step);
  if (found == kept->end()) {
    std::string steps;
    for (const auto& [step, row] : *kept) steps += fmt::format("{}{}", steps.empty() ? "" : ", ", step);
    return run.reply(peer, request,
                     Failed{fmt::format("trial {} has no checkpoint{}; {}", to_string(pin.trial),
                                        pin.step < 0 ? "" : fmt::format(" of step {}", pin.step),
                                        steps.empty() ? "`hivq show JOB` tells which trials have one"
                                                      : "it has those of the steps " + steps)});
  }
  CheckpointRow row = found->second;
  if (row.pinned != pin.pinned) {
    row.pinned = pin.pinned;
    event(run, fmt::format("checkpoint {}@{} {}", to_string(pin.trial), found->first,
                           pin.pinned ? "pinned" : "unpinned"));
    if (row.spare && !row.pinned && !held(pin.trial, found->first)) {
      erase_checkpoint(run, pin.trial, row);
    } else {
      put_checkpoint(run, pin.trial, row);
    }
  }
  run.reply(peer, request, Pinned{found->first});
}

/// Of an ended job they are read from the store, and kept in mind until the tick after the next: the shell commits each
/// round before the next, and a round has one tick at most, so by then all that was decided about them is in the store.
Result<Kept> Core::checkpoints_of(const TrialId& id) const {
  if (auto found = checkpoints_.find(id); found != checkpoints_.end()) return found->second;
  if (open_job(id.job) != nullptr || id.job == 0 || id.job >= next_job_ || !read_ended_) return Kept();
  auto read = read_ended_(id);
  if (read) {
    checkpoints_[id] = *read;
    ended_now_.push_back(id.job);
  }
  return read;
}

void Core::forget_ended() {
  for (JobId job : ended_before_) {
    checkpoints_.erase(checkpoints_.lower_bound(TrialId{job, 0}), checkpoints_.lower_bound(TrialId{job + 1, 0}));
    ended_studies_.erase(job);
  }
  ended_before_ = std::exchange(ended_now_, {});
}

/// In the store and in memory.
void Core::put_checkpoint(Running& run, const TrialId& id, const CheckpointRow& row) {
  const int64_t step = row.manifest.step;
  run.put(Family::checkpoints, checkpoint_key(id, step), pack(row));
  if (checkpoints_of(id)) checkpoints_[id][step] = row;
  if (auto start = starts_.find({id, step}); start != starts_.end()) start->second.checkpoint = row;
}

void Core::erase_checkpoint(Running& run, const TrialId& id, const CheckpointRow& row) {
  for (const auto& chunk : chunks_of(row)) drop_use(run, chunk, id, row.manifest.step);
  run.erase(Family::checkpoints, checkpoint_key(id, row.manifest.step));
  // That it has none is kept in mind, too: the store may still have it until the commit.
  if (checkpoints_of(id)) checkpoints_[id].erase(row.manifest.step);
}

void Core::drop_staged(Running& run, LeaseRow& lease) {
  for (const auto& chunk : std::set(lease.staged.begin(), lease.staged.end())) {
    drop_use(run, chunk, lease.lease.trial, staged_step);
  }
  lease.staged.clear();
}

void Core::add_use(Running& run, const std::string& chunk, const TrialId& trial, int64_t step) {
  run.put(Family::uses, use_key(chunk, trial, step), "");
}

void Core::drop_use(Running& run, const std::string& chunk, const TrialId& trial, int64_t step) {
  run.erase(Family::uses, use_key(chunk, trial, step));
  run.put(Family::garbage, chunk, key_of(static_cast<uint64_t>(run.now)));
}

}  // namespace hivq
