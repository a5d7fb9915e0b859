// The stream of a lease: metrics, log lines, checkpoints, pictures, the end.

#include <fmt/format.h>

#include <algorithm>

#include "common/sha256.h"
#include "coordinator/core_running.h"
#include "coordinator/points.h"

namespace hivq {

namespace {
constexpr size_t longest_name = 200;  // bytes of a metric's name
}

void Core::on(Running& run, const std::string& peer, const Report& report) {
  Trial* found = trial(report.lease.trial);
  LeaseRow* lease = found && found->lease ? &*found->lease : nullptr;
  bool ours = lease && lease->lease == report.lease && lease->gang == peer;
  if (ours && lease->done) return run.tell(peer, Ack{report.lease, lease->last});
  if (!ours || !lease->live) return run.tell(peer, Refused{report.lease, "the lease has ended"});
  if (auto gang = gangs_.find(peer); gang != gangs_.end()) gang->second.heard = run.now;
  take_items(run, peer, *found, report);
  put_curves(run, report.lease.trial);
}

void Core::take_items(Running& run, const std::string& peer, Trial& found, const Report& report) {
  Job& owner = *job(report.lease.trial.job);
  LeaseRow& lease = *found.lease;
  const uint64_t before = lease.last;
  uint64_t number = report.first;
  for (const auto& bytes : report.items) {
    // Others are stored already, or come before those that are missing and will be sent again.
    if (number++ != lease.last + 1) continue;
    auto item = unpack_item(bytes);
    Status checked = item ? lawful(lease, *item) : Status(item.error());
    if (!checked) {
      run.tell(peer, Refused{report.lease, checked.error().message});
      return lose_lease(run, found, "it sent an item that is not valid: " + checked.error().message);
    }
    ++lease.last;
    // The end of the last trial takes the job, and with it the lease, out of memory.
    const uint64_t last = lease.last;
    if (!apply(run, owner, found, last, *item)) return run.tell(peer, Ack{report.lease, last});
  }
  if (lease.last != before) put(run, lease);
  run.tell(peer, Ack{report.lease, lease.last});
}

/// Whether an item may be stored: what is acknowledged must be readable later.
Status Core::lawful(const LeaseRow& lease, const Item& item) {
  if (auto* metrics = std::get_if<MetricsItem>(&item)) {
    if (metrics->step < 0) return error("metrics of the step {}", metrics->step);
    for (const auto& [name, value] : metrics->values) {
      if (name.empty() || name.size() > longest_name || name.find('\0') != name.npos) {
        return error("a metric's name has {} bytes; it must have 1 to {}, none of them 0", name.size(), longest_name);
      }
    }
  } else if (auto* chunk = std::get_if<ChunkItem>(&item)) {
    if (chunk->bytes.size() > chunk_bytes)
      return error("a chunk of {} bytes; the most is {}", chunk->bytes.size(), chunk_bytes);
    if (sha256_hex(chunk->bytes) != chunk->hash) return error("chunk {} arrived damaged", chunk->hash);
  } else if (auto* checkpoint = std::get_if<CheckpointItem>(&item)) {
    if (checkpoint->step < 0) return error("a checkpoint of the step {}", checkpoint->step);
    const std::set<std::string_view> staged(lease.staged.begin(), lease.staged.end());
    for (const auto& hash : checkpoint->chunks) {
      if (!staged.contains(hash)) return error("a checkpoint without its chunk {}", hash);
    }
  } else if (auto* picture = std::get_if<PictureItem>(&item)) {
    return lawful_picture(*picture);
  }
  return {};
}

/// False when the item ended the stream, or the trial.
bool Core::apply(Running& run, Job& owner, Trial& trial, uint64_t number, const Item& item) {
  LeaseRow& lease = *trial.lease;
  if (auto* metrics = std::get_if<MetricsItem>(&item)) {
    return apply_metrics(run, owner, trial, *metrics);
  } else if (auto* line = std::get_if<LogItem>(&item)) {
    run.put(Family::logs, log_key(lease.lease, number), pack(EventRow{run.now, line->text}));
  } else if (auto* chunk = std::get_if<ChunkItem>(&item)) {
    run.put(Family::blobs, chunk->hash, chunk->bytes);
    add_use(run, chunk->hash, trial.row.id, staged_step);
    lease.staged.push_back(chunk->hash);
  } else if (auto* checkpoint = std::get_if<CheckpointItem>(&item)) {
    apply_checkpoint(run, owner, trial, *checkpoint);
  } else if (auto* picture = std::get_if<PictureItem>(&item)) {
    apply_picture(run, trial.row.id, *picture);
  } else {
    end_stream(run, owner, trial, item);
    return false;
  }
  return true;
}

/// False: the trial ends here.
bool Core::apply_metrics(Running& run, Job& owner, Trial& trial, const MetricsItem& metrics) {
  for (const auto& [name, value] : metrics.values) run.curves[name].push_back({metrics.step, value});
  auto ranked = metrics.values.find(owner.row.metric);
  if (ranked != metrics.values.end()) {
    if (metrics.step > 0) trial.row.final_step = metrics.step;
    measure_checkpoint(run, owner, trial, metrics.step, ranked->second);
  }
  return keep_last(run, owner, trial, metrics);
}

/// The points of a report, a piece for each row that they come into.
void Core::put_curves(Running& run, const TrialId& trial) {
  const auto not_rising = [](const MetricPoint& a, const MetricPoint& b) { return a.step >= b.step; };
  for (auto& [name, points] : run.curves) {
    if (std::ranges::adjacent_find(points, not_rising) != points.end()) sort_points(points);
    for (auto first = points.begin(); first != points.end();) {
      const int64_t row = first->step / steps_of_row;
      auto end = std::find_if(first, points.end(), [&](const auto& point) { return point.step / steps_of_row != row; });
      run.merge(points_key(trial, name, first->step), encode_points({first, end}));
      first = end;
    }
  }
  run.curves.clear();
}

/// The last item: the trial's end, or it is given back.
void Core::end_stream(Running& run, Job& owner, Trial& trial, const Item& item) {
  trial.lease->done = true;
  const GangId id = trial.lease->gang;
  if (auto* end = std::get_if<EndItem>(&item)) {
    if (!end->final.empty()) keep_metrics(owner, end->final, trial.row.final);
    end_trial(run, owner, trial, end->failed ? State::failed : State::finished, end->reason);
  } else {
    take_back(run, trial);
  }
  // After the last items of all its streams nothing of the pack is left there.
  auto gang = gangs_.find(id);
  if (gang != gangs_.end() && gang->second.leases.empty()) offer(id);
}

}  // namespace hivq
