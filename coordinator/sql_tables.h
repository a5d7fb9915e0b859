#pragma once

// The tables of SQL: which of the store's rows each is made of, and how.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/sql.h"

namespace hivq {

/// A column of a table, as `hivq query` without a question tells it.
struct SqlColumn {
  std::string name, type, about;
};
struct SqlTable {
  std::string name, about;
  std::vector<SqlColumn> columns;
};

/// A table over the rows of one family, in the order of their keys. Its first columns are the numbers that a key begins
/// with: fixing them in a question narrows what is read to the keys that begin so.
struct StoredTable {
  SqlTable table;
  Family family;
  std::string prefix;      // of the keys
  size_t key_numbers = 0;  // leading columns that are the key's numbers
  bool key_name = false;   // then a column of text, ended by 0 in the key
  /// Appends what a stored row gives: one row, several or none.
  std::function<Status(std::string_view key, std::string_view value, std::vector<SqlRow>& rows)> read;
  std::vector<SqlRow> fixed = {};  // the rows of a table that is not stored
};

/// All tables but those of single jobs.
const std::vector<StoredTable>& stored_tables();

/// `trials_of_N`: a row a trial, with a column for each of its parameters and each metric of its last evaluation.
/// Errors: there is no such job; a row that cannot be read.
Result<StoredTable> trials_of_job(const Store& store, JobId job);

}  // namespace hivq
