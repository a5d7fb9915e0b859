#pragma once

// Answers in SQL as text. Pure.

#include <string>
#include <vector>

#include "common/messages.h"
#include "jobs/table.h"

namespace hivq::cli {

/// In full precision; NULL is empty.
std::string sql_text(const SqlValue& value);
/// A batch as lines of CSV (RFC 4180), the names first where it is the first. NULL is an empty field.
std::string sql_csv(const SqlAnswer& batch);
/// A batch as objects of JSON, one a line. NULL and what is not finite is null.
std::string sql_json_lines(const SqlAnswer& batch);
/// The whole answer as a table; numbers to the right.
Table sql_table(const std::vector<std::string>& columns, const std::vector<SqlRow>& rows);

}  // namespace hivq::cli
