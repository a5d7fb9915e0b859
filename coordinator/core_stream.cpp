// The stream of a lease: metrics, log lines, checkpoints, the end.

#include <fmt/format.h>

#include "common/sha256.h"
#include "coordinator/core_running.h"

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
  Job& owner = *job(report.lease.trial.job);
  uint64_t before = lease->last;
  uint64_t number = report.first;
  for (const auto& bytes : report.items) {
    // Others are stored already, or come before those that are missing and will be sent again.
    if (number++ != lease->last + 1) continue;
    auto item = unpack_item(bytes);
    Status checked = item ? lawful(*item) : Status(item.error());
    if (!checked) {
      run.tell(peer, Refused{report.lease, checked.error().message});
      return lose_lease(run, *found, "it sent an item that is not valid: " + checked.error().message);
    }
    ++lease->last;
    // The end of the last trial takes the job, and with it the lease, out of memory.
    uint64_t last = lease->last;
    if (!apply(run, owner, *found, last, *item)) return run.tell(peer, Ack{report.lease, last});
  }
  if (lease->last != before) put(run, *lease);
  run.tell(peer, Ack{report.lease, lease->last});
}

/// Whether an item may be stored: what is acknowledged must be readable later.
Status Core::lawful(const Item& item) const {
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
    for (const auto& hash : checkpoint->chunks) {
      if (!chunk_uses_.contains(hash)) return error("a checkpoint without its chunk {}", hash);
    }
  }
  return {};
}

/// False when the item ended the stream.
bool Core::apply(Running& run, Job& owner, Trial& trial, uint64_t number, const Item& item) {
  LeaseRow& lease = *trial.lease;
  if (auto* metrics = std::get_if<MetricsItem>(&item)) {
    for (const auto& [name, value] : metrics->values) {
      run.put(Family::metrics, metric_key(trial.row.id, name, metrics->step), pack(value));
    }
    if (metrics->values.contains(owner.row.metric)) {
      (metrics->step == 0 ? trial.row.initial : trial.row.final) = metrics->values;
      put(run, trial.row);
    }
  } else if (auto* line = std::get_if<LogItem>(&item)) {
    run.put(Family::logs, log_key(lease.lease, number), pack(EventRow{run.now, line->text}));
  } else if (auto* chunk = std::get_if<ChunkItem>(&item)) {
    if (++chunk_uses_[chunk->hash] == 1) run.put(Family::blobs, chunk->hash, chunk->bytes);
    lease.staged.push_back(chunk->hash);
  } else if (auto* checkpoint = std::get_if<CheckpointItem>(&item)) {
    apply_checkpoint(run, trial, *checkpoint);
  } else {
    end_stream(run, owner, trial, item);
    return false;
  }
  return true;
}

/// The last item: the trial's end, or it is given back.
void Core::end_stream(Running& run, Job& owner, Trial& trial, const Item& item) {
  trial.lease->done = true;
  const GangId id = trial.lease->gang;
  if (auto* end = std::get_if<EndItem>(&item)) {
    if (!end->final.empty()) trial.row.final = end->final;
    end_trial(run, owner, trial, end->failed ? State::failed : State::finished, end->reason);
  } else {
    take_back(run, trial);
  }
  // After the last items of all its streams nothing of the pack is left there.
  auto gang = gangs_.find(id);
  if (gang != gangs_.end() && gang->second.leases.empty() && !gang->second.leaving) idle_.insert(id);
}

void Core::apply_checkpoint(Running& run, Trial& trial, const CheckpointItem& item) {
  Manifest manifest{item.step, item.size, item.chunks};
  const bool first = needs_start(trial);
  for (const auto& chunk : manifest.chunks) ++chunk_uses_[chunk];
  if (auto old = checkpoints_.find(trial.row.id); old != checkpoints_.end()) {
    for (const auto& chunk : old->second.chunks) release(run, chunk);
  }
  run.put(Family::checkpoints, key_of(trial.row.id), pack(manifest));
  checkpoints_[trial.row.id] = std::move(manifest);
  if (first) release_start(run, trial);
  drop_staged(run, *trial.lease);
}

void Core::drop_staged(Running& run, LeaseRow& lease) {
  for (const auto& chunk : lease.staged) release(run, chunk);
  lease.staged.clear();
}

void Core::release(Running& run, const std::string& chunk) {
  auto uses = chunk_uses_.find(chunk);
  if (uses == chunk_uses_.end() || --uses->second > 0) return;
  chunk_uses_.erase(uses);
  run.erase(Family::blobs, chunk);
}

}  // namespace hivq
