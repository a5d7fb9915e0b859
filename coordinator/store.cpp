#include "coordinator/store.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>

#include <array>
#include <filesystem>

#include "coordinator/snapshot.h"

namespace hivq {

namespace {

constexpr uint64_t schema_version = 1;

Error explain(const rocksdb::Status& status, const std::string& folder) {
  std::string text = status.ToString();
  if (status.IsNoSpace() || text.find("No space left") != std::string::npos) {
    return error("the disk of {} is full: free space there and start again; nothing acknowledged is lost", folder);
  }
  if (text.find("lock") != std::string::npos && text.find("LOCK") != std::string::npos) {
    if (text.find("ermission denied") == std::string::npos && text.find("ead-only") == std::string::npos) {
      return error("{} is in use by another coordinator: stop that one, or choose another folder with --data", folder);
    }
  }
  if (text.find("ermission denied") != std::string::npos || text.find("ead-only") != std::string::npos) {
    return error("{} cannot be written: give this user the right to write there, or choose another folder with --data",
                 folder);
  }
  if (status.IsCorruption()) return error("the data in {} is damaged: {}", folder, text);
  return error("the store in {} failed: {}", folder, text);
}

/// RocksDB's own log file does not stand a full disk: the line after the one that failed aborts the process. What it has to
/// say to us comes as a status.
class NoLog final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

rocksdb::ColumnFamilyOptions options_of(Family family) {
  rocksdb::ColumnFamilyOptions options;
  options.compression = rocksdb::kLZ4Compression;
  if (family == Family::blobs) {
    // Checkpoint chunks are written once and deleted whole: they stay out of the tree's compactions.
    options.enable_blob_files = true;
    options.min_blob_size = 64 << 10;
    options.blob_compression_type = rocksdb::kLZ4Compression;
    options.enable_blob_garbage_collection = true;
  }
  return options;
}

}  // namespace

struct Store::State {
  std::string folder;
  std::unique_ptr<rocksdb::DB> db;
  std::array<rocksdb::ColumnFamilyHandle*, family_count> families{};

  ~State() {
    for (auto* family : families) {
      if (family != nullptr) db->DestroyColumnFamilyHandle(family);
    }
    if (db) db->Close();
  }
  rocksdb::ColumnFamilyHandle* handle(Family family) const { return families[static_cast<size_t>(family)]; }
};

Store::Store(std::unique_ptr<State> state) : state_(std::move(state)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Result<Store> Store::open(const std::string& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return error("the folder {} cannot be made: {}; choose another with --data", folder, failed.message());

  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.info_log = std::make_shared<NoLog>();
  options.max_background_jobs = 2;
  options.paranoid_checks = true;
  // Every commit is synced, so only the last one, not acknowledged, may be torn; damage before it is an error, not a
  // loss.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.track_and_verify_wals_in_manifest = true;
  std::vector<rocksdb::ColumnFamilyDescriptor> families{{rocksdb::kDefaultColumnFamilyName, {}}};
  for (size_t i = 0; i < family_count; ++i) families.emplace_back(family_names[i], options_of(static_cast<Family>(i)));

  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  auto status = rocksdb::DB::Open(options, folder + "/store", families, &handles, &db);
  if (!status.ok()) return explain(status, folder);
  auto state = std::make_unique<State>();
  state->folder = folder;
  state->db.reset(db);
  db->DestroyColumnFamilyHandle(handles[0]);
  std::copy(handles.begin() + 1, handles.end(), state->families.begin());

  Store store(std::move(state));
  auto version = store.get(Family::meta, "schema_version");
  if (!version) return version.error();
  if (*version) {
    uint64_t found = (*version)->size() == 8 ? number_at(**version, 0) : 0;
    if (found != schema_version) {
      return error("the data in {} has schema {}; this hivq reads {}: use the hivq that wrote it, or another folder",
                   folder, found, schema_version);
    }
    return store;
  }
  Write first{Family::meta, "schema_version", key_of(schema_version)};
  if (auto written = store.commit({&first, 1}); !written) return written.error();
  return store;
}

Status Store::commit(std::span<const Write> writes) {
  if (writes.empty()) return {};
  rocksdb::WriteBatch batch;
  for (const auto& write : writes) {
    auto status = write.value ? batch.Put(state_->handle(write.family), write.key, *write.value)
                              : batch.Delete(state_->handle(write.family), write.key);
    if (!status.ok()) return explain(status, state_->folder);
  }
  rocksdb::WriteOptions options;
  options.sync = true;
  auto status = state_->db->Write(options, &batch);
  if (!status.ok()) return explain(status, state_->folder);
  return {};
}

Result<std::optional<std::string>> Store::get(Family family, const std::string& key) const {
  std::string value;
  auto status = state_->db->Get({}, state_->handle(family), key, &value);
  if (status.IsNotFound()) return std::optional<std::string>();
  if (!status.ok()) return explain(status, state_->folder);
  return std::optional<std::string>(std::move(value));
}

Result<std::optional<std::string>> Store::last_key(Family family) const {
  std::unique_ptr<rocksdb::Iterator> at(state_->db->NewIterator({}, state_->handle(family)));
  at->SeekToLast();
  if (!at->status().ok()) return explain(at->status(), state_->folder);
  return at->Valid() ? std::optional(at->key().ToString()) : std::nullopt;
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
  return Cursor(std::make_unique<Cursor::Place>(std::move(at), prefix, state_->folder));
}

Result<Snapshot> Store::snapshot() const { return read_snapshot(*this); }

}  // namespace hivq
