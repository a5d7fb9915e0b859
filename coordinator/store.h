#pragma once

// The store: everything that hivq keeps, in one RocksDB. The only door to RocksDB.

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/result.h"
#include "coordinator/core.h"
#include "coordinator/rows.h"

namespace hivq {

class Store {
 public:
  /// Opens or creates the store in `folder`/store. Errors: another process has it open, the folder cannot be written,
  /// the disk is full, the data is damaged or of a newer hivq.
  static Result<Store> open(const std::string& folder);

  /// Commits all writes at once and returns when they are on the disk. An Error leaves none of them.
  Status commit(std::span<const Write> writes);

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

  /// The last key of a family, or nothing where it is empty. Errors: as of get().
  Result<std::optional<std::string>> last_key(Family family) const;

  /// What a core is made from. Errors: a row that cannot be read, by its family and key.
  Result<Snapshot> snapshot() const;

  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();

 private:
  struct State;
  explicit Store(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hivq
