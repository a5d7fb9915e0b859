// Schema 1 held a metric's point in a row of its own and the chunks' uses in the core's memory. Schema 2 holds points in
// rows of points.h, in a family of their own, every checkpoint that is kept by its step, and the uses beside them.

#include <rocksdb/write_batch.h>

#include <set>

#include "coordinator/points.h"
#include "coordinator/snapshot.h"
#include "coordinator/store_internal.h"

namespace hivq {

namespace {

constexpr size_t batch_bytes = 4 << 20;

/// Writes rows of points, a batch at a time, without waiting for the disk: the last commit of the migration does.
class PointsWriter {
 public:
  PointsWriter(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family) : db_(db), family_(family) {}

  rocksdb::Status add(const TrialId& trial, std::string_view name, const MetricPoint& point) {
    std::string key = points_key(trial, name, point.step);
    rocksdb::Status status;
    if (key != key_) status = end_row();
    key_ = std::move(key);
    points_.push_back(point);
    return status;
  }
  rocksdb::Status finish() {
    auto status = end_row();
    return status.ok() ? db_.Write({}, &batch_) : status;
  }

 private:
  rocksdb::Status end_row() {
    if (points_.empty()) return {};
    auto status = batch_.Put(family_, key_, encode_points(points_));
    points_.clear();
    if (!status.ok() || batch_.GetDataSize() < batch_bytes) return status;
    status = db_.Write({}, &batch_);
    batch_.Clear();
    return status;
  }
  rocksdb::DB& db_;
  rocksdb::ColumnFamilyHandle* family_;
  rocksdb::WriteBatch batch_;
  std::string key_;
  std::vector<MetricPoint> points_;
};

Status migrate_points(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* from, rocksdb::ColumnFamilyHandle* to,
                      const std::string& folder) {
  // What an earlier try has left.
  auto status = db.DeleteRange({}, to, "", std::string(32, '\xff'));
  PointsWriter writer(db, to);
  std::unique_ptr<rocksdb::Iterator> at(db.NewIterator({}, from));
  for (at->SeekToFirst(); status.ok() && at->Valid(); at->Next()) {
    const std::string_view key = at->key().ToStringView();
    auto value = unpack<double>(at->value().ToStringView());
    if (key.size() < 26 || !value) {
      return error("a row of 'metrics' in {} cannot be read: {}", folder,
                   value ? "its key is too short" : value.error().message);
    }
    const auto step = static_cast<int64_t>(number_at(key, key.size() - 8));
    status = writer.add(trial_at(key), points_name(key), {step, *value});
  }
  if (status.ok()) status = at->status();
  if (status.ok()) status = writer.finish();
  return status.ok() ? Status() : Status(explain(status, folder));
}

/// In schema 1 the newest manifest of a trial had its trial as key; those that trials were to start from had the step,
/// too.
Status checkpoint_writes(const Store& store, std::vector<Write>& writes) {
  std::map<TrialId, Kept> kept;
  Status status = read_rows<Manifest>(store, Family::checkpoints, "", [&](std::string_view key, Manifest manifest) {
    if (key.size() != 16 && key.size() != 24) return;
    const bool newest = key.size() == 16;
    const int64_t step = manifest.step;
    writes.push_back({Family::checkpoints, std::string(key), std::nullopt});
    // One that is held beside the newest goes with the last trial that starts from it.
    CheckpointRow row{std::move(manifest), 0, std::nullopt, false, !newest};
    if (newest) {
      kept[trial_at(key)][step] = std::move(row);
    } else {
      kept[trial_at(key)].try_emplace(step, std::move(row));  // the newest of the same step stands before it
    }
  });
  const auto use = [&](const std::string& chunk, const TrialId& trial, int64_t step) {
    writes.push_back({Family::uses, use_key(chunk, trial, step), ""});
  };
  for (const auto& [trial, rows] : kept) {
    for (const auto& [step, row] : rows) {
      writes.push_back({Family::checkpoints, checkpoint_key(trial, step), pack(row)});
      for (const auto& chunk : row.manifest.chunks) use(chunk, trial, step);
    }
  }
  if (!status) return status;
  status = read_rows<LeaseRow>(store, Family::leases, "", [&](auto, const LeaseRow& lease) {
    for (const auto& chunk : lease.staged) use(chunk, lease.lease.trial, staged_step);
  });
  if (!status) return status;
  // Whatever is named no more goes in its time.
  return store.scan(Family::blobs, "", [&](std::string_view chunk, std::string_view) {
    writes.push_back({Family::garbage, std::string(chunk), key_of(uint64_t{0})});
    return true;
  });
}

}  // namespace

Status migrate_from_1(Store& store, rocksdb::DB& db, rocksdb::ColumnFamilyHandle* old_points,
                      rocksdb::ColumnFamilyHandle* points) {
  const std::string folder = db.GetName();
  if (old_points != nullptr) {
    if (auto done = migrate_points(db, old_points, points, folder); !done) return done;
  }
  std::vector<Write> writes;
  if (auto read = checkpoint_writes(store, writes); !read) return read;
  writes.push_back({Family::meta, "schema_version", key_of(uint64_t{2})});
  return store.commit(writes);
}

}  // namespace hivq
