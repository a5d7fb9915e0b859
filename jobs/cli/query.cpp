#include "jobs/cli/query.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "jobs/views/json.h"

namespace hivq::cli {

namespace {

Cell cell_of(const SqlValue& value) {
  if (std::holds_alternative<std::monostate>(value)) return Cell("–", Tint::dim);
  if (const auto* real = std::get_if<double>(&value)) return fmt::format("{:.10g}", *real);
  return sql_text(value);
}

}  // namespace

std::string sql_text(const SqlValue& value) {
  if (const auto* whole = std::get_if<int64_t>(&value)) return fmt::format("{}", *whole);
  if (const auto* real = std::get_if<double>(&value)) return fmt::format("{}", *real);
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  return "";
}

std::string sql_csv(const SqlAnswer& batch) {
  std::string text;
  const auto line = [&](const auto& values, const auto& text_of) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (i > 0) text += ',';
      text += csv_field(text_of(values[i]));
    }
    text += '\n';
  };
  if (batch.batch == 0) line(batch.columns, [](const std::string& name) { return name; });
  for (const SqlRow& row : batch.rows) line(row, sql_text);
  return text;
}

std::string sql_json_lines(const SqlAnswer& batch) {
  std::string text;
  for (const SqlRow& row : batch.rows) {
    auto object = nlohmann::ordered_json::object();
    for (size_t i = 0; i < row.size() && i < batch.columns.size(); ++i) object[batch.columns[i]] = to_json(row[i]);
    text += object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
  }
  return text;
}

Table sql_table(const std::vector<std::string>& columns, const std::vector<SqlRow>& rows) {
  Table table;
  for (size_t i = 0; i < columns.size(); ++i) {
    const bool number = std::ranges::any_of(
        rows, [&](const SqlRow& row) { return i < row.size() && (row[i].index() == 1 || row[i].index() == 2); });
    table.columns.push_back({columns[i], number ? Align::right : Align::left, !number});
  }
  for (const SqlRow& row : rows) {
    std::vector<Cell> cells;
    for (const SqlValue& value : row) cells.push_back(cell_of(value));
    table.rows.push_back(std::move(cells));
  }
  return table;
}

}  // namespace hivq::cli
