// query: SQL over what is stored.

#include "common/ids.h"
#include "jobs/cli/commands.h"
#include "jobs/cli/parquet.h"
#include "jobs/cli/query.h"
#include "jobs/cli/terminal.h"

namespace hivq::cli {

namespace {

constexpr std::chrono::seconds kPatience{45};  // the coordinator's own limit is shorter
constexpr size_t kMostRows = 2000;             // of a table for people

/// Every batch of the answer, in order, until `each` has enough.
Status ask_batches(Client& client, const std::string& question, const std::function<Result<bool>(SqlAnswer)>& each) {
  const std::string key = random_id();
  for (uint64_t batch = 0;; ++batch) {
    auto answer = client.try_ask<SqlAnswer>(QuerySql{key, question, batch}, kPatience);
    if (!answer) return client.nobody();
    if (!*answer) return answer->error();
    const bool end = (*answer)->end;
    auto more = each(std::move(**answer));
    if (!more) return more.error();
    if (end || !*more) return {};
  }
}

/// What hivq asks to tell its tables: SQLite's own list of a table's columns would not say what they are.
std::string question_of(const std::string& given) {
  return given.empty() ? "SELECT \"table\", \"column\", type, about FROM tables" : given;
}

Result<int> write_parquet(Client& client, const std::string& question, const std::string& path) {
  ParquetFile file(path);
  Status asked = ask_batches(client, question, [&](const SqlAnswer& batch) -> Result<bool> {
    if (auto added = file.add(batch); !added) return added.error();
    return true;
  });
  if (!asked) return asked.error();
  auto rows = file.finish();
  if (!rows) return rows.error();
  if (auto done = print(fmt::format("{} row{} in {}\n", *rows, *rows == 1 ? "" : "s", path)); !done)
    return done.error();
  return 0;
}

}  // namespace

Result<int> query(const Common& common, const std::string& given, const std::string& parquet) {
  auto session = Session::for_reading(common.where);
  if (!session) return session.error();
  if (!parquet.empty()) return write_parquet(session->client(), question_of(given), parquet);
  std::vector<std::string> columns;
  std::vector<SqlRow> rows;
  bool cut = false;
  Status asked = ask_batches(session->client(), question_of(given), [&](SqlAnswer batch) -> Result<bool> {
    if (common.csv || common.json) {
      if (auto done = print(common.csv ? sql_csv(batch) : sql_json_lines(batch)); !done) return done.error();
      return true;
    }
    columns = std::move(batch.columns);
    for (SqlRow& row : batch.rows) {
      cut = rows.size() == kMostRows;
      if (cut) return false;
      rows.push_back(std::move(row));
    }
    return true;
  });
  if (!asked) return asked.error();
  if (common.csv || common.json) return 0;
  std::string text = render(sql_table(columns, rows), terminal_of(1).style());
  if (rows.empty()) text += "no rows\n";
  if (cut) text += fmt::format("… the first {} rows; --csv or --json prints all of them\n", kMostRows);
  if (auto done = print(text); !done) return done.error();
  return 0;
}

}  // namespace hivq::cli
