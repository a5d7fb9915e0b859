#include "coordinator/sql_tables.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <iterator>
#include <set>

#include "coordinator/series.h"
#include "coordinator/snapshot.h"

namespace hivq {

namespace {

SqlValue integer(uint64_t number) { return static_cast<int64_t>(number); }
/// Seconds since 1970; NULL where it has not happened.
SqlValue time(Millis at) { return at == 0 ? SqlValue() : SqlValue(static_cast<double>(at) / 1000); }
SqlValue text_or_null(const std::string& text) { return text.empty() ? SqlValue() : SqlValue(text); }
SqlValue real_or_null(const std::optional<double>& real) { return real ? SqlValue(*real) : SqlValue(); }

/// A parameter's value as stored, in the type that it reads as.
SqlValue typed(const std::string& text) {
  const char* end = text.data() + text.size();
  int64_t whole = 0;
  if (auto read = std::from_chars(text.data(), end, whole); read.ec == std::errc() && read.ptr == end) return whole;
  double real = 0;
  if (auto read = std::from_chars(text.data(), end, real); read.ec == std::errc() && read.ptr == end) return real;
  return text;
}

SqlValue value_of(const std::map<std::string, double>& values, const std::string& name) {
  const auto found = values.find(name);
  return found == values.end() ? SqlValue() : SqlValue(found->second);
}

/// Makes `read` of a function over a row's type.
template <typename Row, typename Read>
auto reading(Read read) {
  return [read](std::string_view key, std::string_view value, std::vector<SqlRow>& rows) -> Status {
    auto row = unpack<Row>(value);
    if (!row) return row.error();
    read(key, *row, rows);
    return {};
  };
}

StoredTable jobs_table() {
  return {{"jobs",
           "what was submitted",
           {{"job", "INTEGER", "its number"},
            {"name", "TEXT", ""},
            {"state", "TEXT", "waiting, running, finished, failed or cancelled; of a job that has not ended: waiting"},
            {"reason", "TEXT", "why it failed"},
            {"metric", "TEXT", "that its trials are ranked by"},
            {"goal", "TEXT", "maximize or minimize"},
            {"trials", "INTEGER", "how many"},
            {"paused", "INTEGER", "1: held"},
            {"user", "TEXT", "who submitted it"},
            {"project", "TEXT", "whose share and quota it is"},
            {"priority", "INTEGER", "the higher goes first"},
            {"submitted", "REAL", "seconds since 1970; datetime(submitted, 'unixepoch') reads well"},
            {"ended", "REAL", ""},
            {"yaml", "TEXT", "the specification with every default"}}},
          Family::jobs,
          "",
          1,
          false,
          reading<JobRow>([](auto, const JobRow& row, std::vector<SqlRow>& rows) {
            rows.push_back({integer(row.id), row.name, to_string(row.state), text_or_null(row.reason), row.metric,
                            row.goal, integer(row.trials), int64_t{row.paused}, text_or_null(row.user),
                            text_or_null(row.project), row.priority, time(row.submitted), time(row.ended), row.yaml});
          })};
}

std::vector<SqlColumn> trial_columns() {
  return {{"job", "INTEGER", ""},
          {"trial", "INTEGER", "its number in the job, from 0"},
          {"id", "TEXT", "as the commands take it: 1/0"},
          {"state", "TEXT", "waiting, running, finished, failed or cancelled"},
          {"reason", "TEXT", "why it failed, or was stopped early"},
          {"variant", "TEXT", "row of the sweep"},
          {"attempts", "INTEGER", "gangs that it was given to"},
          {"started", "REAL", "seconds since 1970"},
          {"ended", "REAL", ""},
          {"seconds", "REAL", "from its start to its end"}};
}

SqlRow trial_row(const TrialRow& row) {
  const bool done = row.started != 0 && row.ended != 0;
  return {integer(row.id.job),
          integer(row.id.index),
          to_string(row.id),
          to_string(row.state),
          text_or_null(row.reason),
          text_or_null(row.variant),
          integer(row.attempts),
          time(row.started),
          time(row.ended),
          done ? SqlValue(static_cast<double>(row.ended - row.started) / 1000) : SqlValue()};
}

StoredTable trials_table() {
  return {{"trials", "training runs", trial_columns()},
          Family::trials,
          "",
          2,
          false,
          reading<TrialRow>(
              [](auto, const TrialRow& row, std::vector<SqlRow>& rows) { rows.push_back(trial_row(row)); })};
}

StoredTable params_table() {
  return {{"params",
           "what a sweep sets, a row for each parameter of each trial",
           {{"job", "INTEGER", ""},
            {"trial", "INTEGER", ""},
            {"name", "TEXT", "dotted key, train.lr"},
            {"value", "", "a number where it is one, otherwise text"}}},
          Family::trials,
          "",
          2,
          false,
          reading<TrialRow>([](auto, const TrialRow& row, std::vector<SqlRow>& rows) {
            for (const auto& [name, value] : row.params) {
              rows.push_back({integer(row.id.job), integer(row.id.index), name, typed(value)});
            }
          })};
}

StoredTable results_table() {
  return {{"results",
           "the last evaluation of each trial, a row for each metric",
           {{"job", "INTEGER", ""},
            {"trial", "INTEGER", ""},
            {"name", "TEXT", "of the metric"},
            {"value", "REAL", "as last measured"},
            {"untrained", "REAL", "before the first step"}}},
          Family::trials,
          "",
          2,
          false,
          reading<TrialRow>([](auto, const TrialRow& row, std::vector<SqlRow>& rows) {
            std::set<std::string> names;
            for (const auto& [name, value] : row.initial) names.insert(name);
            for (const auto& [name, value] : row.final) names.insert(name);
            for (const auto& name : names) {
              rows.push_back({integer(row.id.job), integer(row.id.index), name, value_of(row.final, name),
                              value_of(row.initial, name)});
            }
          })};
}

StoredTable metrics_table() {
  return {{"metrics",
           "every point of every curve",
           {{"job", "INTEGER", ""},
            {"trial", "INTEGER", ""},
            {"name", "TEXT", ""},
            {"step", "INTEGER", "of the optimiser; 0: the untrained model"},
            {"value", "REAL", ""}}},
          Family::points,
          "",
          2,
          true,
          [](std::string_view key, std::string_view value, std::vector<SqlRow>& rows) -> Status {
            auto points = points_of(key, value);
            if (!points) return points.error();
            const TrialId trial = trial_at(key);
            for (const auto& point : *points) {
              rows.push_back({integer(trial.job), integer(trial.index), std::string(points_name(key)), point.step,
                              point.value});
            }
            return {};
          }};
}

/// An array of JSON; what is not finite is null.
template <typename Member>
std::string json_array(const std::vector<MetricPoint>& points, Member MetricPoint::*member) {
  std::string text = "[";
  for (const auto& point : points) {
    if (text.size() > 1) text += ',';
    if (std::isfinite(static_cast<double>(point.*member))) {
      fmt::format_to(std::back_inserter(text), "{}", point.*member);
    } else {
      text += "null";
    }
  }
  return text + ']';
}

StoredTable curves_table() {
  return {{"curves",
           "the same in pieces of up to 1,024 steps, in order: many times as fast to read",
           {{"job", "INTEGER", ""},
            {"trial", "INTEGER", ""},
            {"name", "TEXT", ""},
            {"steps_json", "TEXT", "an array"},
            {"values_json", "TEXT", "an array as long; null: not finite"}}},
          Family::points,
          "",
          2,
          true,
          [](std::string_view key, std::string_view value, std::vector<SqlRow>& rows) -> Status {
            auto points = points_of(key, value);
            if (!points) return points.error();
            const TrialId trial = trial_at(key);
            rows.push_back({integer(trial.job), integer(trial.index), std::string(points_name(key)),
                            json_array(*points, &MetricPoint::step), json_array(*points, &MetricPoint::value)});
            return {};
          }};
}

StoredTable checkpoints_table() {
  return {{"checkpoints",
           "what trials can go on from",
           {{"job", "INTEGER", ""},
            {"trial", "INTEGER", ""},
            {"step", "INTEGER", ""},
            {"bytes", "INTEGER", ""},
            {"chunks", "INTEGER", "of 4 MiB at most; trials share those of equal content"},
            {"at", "REAL", "seconds since 1970"},
            {"metric", "REAL", "the job's metric at the last evaluation up to the step"},
            {"pinned", "INTEGER", "1: kept whatever the job's retention says"}}},
          Family::checkpoints,
          "",
          2,
          false,
          reading<CheckpointRow>([](std::string_view key, const CheckpointRow& row, std::vector<SqlRow>& rows) {
            const Manifest& manifest = row.manifest;
            rows.push_back({integer(number_at(key, 0)), integer(number_at(key, 8)), manifest.step,
                            integer(manifest.size), integer(manifest.chunks.size()), time(row.at),
                            real_or_null(row.metric), int64_t{row.pinned}});
          })};
}

StoredTable logs_table() {
  return {{"logs",
           "lines of the trials' logs",
           {{"job", "INTEGER", ""},
            {"trial", "INTEGER", ""},
            {"attempt", "INTEGER", "grows from one lease to the next"},
            {"at", "REAL", "seconds since 1970"},
            {"text", "TEXT", ""}}},
          Family::logs,
          "",
          3,
          false,
          reading<EventRow>([](std::string_view key, const EventRow& row, std::vector<SqlRow>& rows) {
            rows.push_back({integer(number_at(key, 0)), integer(number_at(key, 8)), integer(number_at(key, 16)),
                            time(row.at), row.text});
          })};
}

StoredTable leases_table() {
  return {{"leases",
           "the newest gang of each trial",
           {{"job", "INTEGER", ""},
            {"trial", "INTEGER", ""},
            {"gang", "TEXT", ""},
            {"attempt", "INTEGER", "grows from one lease to the next"},
            {"live", "INTEGER", "1: it has the trial now"}}},
          Family::leases,
          "",
          2,
          false,
          reading<LeaseRow>([](auto, const LeaseRow& row, std::vector<SqlRow>& rows) {
            rows.push_back({integer(row.lease.trial.job), integer(row.lease.trial.index), row.gang,
                            integer(row.lease.epoch), int64_t{row.live}});
          })};
}

StoredTable events_table() {
  return {{"events",
           "what happened, in order",
           {{"number", "INTEGER", ""}, {"at", "REAL", "seconds since 1970"}, {"text", "TEXT", ""}}},
          Family::events,
          "",
          1,
          false,
          reading<EventRow>([](std::string_view key, const EventRow& row, std::vector<SqlRow>& rows) {
            rows.push_back({integer(number_at(key, 0)), time(row.at), row.text});
          })};
}

StoredTable gangs_table() {
  return {{"gangs",
           "the worker gangs that are known",
           {{"gang", "TEXT", ""},
            {"host", "TEXT", "of its rank 0"},
            {"devices", "TEXT", ""},
            {"ranks", "INTEGER", ""},
            {"program", "TEXT", "version of the worker"}}},
          Family::gangs,
          gang_key(""),
          0,
          false,
          reading<Hello>([](auto, const Hello& row, std::vector<SqlRow>& rows) {
            rows.push_back({row.gang, row.host, row.devices, integer(row.ranks), row.program});
          })};
}

StoredTable table_of_tables(const std::vector<StoredTable>& tables) {
  StoredTable all{{"tables",
                   "these tables and their columns",
                   {{"table", "TEXT", ""}, {"column", "TEXT", ""}, {"type", "TEXT", ""}, {"about", "TEXT", ""}}},
                  Family::meta,
                  "",
                  0,
                  false,
                  {}};
  for (const StoredTable& each : tables) {
    all.fixed.push_back({each.table.name, SqlValue(), SqlValue(), each.table.about});
    for (const SqlColumn& column : each.table.columns) {
      all.fixed.push_back({each.table.name, column.name, text_or_null(column.type), text_or_null(column.about)});
    }
  }
  all.fixed.push_back({"trials_of_N", SqlValue(), SqlValue(),
                       "the trials of job N, with a column for each parameter and each metric of the last evaluation"});
  return all;
}

}  // namespace

const std::vector<StoredTable>& stored_tables() {
  static const std::vector<StoredTable> tables = [] {
    std::vector<StoredTable> all = {jobs_table(),    trials_table(),      params_table(), results_table(),
                                    metrics_table(), curves_table(),      checkpoints_table(), logs_table(),
                                    leases_table(),  events_table(),      gangs_table()};
    all.push_back(table_of_tables(all));
    return all;
  }();
  return tables;
}

Result<StoredTable> trials_of_job(const Store& store, JobId job) {
  auto row = store.get(Family::jobs, key_of(job));
  if (!row) return row.error();
  if (!*row) return error("there is no table trials_of_{}: there is no job {}", job, job);
  std::set<std::string> params, metrics;
  Status scanned = read_rows<TrialRow>(store, Family::trials, key_of(job), [&](auto, const TrialRow& trial) {
    for (const auto& [name, text] : trial.params) params.insert(name);
    for (const auto& [name, number] : trial.final) metrics.insert(name);
    for (const auto& [name, number] : trial.initial) metrics.insert(name);
  });
  if (!scanned) return scanned.error();

  StoredTable table{{fmt::format("trials_of_{}", job), fmt::format("the trials of job {}", job), trial_columns()},
                    Family::trials,
                    key_of(job),
                    0,
                    false,
                    {}};
  // SQLite takes `Loss` and `loss` for the same column; the first one has it.
  std::set<std::string> taken;
  const auto take = [&](std::string name) {
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return taken.insert(name).second;
  };
  for (const SqlColumn& column : table.table.columns) take(column.name);
  std::erase_if(params, [&](const std::string& name) { return !take(name); });
  std::erase_if(metrics, [&](const std::string& name) { return !take(name); });
  for (const auto& name : params) table.table.columns.push_back({name, "", "a parameter"});
  for (const auto& name : metrics) table.table.columns.push_back({name, "REAL", "a metric"});
  table.read = reading<TrialRow>([params, metrics](auto, const TrialRow& trial, std::vector<SqlRow>& rows) {
    SqlRow cells = trial_row(trial);
    for (const auto& name : params) {
      const auto found = trial.params.find(name);
      cells.push_back(found == trial.params.end() ? SqlValue() : typed(found->second));
    }
    for (const auto& name : metrics) cells.push_back(value_of(trial.final, name));
    rows.push_back(std::move(cells));
  });
  return table;
}

}  // namespace hivq
