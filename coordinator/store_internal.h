#pragma once

// For the store's own files: the open database.

#include <rocksdb/db.h>

#include <array>
#include <atomic>
#include <memory>
#include <string>

#include "coordinator/store.h"

namespace hivq {

inline constexpr uint64_t schema_version = 2;
inline constexpr const char* old_metrics = "metrics";  // the family of schema 1 that held a point a row

struct Store::State {
  std::string folder;
  std::unique_ptr<rocksdb::DB> db;
  std::array<rocksdb::ColumnFamilyHandle*, family_count> families{};
  rocksdb::ColumnFamilyHandle* old = nullptr;  // old_metrics, where it is there still
  bool full = false;

  ~State() {
    for (auto* family : families) {
      if (family != nullptr) db->DestroyColumnFamilyHandle(family);
    }
    if (old != nullptr) db->DestroyColumnFamilyHandle(old);
    if (db) db->Close();
  }
  rocksdb::ColumnFamilyHandle* handle(Family family) const { return families[static_cast<size_t>(family)]; }
};

/// RocksDB's status as a sentence.
Error explain(const rocksdb::Status& status, const std::string& folder);
bool no_space(const rocksdb::Status& status);

/// Brings the rows of schema 1 to schema 2, in a way that may be broken off anywhere and begun again.
Status migrate_from_1(Store& store, rocksdb::DB& db, rocksdb::ColumnFamilyHandle* old_points,
                      rocksdb::ColumnFamilyHandle* points);

}  // namespace hivq
