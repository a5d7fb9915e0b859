// Backup, restore, compaction.

#include <rocksdb/utilities/backup_engine.h>

#include <algorithm>
#include <filesystem>

#include "coordinator/store_internal.h"

namespace hivq {

namespace {

namespace fs = std::filesystem;

Error explain_backup(const rocksdb::Status& status, const std::string& folder) {
  if (no_space(status)) return error("the disk of {} is full: free space there, or choose another folder", folder);
  return error("the backup in {} failed: {}", folder, status.ToString());
}

Store::BackupInfo info_of(const rocksdb::BackupInfo& info) {
  return {info.backup_id, info.timestamp * 1000, info.size};
}

rocksdb::BackupEngineOptions backup_options(const std::string& folder) {
  rocksdb::BackupEngineOptions options(folder);
  options.share_table_files = true;
  options.share_files_with_checksum = true;
  return options;
}

uint64_t bytes_in(const std::string& folder) {
  uint64_t bytes = 0;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(folder, failed)) {
    const auto size = entry.file_size(failed);
    if (!failed) bytes += size;
  }
  return bytes;
}

}  // namespace

Result<Store::BackupInfo> Store::backup(const std::string& folder, uint64_t keep) const {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) return error("the folder {} cannot be made: {}; choose another", folder, failed.message());
  rocksdb::BackupEngine* opened = nullptr;
  rocksdb::Status status = rocksdb::BackupEngine::Open(backup_options(folder), rocksdb::Env::Default(), &opened);
  std::unique_ptr<rocksdb::BackupEngine> engine(opened);
  if (!status.ok()) return explain_backup(status, folder);
  rocksdb::BackupID number = 0;
  rocksdb::CreateBackupOptions options;
  options.flush_before_backup = false;  // the log is copied: a full disk of ours shall not fail it
  status = engine->CreateNewBackup(options, state_->db.get(), &number);
  if (!status.ok()) return explain_backup(status, folder);
  status = engine->VerifyBackup(number);
  if (!status.ok()) return explain_backup(status, folder);
  if (keep > 0) status = engine->PurgeOldBackups(static_cast<uint32_t>(std::min<uint64_t>(keep, UINT32_MAX)));
  if (!status.ok()) return explain_backup(status, folder);
  rocksdb::BackupInfo info;
  status = engine->GetBackupInfo(number, &info);
  if (!status.ok()) return explain_backup(status, folder);
  return info_of(info);
}

Result<std::vector<Store::BackupInfo>> Store::backups(const std::string& folder) {
  rocksdb::BackupEngineReadOnly* opened = nullptr;
  rocksdb::Status status =
      rocksdb::BackupEngineReadOnly::Open(backup_options(folder), rocksdb::Env::Default(), &opened);
  std::unique_ptr<rocksdb::BackupEngineReadOnly> engine(opened);
  std::vector<rocksdb::BackupInfo> infos;
  if (status.ok()) engine->GetBackupInfo(&infos);
  if (infos.empty()) {
    return error("there is no backup in {}{}; `hivq-coordinator backup` makes one", folder,
                 status.ok() ? "" : ": " + status.ToString());
  }
  std::vector<BackupInfo> found;
  for (const auto& info : infos) found.push_back(info_of(info));
  return found;
}

Status Store::restore(const std::string& backups_folder, const std::string& folder, uint64_t number) {
  auto known = backups(backups_folder);
  if (!known) return known.error();
  if (number == 0) number = known->back().number;
  const std::string target = folder + "/store", part = folder + "/store.part";
  std::error_code failed;
  if (fs::exists(target, failed)) {
    return error("{} holds a store already: restore into another folder, or move {} away", folder, target);
  }
  fs::remove_all(part, failed);  // of a try that was broken off
  fs::create_directories(folder, failed);
  if (failed) return error("the folder {} cannot be made: {}", folder, failed.message());
  rocksdb::BackupEngineReadOnly* opened = nullptr;
  rocksdb::Status status =
      rocksdb::BackupEngineReadOnly::Open(backup_options(backups_folder), rocksdb::Env::Default(), &opened);
  std::unique_ptr<rocksdb::BackupEngineReadOnly> engine(opened);
  if (status.ok()) status = engine->VerifyBackup(static_cast<rocksdb::BackupID>(number), true);
  if (!status.ok()) {
    return error("backup {} in {} is damaged or not there: {}; take another with --number", number, backups_folder,
                 status.ToString());
  }
  status = engine->RestoreDBFromBackup(static_cast<rocksdb::BackupID>(number), part, part);
  if (!status.ok()) return explain_backup(status, folder);
  fs::rename(part, target, failed);
  if (failed) return error("{} cannot be moved to {}: {}", part, target, failed.message());
  return {};
}

Result<std::pair<uint64_t, uint64_t>> Store::compact() {
  const std::string path = state_->folder + "/store";
  const uint64_t before = bytes_in(path);
  for (auto* family : state_->families) {
    rocksdb::CompactRangeOptions options;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
    options.blob_garbage_collection_policy = rocksdb::BlobGarbageCollectionPolicy::kForce;
    options.blob_garbage_collection_age_cutoff = 1.0;
    auto status = state_->db->CompactRange(options, family, nullptr, nullptr);
    if (!status.ok()) return explain(status, state_->folder);
  }
  return std::pair(before, bytes_in(path));
}

Status Store::verify_checksums() const {
  auto status = state_->db->VerifyChecksum();
  if (status.ok()) status = state_->db->VerifyFileChecksums({});
  if (!status.ok() && !status.IsInvalidArgument()) return explain(status, state_->folder);  // no file checksums kept
  return {};
}

}  // namespace hivq
