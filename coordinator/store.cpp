#include "coordinator/store.h"

#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/listener.h>
#include <rocksdb/merge_operator.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "coordinator/points.h"
#include "coordinator/snapshot.h"
#include "coordinator/store_internal.h"

namespace hivq {

namespace {

constexpr uint64_t most_log_bytes = uint64_t{256} << 20;     // a start reads so much of the log at most
constexpr uint64_t most_buffer_bytes = uint64_t{256} << 20;  // of all families that are not in tables yet
constexpr std::chrono::milliseconds lock_patience{3000}, lock_pause{100};
constexpr size_t cache_bytes = size_t{128} << 20;

/// RocksDB's own log file does not stand a full disk: the line after the one that failed aborts the process. What it
/// has to say to us comes as a status.
class NoLog final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

/// RocksDB's own recovery from a full disk waits for room for its largest buffer, 64 MiB, and turns resume() away
/// meanwhile. Ours wants no more than what is to be written.
class NoRecovery final : public rocksdb::EventListener {
 public:
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* automatic) override {
    *automatic = false;
  }
};

/// Points come into their row without reading it first; RocksDB puts the pieces together when it reads or rewrites
/// them. It never fails: merge_points() keeps what it cannot read.
class MergePoints final : public rocksdb::MergeOperator {
 public:
  const char* Name() const override { return "hivq.points"; }
  bool FullMergeV2(const MergeOperationInput& in, MergeOperationOutput* out) const override {
    std::vector<std::string_view> rows;
    rows.reserve(in.operand_list.size() + 1);
    if (in.existing_value != nullptr) rows.push_back(in.existing_value->ToStringView());
    for (const auto& operand : in.operand_list) rows.push_back(operand.ToStringView());
    out->new_value = merge_points(rows);
    return true;
  }
  bool PartialMergeMulti(const rocksdb::Slice&, const std::deque<rocksdb::Slice>& operands, std::string* merged,
                         rocksdb::Logger*) const override {
    std::vector<std::string_view> rows;
    rows.reserve(operands.size());
    for (const auto& operand : operands) rows.push_back(operand.ToStringView());
    *merged = merge_points(rows);
    return true;
  }
};

rocksdb::ColumnFamilyOptions options_of(const std::string& family, const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions options;
  options.compression = rocksdb::kLZ4Compression;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.format_version = 5;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  if (family == family_names[static_cast<size_t>(Family::points)]) {
    options.merge_operator = std::make_shared<MergePoints>();
  }
  if (family == family_names[static_cast<size_t>(Family::blobs)]) {
    // Checkpoint chunks are written once and deleted whole: they stay out of the tree's compactions, and a file of
    // them is rewritten once half of it is garbage.
    options.enable_blob_files = true;
    options.min_blob_size = 64 << 10;
    options.blob_compression_type = rocksdb::kLZ4Compression;
    options.enable_blob_garbage_collection = true;
    options.blob_garbage_collection_age_cutoff = 1.0;
    options.blob_garbage_collection_force_threshold = 0.5;
  }
  if (family == family_names[static_cast<size_t>(Family::pictures)]) {
    // The rows are asked for without the PNGs, which no compression makes smaller.
    options.enable_blob_files = true;
    options.min_blob_size = 4 << 10;
    options.enable_blob_garbage_collection = true;
  }
  return options;
}

rocksdb::DBOptions database_options() {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.info_log = std::make_shared<NoLog>();
  options.listeners = {std::make_shared<NoRecovery>()};
  options.max_background_jobs = 2;
  options.paranoid_checks = true;
  options.max_total_wal_size = most_log_bytes;
  options.db_write_buffer_size = most_buffer_bytes;
  // Every commit is synced, so only the last one, not acknowledged, may be torn; damage before it is an error, not a
  // loss.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.track_and_verify_wals_in_manifest = true;
  return options;
}

/// Ours, and those that another version has put there: RocksDB wants to open all.
std::vector<std::string> families_to_open(const rocksdb::DBOptions& options, const std::string& path) {
  std::vector<std::string> names{rocksdb::kDefaultColumnFamilyName};
  names.insert(names.end(), std::begin(family_names), std::end(family_names));
  std::vector<std::string> found;
  (void)rocksdb::DB::ListColumnFamilies(options, path, &found);  // fails where there is no store yet
  for (auto& name : found) {
    if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
  }
  return names;
}

bool may_not_write(const std::string& text) {
  return text.find("ermission denied") != std::string::npos || text.find("ead-only") != std::string::npos;
}

/// Another process has the store.
bool is_locked(const rocksdb::Status& status) {
  const std::string text = status.ToString();
  return text.find("lock") != std::string::npos && text.find("LOCK") != std::string::npos && !may_not_write(text);
}

}  // namespace

bool no_space(const rocksdb::Status& status) {
  return status.IsNoSpace() || status.ToString().find("No space left") != std::string::npos;
}

Error explain(const rocksdb::Status& status, const std::string& folder) {
  std::string text = status.ToString();
  if (no_space(status)) {
    return error("the disk of {} is full: free space there; nothing acknowledged is lost", folder);
  }
  if (is_locked(status)) {
    return error("{} is in use by another coordinator: stop that one, or choose another folder with --data", folder);
  }
  if (may_not_write(text)) {
    return error("{} cannot be written: give this user the right to write there, or choose another folder with --data",
                 folder);
  }
  if (status.IsCorruption()) {
    return error("the data in {} is damaged: {}; `hivq-coordinator verify` tells what is", folder, text);
  }
  return error("the store in {} failed: {}", folder, text);
}

Store::Store(std::unique_ptr<State> state) : state_(std::move(state)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Result<Store> Store::open(const std::string& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return error("the folder {} cannot be made: {}; choose another with --data", folder, failed.message());

  const rocksdb::DBOptions options = database_options();
  const std::vector<std::string> names = families_to_open(options, folder + "/store");
  const auto cache = rocksdb::NewLRUCache(cache_bytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const auto& name : names) families.emplace_back(name, options_of(name, cache));
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  rocksdb::Status status;
  for (auto waited = std::chrono::milliseconds(0);; waited += lock_pause) {
    status = rocksdb::DB::Open(options, folder + "/store", families, &handles, &db);
    // One that was killed has its lock until its last write to the disk is through.
    if (!is_locked(status) || waited >= lock_patience) break;
    std::this_thread::sleep_for(lock_pause);
  }
  if (!status.ok()) return explain(status, folder);
  auto state = std::make_unique<State>();
  state->folder = folder;
  state->db.reset(db);
  std::copy_n(handles.begin() + 1, family_count, state->families.begin());
  db->DestroyColumnFamilyHandle(handles[0]);
  for (size_t i = family_count + 1; i < handles.size(); ++i) {
    if (names[i] == old_metrics) {
      state->old = handles[i];
    } else {
      db->DestroyColumnFamilyHandle(handles[i]);
    }
  }
  Store store(std::move(state));
  if (auto ready = store.bring_to_schema(); !ready) return ready.error();
  return store;
}

Status Store::bring_to_schema() {
  auto stored = get(Family::meta, "schema_version");
  if (!stored) return stored.error();
  uint64_t found = 0;
  if (*stored) {
    found = (*stored)->size() == 8 ? number_at(**stored, 0) : 0;
    if (found == 0 || found > schema_version) {
      return error("the data in {} has schema {}; this hivq reads {}: use the hivq that wrote it, or another folder",
                   state_->folder, found, schema_version);
    }
  } else {
    Write first{Family::meta, "schema_version", key_of(schema_version)};
    if (auto written = commit({&first, 1}); !written) return written;
  }
  if (found == 1) {
    auto migrated = migrate_from_1(*this, *state_->db, state_->old, state_->handle(Family::points));
    if (!migrated) return migrated;
  }
  if (state_->old != nullptr) {  // its rows are in the new ones
    auto status = state_->db->DropColumnFamily(state_->old);
    if (!status.ok()) return explain(status, state_->folder);
    state_->db->DestroyColumnFamilyHandle(std::exchange(state_->old, nullptr));
  }
  return {};
}

Status Store::commit(std::span<const Write> writes) {
  if (writes.empty()) return {};
  rocksdb::WriteBatch batch;
  std::unique_ptr<rocksdb::Iterator> uses;
  for (const auto& write : writes) {
    auto* family = state_->handle(write.family);
    rocksdb::Status status;
    if (!write.value) {
      status = batch.Delete(family, write.key);
    } else if (write.merge) {
      status = batch.Merge(family, write.key, *write.value);
    } else if (write.family == Family::blobs) {
      // A chunk that is named is there: chunks have the name of their bytes.
      if (!uses) uses.reset(state_->db->NewIterator({}, state_->handle(Family::uses)));
      uses->Seek(write.key);
      const bool there = uses->Valid() && uses->key().starts_with(write.key);
      if (!there) status = batch.Put(family, write.key, *write.value);
    } else if (write.once) {
      rocksdb::PinnableSlice there;
      status = state_->db->Get({}, family, write.key, &there);
      if (status.IsNotFound()) status = batch.Put(family, write.key, *write.value);
    } else {
      status = batch.Put(family, write.key, *write.value);
    }
    if (!status.ok()) return explain(status, state_->folder);
  }
  rocksdb::WriteOptions options;
  options.sync = true;
  auto status = state_->db->Write(options, &batch);
  if (status.ok()) return {};
  state_->full = no_space(status);
  return explain(status, state_->folder);
}

bool Store::full() const { return state_->full; }

Status Store::resume() {
  auto status = state_->db->Resume();
  if (!status.ok()) return explain(status, state_->folder);
  state_->full = false;
  return {};
}

uint64_t Store::free_bytes() const {
  std::error_code failed;
  const auto space = std::filesystem::space(state_->folder, failed);
  return failed ? 0 : space.available;
}

Result<std::optional<std::string>> Store::get(Family family, const std::string& key) const {
  std::string value;
  auto status = state_->db->Get({}, state_->handle(family), key, &value);
  if (status.IsNotFound()) return std::optional<std::string>();
  if (!status.ok()) return explain(status, state_->folder);
  return std::optional<std::string>(std::move(value));
}

Result<std::optional<std::string>> Store::first_key(Family family) const {
  std::optional<std::string> found;
  Status status = scan(family, "", [&](std::string_view key, std::string_view) {
    found = key;
    return false;
  });
  if (!status) return status.error();
  return found;
}

Result<std::optional<std::string>> Store::last_key(Family family) const {
  std::unique_ptr<rocksdb::Iterator> at(state_->db->NewIterator({}, state_->handle(family)));
  at->SeekToLast();
  if (!at->status().ok()) return explain(at->status(), state_->folder);
  return at->Valid() ? std::optional(at->key().ToString()) : std::nullopt;
}

Result<std::optional<std::pair<std::string, std::string>>> Store::last_before(Family family,
                                                                              const std::string& key) const {
  std::unique_ptr<rocksdb::Iterator> at(state_->db->NewIterator({}, state_->handle(family)));
  at->SeekForPrev(key);
  if (at->Valid() && at->key() == key) at->Prev();
  if (!at->status().ok()) return explain(at->status(), state_->folder);
  if (!at->Valid()) return std::optional<std::pair<std::string, std::string>>();
  return std::optional(std::pair(at->key().ToString(), at->value().ToString()));
}

Status Store::scan(Family family, const std::string& prefix,
                   const std::function<bool(std::string_view, std::string_view)>& row) const {
  std::unique_ptr<rocksdb::Iterator> at(state_->db->NewIterator({}, state_->handle(family)));
  for (at->Seek(prefix); at->Valid() && at->key().starts_with(prefix); at->Next()) {
    if (!row(at->key().ToStringView(), at->value().ToStringView())) return {};
  }
  if (!at->status().ok()) return explain(at->status(), state_->folder);
  return {};
}

struct Store::Cursor::Place {
  std::unique_ptr<rocksdb::Iterator> at;
  std::string prefix, folder;
  bool begun = false;
};

Store::Cursor::Cursor(std::unique_ptr<Place> place) : place_(std::move(place)) {}
Store::Cursor::Cursor(Cursor&&) noexcept = default;
Store::Cursor::~Cursor() = default;

bool Store::Cursor::next() {
  std::exchange(place_->begun, true) ? place_->at->Next() : place_->at->Seek(place_->prefix);
  return place_->at->Valid() && place_->at->key().starts_with(place_->prefix);
}
std::string_view Store::Cursor::key() const { return place_->at->key().ToStringView(); }
std::string_view Store::Cursor::value() const { return place_->at->value().ToStringView(); }
Status Store::Cursor::status() const {
  if (place_->at->status().ok()) return {};
  return explain(place_->at->status(), place_->folder);
}

Store::Cursor Store::cursor(Family family, const std::string& prefix) const {
  std::unique_ptr<rocksdb::Iterator> at(state_->db->NewIterator({}, state_->handle(family)));
  return Cursor(std::unique_ptr<Cursor::Place>(new Cursor::Place{std::move(at), prefix, state_->folder}));
}

Result<Snapshot> Store::snapshot() const { return read_snapshot(*this); }

}  // namespace hivq
