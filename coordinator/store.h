#pragma once

// The store: everything that hivq keeps, in one RocksDB. The only door to RocksDB.

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/result.h"
#include "coordinator/core.h"
#include "coordinator/rows.h"

namespace hivq {

class Store {
 public:
  /// Opens or creates the store in `folder`/store; data of an older schema is brought to this one first (a crash in the
  /// middle of that leaves the old data whole). Errors: another process has it open, the folder cannot be written, the
  /// disk is full, the data is damaged or of a newer hivq.
  static Result<Store> open(const std::string& folder);

  /// Commits all writes at once and returns when they are on the disk. An Error leaves none of them. A chunk that is
  /// there already is not written again.
  Status commit(std::span<const Write> writes);

  /// Whether the last failure of commit() was a full disk. Then nothing more is written until resume() succeeds; what
  /// was committed stays readable.
  bool full() const;
  /// Tries to write again. Errors: the disk is still full.
  Status resume();
  /// Bytes that are free on the disk.
  uint64_t free_bytes() const;

  /// The value of a key, or nothing where there is none. Errors: the data is damaged, the disk fails.
  Result<std::optional<std::string>> get(Family family, const std::string& key) const;

  /// Calls `row` for each key that starts with `prefix`, in order, until it returns false. Errors: as of get().
  Status scan(Family family, const std::string& prefix,
              const std::function<bool(std::string_view key, std::string_view value)>& row) const;

  /// The keys that start with a prefix, in order, one at a time; the family as it is when the cursor is made.
  class Cursor {
   public:
    /// To the next one, at first to the first; false: there is none, or an Error, which status() tells.
    bool next();
    std::string_view key() const;
    std::string_view value() const;
    Status status() const;

    Cursor(Cursor&&) noexcept;
    ~Cursor();

   private:
    friend class Store;
    struct Place;
    explicit Cursor(std::unique_ptr<Place> place);
    std::unique_ptr<Place> place_;
  };
  Cursor cursor(Family family, const std::string& prefix) const;

  /// The row with the largest key below `key`, or nothing where there is none. Errors: as of get().
  Result<std::optional<std::pair<std::string, std::string>>> last_before(Family family, const std::string& key) const;

  /// The first and the last key of a family, or nothing where it is empty. Errors: as of get().
  Result<std::optional<std::string>> first_key(Family family) const;
  Result<std::optional<std::string>> last_key(Family family) const;

  /// What a core is made from. Errors: a row that cannot be read, by its family and key.
  Result<Snapshot> snapshot() const;

  // ---- Maintenance ----

  /// One of the copies in a folder of backups.
  struct BackupInfo {
    uint64_t number = 0;  // counted up
    Millis at = 0;        // whole seconds
    uint64_t bytes = 0;   // with what it shares with others
  };
  /// Copies what is committed now into `folder`, beside older backups there, whose files it shares where they are the
  /// same. The store may be written meanwhile, by another thread. Once the copy is whole, older ones are erased, so
  /// that `keep` are left; 0: none is. Errors: the folder cannot be written, its disk is full.
  Result<BackupInfo> backup(const std::string& folder, uint64_t keep = 0) const;
  /// The backups in a folder, the oldest first. Errors: there are none.
  static Result<std::vector<BackupInfo>> backups(const std::string& folder);
  /// Puts a backup (0: the newest), after checking its checksums, where open() finds it. Errors: there is a store
  /// already, the backup is damaged or not there.
  static Status restore(const std::string& backups, const std::string& folder, uint64_t number = 0);
  /// Rewrites all data without what was replaced and erased, and returns the bytes on disk before and after.
  Result<std::pair<uint64_t, uint64_t>> compact();
  /// Reads every block and compares its checksum. Errors: the first that is damaged, with its file.
  Status verify_checksums() const;

  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();

 private:
  struct State;
  explicit Store(std::unique_ptr<State> state);
  Status bring_to_schema();
  std::unique_ptr<State> state_;
};

}  // namespace hivq
