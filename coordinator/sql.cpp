#include "coordinator/sql.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <regex>

#include "common/version.h"
#include "coordinator/sql_tables.h"

namespace hivq {

namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kStepsBetweenLooks = 4096;                         // at the clock: instructions of SQLite's machine
constexpr int kLongestValue = 16 << 20, kLongestText = 1 << 20;  // bytes of a value; of a question
constexpr int64_t kMostMemory = int64_t{512} << 20;              // of all questions together

// ---- A virtual table (sqlite.org/vtab.html) over stored rows ----

struct Connection {
  const Store& store;
  bool declaring = false;  // a table tells SQLite its columns, as a CREATE TABLE
  bool refused = false;    // the question wants more than to read
};

/// What SQLite hands to connect_table.
struct ReadTable {
  Connection& connection;
  const StoredTable& table;
};

struct VirtualTable : sqlite3_vtab {
  const Store* store;
  const StoredTable* table;
};

struct VirtualCursor : sqlite3_vtab_cursor {
  std::optional<Store::Cursor> stored;
  std::vector<SqlRow> rows;  // of the stored row at hand
  size_t at = 0;
  int64_t number = 0;
  bool end = false;
};

int fail(sqlite3_vtab* table, const std::string& reason) {
  sqlite3_free(table->zErrMsg);
  table->zErrMsg = sqlite3_mprintf("%s", reason.c_str());
  return SQLITE_ERROR;
}

std::string quoted(const std::string& name) {
  std::string text = "\"";
  for (const char c : name) text += c == '"' ? "\"\"" : std::string(1, c);
  return text + '"';
}

std::string declaration_of(const StoredTable& table) {
  std::string columns;
  for (const SqlColumn& column : table.table.columns) {
    columns += fmt::format("{}{} {}", columns.empty() ? "" : ", ", quoted(column.name), column.type);
  }
  return fmt::format("CREATE TABLE x({})", columns);
}

int connect_table(sqlite3* db, void* context, int, const char* const*, sqlite3_vtab** made, char**) {
  const auto& [connection, stored] = *static_cast<const ReadTable*>(context);
  connection.declaring = true;
  const int code = sqlite3_declare_vtab(db, declaration_of(stored).c_str());
  connection.declaring = false;
  if (code != SQLITE_OK) return code;
  auto* table = new VirtualTable{};
  table->store = &connection.store;
  table->table = &stored;
  *made = table;
  return SQLITE_OK;
}

int disconnect_table(sqlite3_vtab* table) {
  delete static_cast<VirtualTable*>(table);
  return SQLITE_OK;
}

/// What a question fixes of the key, from its beginning, becomes the prefix that is read: so many columns are handed to
/// filter_table.
int plan_table(sqlite3_vtab* base, sqlite3_index_info* plan) {
  const StoredTable& table = *static_cast<VirtualTable*>(base)->table;
  const auto most = static_cast<int>(table.key_numbers) + (table.key_name ? 1 : 0);
  int fixed = 0;
  for (; fixed < most; ++fixed) {
    int which = -1;
    for (int i = 0; i < plan->nConstraint && which < 0; ++i) {
      const auto& constraint = plan->aConstraint[i];
      if (constraint.usable && constraint.iColumn == fixed && constraint.op == SQLITE_INDEX_CONSTRAINT_EQ) which = i;
    }
    if (which < 0) break;
    plan->aConstraintUsage[which].argvIndex = fixed + 1;
  }
  plan->idxNum = fixed;
  plan->estimatedCost = 1e9;
  for (int i = 0; i < fixed; ++i) plan->estimatedCost /= 1e3;
  plan->estimatedRows = static_cast<sqlite3_int64>(plan->estimatedCost) + 1;
  return SQLITE_OK;
}

int open_cursor(sqlite3_vtab*, sqlite3_vtab_cursor** made) {
  *made = new VirtualCursor{};
  return SQLITE_OK;
}

int close_cursor(sqlite3_vtab_cursor* cursor) {
  delete static_cast<VirtualCursor*>(cursor);
  return SQLITE_OK;
}

/// To the next row: of the stored row at hand, or of the next one that gives any.
int advance(VirtualCursor& cursor) {
  const StoredTable& table = *static_cast<VirtualTable*>(cursor.pVtab)->table;
  ++cursor.number;
  if (++cursor.at < cursor.rows.size()) return SQLITE_OK;
  cursor.rows.clear();
  cursor.at = 0;
  if (!cursor.stored) {
    cursor.end = true;
    return SQLITE_OK;
  }
  while (cursor.rows.empty()) {
    if (!cursor.stored->next()) {
      cursor.end = true;
      const Status status = cursor.stored->status();
      return status ? SQLITE_OK : fail(cursor.pVtab, status.error().message);
    }
    const Status read = table.read(cursor.stored->key(), cursor.stored->value(), cursor.rows);
    if (!read) {
      return fail(cursor.pVtab,
                  fmt::format("a row of {} cannot be read: {}", table.table.name, read.error().message));
    }
  }
  return SQLITE_OK;
}

int next_row(sqlite3_vtab_cursor* cursor) { return advance(*static_cast<VirtualCursor*>(cursor)); }

/// Reads the keys that begin with the given values. A value of another type, such as job = 1.5, is no key's.
int filter_table(sqlite3_vtab_cursor* base, int fixed, const char*, int, sqlite3_value** values) {
  auto& cursor = *static_cast<VirtualCursor*>(base);
  const auto& table = *static_cast<VirtualTable*>(cursor.pVtab);
  std::string prefix = table.table->prefix;
  bool possible = true;
  for (int i = 0; i < fixed; ++i) {
    const bool is_name = i == static_cast<int>(table.table->key_numbers);
    if (is_name) {
      const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(values[i]));
      possible = possible && text != nullptr;
      if (text != nullptr) prefix.append(text, static_cast<size_t>(sqlite3_value_bytes(values[i]))).push_back('\0');
      continue;
    }
    const double number = sqlite3_value_double(values[i]);
    const int64_t whole = sqlite3_value_int64(values[i]);
    const bool is_number = sqlite3_value_numeric_type(values[i]) != SQLITE_TEXT &&
                           sqlite3_value_type(values[i]) != SQLITE_NULL;
    possible = possible && is_number && whole >= 0 && number == static_cast<double>(whole);
    append(prefix, static_cast<uint64_t>(whole));
  }
  cursor.rows.clear();
  cursor.at = 0;
  cursor.end = !possible;
  if (!possible) return SQLITE_OK;
  if (!table.table->read) {
    cursor.rows = table.table->fixed;
    return SQLITE_OK;
  }
  cursor.stored.emplace(table.store->cursor(table.table->family, prefix));
  return advance(cursor);
}

int at_end(sqlite3_vtab_cursor* cursor) { return static_cast<VirtualCursor*>(cursor)->end; }

int read_column(sqlite3_vtab_cursor* base, sqlite3_context* context, int column) {
  const auto& cursor = *static_cast<VirtualCursor*>(base);
  const SqlValue& value = cursor.rows[cursor.at].at(static_cast<size_t>(column));
  if (const auto* whole = std::get_if<int64_t>(&value)) {
    sqlite3_result_int64(context, *whole);
  } else if (const auto* real = std::get_if<double>(&value)) {
    sqlite3_result_double(context, *real);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    sqlite3_result_text64(context, text->data(), text->size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  }
  return SQLITE_OK;
}

int read_number(sqlite3_vtab_cursor* cursor, sqlite3_int64* number) {
  *number = static_cast<VirtualCursor*>(cursor)->number;
  return SQLITE_OK;
}

/// Without xCreate each table is there by its name alone.
sqlite3_module module_of_tables() {
  sqlite3_module module{};
  module.xConnect = connect_table;
  module.xDisconnect = disconnect_table;
  module.xBestIndex = plan_table;
  module.xOpen = open_cursor;
  module.xClose = close_cursor;
  module.xFilter = filter_table;
  module.xNext = next_row;
  module.xEof = at_end;
  module.xColumn = read_column;
  module.xRowid = read_number;
  return module;
}
const sqlite3_module kModule = module_of_tables();

// ---- A connection that can read these tables, and nothing else ----

int allow_reading(void* context, int action, const char*, const char* function, const char*, const char*) {
  auto& connection = *static_cast<Connection*>(context);
  if (connection.declaring) return SQLITE_OK;
  const bool reads = action == SQLITE_SELECT || action == SQLITE_READ || action == SQLITE_RECURSIVE ||
                     (action == SQLITE_FUNCTION && std::strcmp(function, "load_extension") != 0);
  connection.refused = connection.refused || !reads;
  return reads ? SQLITE_OK : SQLITE_DENY;
}

/// hivq_version(): of this coordinator.
void tell_version(sqlite3_context* context, int, sqlite3_value**) {
  sqlite3_result_text(context, version, -1, SQLITE_STATIC);
}

void limit(sqlite3* db) {
  sqlite3_limit(db, SQLITE_LIMIT_LENGTH, kLongestValue);
  sqlite3_limit(db, SQLITE_LIMIT_SQL_LENGTH, kLongestText);
  sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
  sqlite3_limit(db, SQLITE_LIMIT_EXPR_DEPTH, 200);
  sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, nullptr);
  sqlite3_exec(db, "PRAGMA temp_store = MEMORY", nullptr, nullptr, nullptr);  // nothing is written to a disk
}

/// The tables of single jobs that a question names.
Result<std::map<JobId, StoredTable>> tables_of_jobs(const Store& store, const std::string& question) {
  static const std::regex name("trials_of_([0-9]{1,18})", std::regex::icase);
  std::map<JobId, StoredTable> tables;
  for (auto at = std::sregex_iterator(question.begin(), question.end(), name); at != std::sregex_iterator(); ++at) {
    const JobId job = std::stoull((*at)[1].str());
    if (tables.contains(job)) continue;
    auto table = trials_of_job(store, job);
    if (!table) return table.error();
    tables.emplace(job, std::move(*table));
  }
  return tables;
}

}  // namespace

struct SqlCursor::State {
  State(const Store& store, SqlLimits given) : connection{store}, limits(given) {}
  ~State() {
    sqlite3_finalize(statement);
    sqlite3_close(db);
  }

  Error explain(int code) const {
    if (out_of_time)
      return error("the question took longer than {} s; narrow it, by job and trial for instance",
                   static_cast<double>(limits.time.count()) / 1000);
    if (stopped()) return error("the coordinator ends; ask again when it is back");
    if (code == SQLITE_NOMEM)
      return error("the question needs more than {} MiB of memory; narrow it, or leave out ORDER BY and DISTINCT",
                   kMostMemory >> 20);
    if (connection.refused) return error("a question can only read: it must be one SELECT");
    return error("{}", sqlite3_errmsg(db));
  }

  static int look_at_clock(void* context) {
    auto* state = static_cast<State*>(context);
    state->out_of_time = SteadyClock::now() > state->deadline;
    return state->out_of_time || state->stopped();
  }

  bool stopped() const { return limits.stop != nullptr && *limits.stop; }

  Status add_table(const StoredTable& table) {
    ReadTable& context = tables.emplace_back(ReadTable{connection, table});
    const int code = sqlite3_create_module_v2(db, table.table.name.c_str(), &kModule, &context, nullptr);
    return code == SQLITE_OK ? Status() : explain(code);
  }

  Connection connection;
  std::map<JobId, StoredTable> of_jobs;
  std::deque<ReadTable> tables;  // stay where they are
  SqlLimits limits;
  sqlite3* db = nullptr;
  sqlite3_stmt* statement = nullptr;
  std::vector<std::string> columns;
  std::chrono::nanoseconds used{0};
  SteadyClock::time_point deadline;
  bool out_of_time = false, done = false;
  uint64_t rows = 0;
};

SqlCursor::SqlCursor(std::unique_ptr<State> state) : state_(std::move(state)) {}
SqlCursor::SqlCursor(SqlCursor&&) noexcept = default;
SqlCursor& SqlCursor::operator=(SqlCursor&&) noexcept = default;
SqlCursor::~SqlCursor() = default;

Result<SqlCursor> SqlCursor::open(const Store& store, const std::string& question, SqlLimits limits) {
  static std::once_flag limited;
  std::call_once(limited, [] { sqlite3_hard_heap_limit64(kMostMemory); });
  auto state = std::make_unique<State>(store, limits);
  auto of_jobs = tables_of_jobs(store, question);
  if (!of_jobs) return of_jobs.error();
  state->of_jobs = std::move(*of_jobs);

  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MEMORY | SQLITE_OPEN_NOMUTEX;
  if (const int opened = sqlite3_open_v2(":memory:", &state->db, flags, nullptr); opened != SQLITE_OK)
    return state->explain(opened);
  limit(state->db);
  sqlite3_create_function_v2(state->db, "hivq_version", 0, SQLITE_UTF8 | SQLITE_DETERMINISTIC, nullptr, tell_version,
                             nullptr, nullptr, nullptr);
  Status added;
  for (const StoredTable& table : stored_tables()) added = added ? state->add_table(table) : added;
  for (const auto& [job, table] : state->of_jobs) added = added ? state->add_table(table) : added;
  if (!added) return added.error();
  sqlite3_set_authorizer(state->db, allow_reading, &state->connection);
  sqlite3_progress_handler(state->db, kStepsBetweenLooks, State::look_at_clock, state.get());
  state->deadline = SteadyClock::now() + limits.time;

  const char* rest = nullptr;
  const auto length = static_cast<int>(std::min<size_t>(question.size(), kLongestText + 1));
  const int code = sqlite3_prepare_v2(state->db, question.data(), length, &state->statement, &rest);
  if (code != SQLITE_OK) return state->explain(code);
  if (state->statement == nullptr) return error("the question is empty; for instance: SELECT * FROM jobs");
  if (question.find_first_not_of(" \t\r\n;", static_cast<size_t>(rest - question.data())) != std::string::npos)
    return error("one question at a time: there is something behind the first `;`");
  for (int i = 0; i < sqlite3_column_count(state->statement); ++i) {
    state->columns.emplace_back(sqlite3_column_name(state->statement, i));
  }
  return SqlCursor(std::move(state));
}

const std::vector<std::string>& SqlCursor::columns() const { return state_->columns; }

namespace {

SqlValue value_at(sqlite3_stmt* statement, int column) {
  switch (sqlite3_column_type(statement, column)) {
    case SQLITE_INTEGER:
      return static_cast<int64_t>(sqlite3_column_int64(statement, column));
    case SQLITE_FLOAT:
      return sqlite3_column_double(statement, column);
    case SQLITE_NULL:
      return {};
    default: {
      const auto* text = static_cast<const char*>(sqlite3_column_blob(statement, column));
      return std::string(text == nullptr ? "" : text, static_cast<size_t>(sqlite3_column_bytes(statement, column)));
    }
  }
}

size_t bytes_of(const SqlValue& value) {
  const auto* text = std::get_if<std::string>(&value);
  return 9 + (text != nullptr ? text->size() : 0);
}

}  // namespace

Result<std::vector<SqlRow>> SqlCursor::next(size_t bytes) {
  State& state = *state_;
  std::vector<SqlRow> rows;
  if (state.done) return rows;
  const auto begin = SteadyClock::now();
  state.deadline = begin + (state.limits.time - state.used);
  for (size_t taken = 0; rows.empty() || taken < bytes;) {
    const int code = sqlite3_step(state.statement);
    if (code == SQLITE_DONE) {
      state.done = true;
      break;
    }
    if (code != SQLITE_ROW) return state.explain(code);
    if (++state.rows > state.limits.rows)
      return error("the answer has more than {} rows; narrow the question, or add LIMIT", state.limits.rows);
    SqlRow row;
    for (int i = 0; i < sqlite3_column_count(state.statement); ++i) {
      row.push_back(value_at(state.statement, i));
      taken += bytes_of(row.back());
    }
    rows.push_back(std::move(row));
  }
  state.used += SteadyClock::now() - begin;
  return rows;
}

}  // namespace hivq
