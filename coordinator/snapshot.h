#pragma once

// What a core is made from, read from a store: RocksDB's, or the one that the simulation keeps in memory. A source has
// get(), scan(), first_key() and last_key() as Store has them.

#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "coordinator/core.h"

namespace hivq {

/// Every row of a family whose key starts with `prefix`, to `each(key, row)`. Errors: of the source, or a row that
/// cannot be read.
template <typename Row, typename Source, typename Each>
Status read_rows(const Source& source, Family family, const std::string& prefix, const Each& each) {
  Status unreadable;
  Status scanned = source.scan(family, prefix, [&](std::string_view key, std::string_view value) {
    auto row = unpack<Row>(value);
    if (row) {
      each(key, std::move(*row));
    } else {
      unreadable =
          error("a row of '{}' cannot be read: {}", family_names[static_cast<size_t>(family)], row.error().message);
    }
    return static_cast<bool>(row);
  });
  return scanned ? unreadable : scanned;
}

/// A stored job; nothing where there is none. Errors: as of read_rows().
template <typename Source>
Result<std::optional<JobRow>> read_job(const Source& source, JobId id) {
  std::optional<JobRow> found;
  Status status =
      read_rows<JobRow>(source, Family::jobs, key_of(id), [&](auto, JobRow row) { found = std::move(row); });
  if (!status) return status.error();
  return found;
}

/// A stored job for one that learns from it. Errors: of the source, or a row that cannot be read.
template <typename Source>
Result<EndedJob> read_ended_job(const Source& source, JobId id) {
  EndedJob found;
  Status status = read_rows<JobRow>(source, Family::jobs, key_of(id), [&](auto, JobRow row) {
    found.metric = std::move(row.metric);
    found.yaml = std::move(row.yaml);
  });
  if (status) {
    status = read_rows<TrialRow>(source, Family::trials, key_of(id),
                                 [&](auto, TrialRow row) { found.trials.push_back(std::move(row)); });
  }
  if (!status) return status.error();
  return found;
}

/// A trial of a job that has ended; nothing where there is none. Errors: as of read_rows().
template <typename Source>
Result<std::optional<EndedTrial>> read_ended_trial(const Source& source, const TrialId& id) {
  std::optional<EndedTrial> found;
  Status status = read_rows<TrialRow>(source, Family::trials, key_of(id),
                                      [&](auto, TrialRow row) { found.emplace().row = std::move(row); });
  if (status && found) {
    status = read_rows<LeaseRow>(source, Family::leases, key_of(id),
                                 [&](auto, LeaseRow row) { found->lease = std::move(row); });
  }
  if (!status) return status.error();
  return found;
}

/// The checkpoints of each trial of a job, by step: one pass over the store. Errors: as of read_rows().
template <typename Source>
Result<std::map<TrialId, Kept>> read_job_checkpoints(const Source& source, JobId job) {
  std::map<TrialId, Kept> kept;
  Status status = read_rows<CheckpointRow>(source, Family::checkpoints, key_of(job), [&](auto key, CheckpointRow row) {
    const int64_t step = row.manifest.step;
    kept[trial_at(key)][step] = std::move(row);
  });
  if (!status) return status.error();
  return kept;
}

template <typename Source>
Result<Snapshot> read_snapshot(const Source& source) {
  Snapshot found;
  auto collect = [&]<typename Row>(Family family, const std::string& prefix, std::vector<Row>& rows) {
    return read_rows<Row>(source, family, prefix, [&](auto, Row row) { rows.push_back(std::move(row)); });
  };
  auto epoch = source.get(Family::meta, "next_epoch");
  if (!epoch) return epoch.error();
  if (*epoch && (*epoch)->size() == 8) found.next_epoch = number_at(**epoch, 0);
  auto keys = source.get(Family::meta, drain_keys_key);
  if (!keys) return keys.error();
  if (*keys) {
    auto read = unpack<std::vector<std::string>>(**keys);
    if (!read) return read.error();
    found.drain_keys = std::move(*read);
  }
  auto oldest = source.first_key(Family::events), newest = source.last_key(Family::events);
  if (!oldest) return oldest.error();
  if (!newest) return newest.error();
  if (*oldest && (*oldest)->size() == 8) found.first_event = number_at(**oldest, 0);
  if (*newest && (*newest)->size() == 8) found.next_event = number_at(**newest, 0) + 1;

  Status status = read_rows<JobRow>(source, Family::jobs, "", [&](auto, JobRow row) {
    if (ended(row.state)) {  // its name in memory: of it no more is needed, and there may be many
      JobRow stub;
      std::tie(stub.id, stub.key, stub.state) = std::tie(row.id, row.key, row.state);
      row = std::move(stub);
    }
    found.jobs.push_back(std::move(row));
  });
  std::set<JobId> open;
  for (const auto& job : found.jobs) {
    if (ended(job.state)) continue;
    open.insert(job.id);
    if (status) status = collect(Family::trials, key_of(job.id), found.trials);
    if (status) status = collect(Family::leases, key_of(job.id), found.leases);
    if (status) {
      status = read_rows<EarlierRow>(source, Family::searchers, key_of(job.id),
                                     [&](auto, EarlierRow row) { found.earlier[job.id] = std::move(row); });
    }
    if (!status) break;
    auto kept = read_job_checkpoints(source, job.id);
    if (!kept) return kept.error();
    found.checkpoints.merge(*kept);
  }
  for (const auto& trial : found.trials) {
    if (!status) break;
    if (trial.start_step < 0 || ended(trial.state) || open.contains(trial.start.job)) continue;
    status = read_rows<CheckpointRow>(
        source, Family::checkpoints, checkpoint_key(trial.start, trial.start_step),
        [&](auto, CheckpointRow row) { found.starts[{trial.start, trial.start_step}] = std::move(row); });
  }
  if (status) status = collect(Family::gangs, gang_key(""), found.gangs);
  if (status) status = collect(Family::gangs, launch_key(""), found.launches);
  for (LaunchRow& row : found.launches) {
    if (row.handle.empty() && row.pid != 0) row.handle = process_handle(row.pid, row.start_time);
  }
  if (status) status = collect(Family::gangs, drain_key(""), found.drains);
  if (status) status = collect(Family::meta, "usage/", found.usage);
  if (!status) return status.error();
  return found;
}

/// The checkpoints of a trial, by step. Errors: as of read_rows().
template <typename Source>
Result<Kept> read_checkpoints(const Source& source, const TrialId& trial) {
  Kept kept;
  Status status = read_rows<CheckpointRow>(source, Family::checkpoints, key_of(trial), [&](auto, CheckpointRow row) {
    const int64_t step = row.manifest.step;
    kept[step] = std::move(row);
  });
  if (!status) return status.error();
  return kept;
}

}  // namespace hivq
