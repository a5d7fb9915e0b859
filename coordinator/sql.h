#pragma once

// Questions in SQL over what is stored: SQLite reads the store's rows through virtual tables, so nothing is copied and
// no other schema is kept. Reading only. From any thread, beside commits.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/result.h"
#include "coordinator/store.h"

namespace hivq {

struct SqlLimits {
  std::chrono::milliseconds time{30'000};  // of one next() and all those before it
  uint64_t rows = 10'000'000;              // of an answer
  const std::atomic<bool>* stop = nullptr;  // once it is set, a question that is being answered ends with an Error
};

/// An answer, row by row. A table is read as it is when its reading begins.
class SqlCursor {
 public:
  /// `store` must outlive it. Errors: SQLite's sentence about the question; anything but one SELECT; a table that there
  /// is not.
  static Result<SqlCursor> open(const Store& store, const std::string& question, SqlLimits limits = {});

  const std::vector<std::string>& columns() const;

  /// The next rows, at least one and about `bytes` of them; none at the end. Errors: the time or the number of rows is
  /// used up, too much memory, a row that cannot be read.
  Result<std::vector<SqlRow>> next(size_t bytes = 1 << 20);

  SqlCursor(SqlCursor&&) noexcept;
  SqlCursor& operator=(SqlCursor&&) noexcept;
  ~SqlCursor();

 private:
  struct State;
  explicit SqlCursor(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hivq
