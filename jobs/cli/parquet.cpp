#include "jobs/cli/parquet.h"

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <fmt/format.h>
#include <parquet/arrow/writer.h>

#include <algorithm>
#include <filesystem>

#include "jobs/cli/query.h"

namespace hivq::cli {

namespace {

constexpr int64_t row_group = int64_t{1} << 20;

// In the order in which one takes the values of those before it.
enum class Kind { none, whole, real, text };

Kind kind_of(const SqlValue& value) { return static_cast<Kind>(value.index()); }

std::shared_ptr<arrow::DataType> type_of(Kind kind) {
  return kind == Kind::whole ? arrow::int64() : kind == Kind::real ? arrow::float64() : arrow::large_utf8();
}

/// A column of one batch.
struct Piece {
  Kind kind = Kind::none;
  std::shared_ptr<arrow::Array> values;
};

/// `append(builder, i)` appends the i-th of `size` values.
template <class Builder, class Append>
arrow::Result<std::shared_ptr<arrow::Array>> build(size_t size, const Append& append) {
  Builder builder;
  ARROW_RETURN_NOT_OK(builder.Reserve(static_cast<int64_t>(size)));
  for (size_t i = 0; i < size; ++i) ARROW_RETURN_NOT_OK(append(builder, i));
  return builder.Finish();
}

arrow::Result<Piece> piece_of(const std::vector<SqlRow>& rows, size_t column) {
  static const SqlValue null;
  const auto at = [&](size_t row) -> const SqlValue& { return column < rows[row].size() ? rows[row][column] : null; };
  Piece piece;
  for (size_t i = 0; i < rows.size(); ++i) piece.kind = std::max(piece.kind, kind_of(at(i)));
  const auto or_null = [&](const auto& append) {
    return [&at, &append](auto& builder, size_t i) {
      return kind_of(at(i)) == Kind::none ? builder.AppendNull() : append(builder, at(i));
    };
  };
  switch (piece.kind) {
    case Kind::none: {
      ARROW_ASSIGN_OR_RAISE(piece.values, arrow::MakeArrayOfNull(arrow::null(), static_cast<int64_t>(rows.size())));
      return piece;
    }
    case Kind::whole: {
      const auto append = [](auto& builder, const SqlValue& value) { return builder.Append(std::get<int64_t>(value)); };
      ARROW_ASSIGN_OR_RAISE(piece.values, build<arrow::Int64Builder>(rows.size(), or_null(append)));
      return piece;
    }
    case Kind::real: {
      const auto append = [](auto& builder, const SqlValue& value) {
        const auto* whole = std::get_if<int64_t>(&value);
        return builder.Append(whole ? static_cast<double>(*whole) : std::get<double>(value));
      };
      ARROW_ASSIGN_OR_RAISE(piece.values, build<arrow::DoubleBuilder>(rows.size(), or_null(append)));
      return piece;
    }
    case Kind::text:
      break;
  }
  const auto append = [](auto& builder, const SqlValue& value) { return builder.Append(sql_text(value)); };
  ARROW_ASSIGN_OR_RAISE(piece.values, build<arrow::LargeStringBuilder>(rows.size(), or_null(append)));
  return piece;
}

/// The piece as one of a wider kind.
arrow::Result<std::shared_ptr<arrow::Array>> widened(const Piece& piece, Kind kind) {
  const int64_t size = piece.values->length();
  if (piece.kind == kind) return piece.values;
  if (piece.kind == Kind::none) return arrow::MakeArrayOfNull(type_of(kind), size);
  const auto* wholes = piece.kind == Kind::whole ? static_cast<const arrow::Int64Array*>(piece.values.get()) : nullptr;
  const auto* reals = wholes ? nullptr : static_cast<const arrow::DoubleArray*>(piece.values.get());
  const auto each = [&](auto& builder, size_t index, const auto& append) {
    const auto i = static_cast<int64_t>(index);
    if (piece.values->IsNull(i)) return builder.AppendNull();
    return wholes ? append(wholes->Value(i)) : append(reals->Value(i));
  };
  if (kind == Kind::real) {
    return build<arrow::DoubleBuilder>(static_cast<size_t>(size), [&](auto& builder, size_t i) {
      return each(builder, i, [&](auto value) { return builder.Append(static_cast<double>(value)); });
    });
  }
  return build<arrow::LargeStringBuilder>(static_cast<size_t>(size), [&](auto& builder, size_t i) {
    return each(builder, i, [&](auto value) { return builder.Append(fmt::format("{}", value)); });
  });
}

}  // namespace

struct ParquetFile::State {
  std::string path;
  std::vector<std::string> names;
  std::vector<std::vector<Piece>> columns;
  uint64_t rows = 0;

  arrow::Status add(const SqlAnswer& batch) {
    if (names.empty()) {
      names = batch.columns;
      columns.resize(names.size());
    }
    if (batch.rows.empty()) return arrow::Status::OK();
    for (size_t i = 0; i < columns.size(); ++i) {
      ARROW_ASSIGN_OR_RAISE(auto piece, piece_of(batch.rows, i));
      columns[i].push_back(std::move(piece));
    }
    rows += batch.rows.size();
    return arrow::Status::OK();
  }

  arrow::Status write(const std::string& part) {
    arrow::FieldVector fields;
    arrow::ChunkedArrayVector chunked;
    for (size_t i = 0; i < columns.size(); ++i) {
      Kind kind = Kind::none;
      for (const auto& piece : columns[i]) kind = std::max(kind, piece.kind);
      if (kind == Kind::none) kind = Kind::text;
      arrow::ArrayVector pieces;
      for (auto& piece : columns[i]) {
        ARROW_ASSIGN_OR_RAISE(auto wide, widened(piece, kind));
        pieces.push_back(std::move(wide));
        piece.values.reset();
      }
      const auto type = type_of(kind);
      fields.push_back(arrow::field(names[i], type));
      chunked.push_back(std::make_shared<arrow::ChunkedArray>(std::move(pieces), type));
    }
    const auto table = arrow::Table::Make(arrow::schema(fields), chunked, static_cast<int64_t>(rows));
    ARROW_ASSIGN_OR_RAISE(auto file, arrow::io::FileOutputStream::Open(part));
    const auto properties = parquet::WriterProperties::Builder().compression(parquet::Compression::ZSTD)->build();
    ARROW_RETURN_NOT_OK(parquet::arrow::WriteTable(*table, arrow::default_memory_pool(), file, row_group, properties));
    return file->Close();
  }
};

ParquetFile::ParquetFile(std::string path) : state_(std::make_unique<State>()) { state_->path = std::move(path); }
ParquetFile::~ParquetFile() = default;

Status ParquetFile::add(const SqlAnswer& batch) {
  auto added = state_->add(batch);
  if (!added.ok()) return error("the answer cannot be kept for {}: {}", state_->path, added.message());
  return {};
}

Result<uint64_t> ParquetFile::finish() {
  const std::string part = state_->path + ".part";
  std::error_code failed;
  auto written = state_->write(part);
  if (!written.ok()) {
    std::filesystem::remove(part, failed);
    return error("{} cannot be written: {}; choose another path, or free space there", state_->path, written.message());
  }
  std::filesystem::rename(part, state_->path, failed);
  if (failed) {
    std::error_code ignored;
    std::filesystem::remove(part, ignored);
    return error("{} cannot be written: {}; choose another path", state_->path, failed.message());
  }
  return state_->rows;
}

}  // namespace hivq::cli
