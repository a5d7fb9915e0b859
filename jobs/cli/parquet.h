#pragma once

#include <memory>
#include <string>

#include "common/messages.h"
#include "common/result.h"

namespace hivq::cli {

/// An answer in SQL as an Apache Parquet file (zstd, a million rows a row group). A column is the narrowest of INT64,
/// DOUBLE and STRING that all of its values fit: whole numbers among others become DOUBLE, numbers among texts STRING;
/// a column of NULLs alone is STRING. Keeps the columns, not the rows, in memory until finish().
class ParquetFile {
 public:
  explicit ParquetFile(std::string path);
  ~ParquetFile();
  /// The batches of one answer, in order. Errors: there is no memory for it.
  Status add(const SqlAnswer& batch);
  /// Writes the file beside itself and then renames it, so that it is whole or not there. Gives the number of rows.
  /// Errors: it cannot be written.
  Result<uint64_t> finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hivq::cli
