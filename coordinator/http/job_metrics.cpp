// Every point of a job's metrics in one answer, as it is read: the exports' way to the curves of many trials. Asked in
// SQL, which the coordinator answers beside its own work, batch after batch.

#include <httplib.h>

#include <charconv>
#include <deque>
#include <iterator>
#include <limits>

#include "coordinator/http/api.h"
#include "coordinator/series.h"
#include "jobs/table.h"
#include "jobs/views/json.h"

namespace hivq {

namespace {

using httplib::DataSink;
using httplib::Request;
using httplib::Response;
using nlohmann::ordered_json;

constexpr size_t kTrialsAQuestion = 500;
// A question may take 30 s of the coordinator's time: after so much text the next trial begins another one.
constexpr uint64_t kBytesAQuestion = 4 << 20;
constexpr std::chrono::seconds kPatience{45};

struct Wanted {
  JobId job = 0;
  std::deque<uint64_t> trials;       // by number
  std::vector<std::string> metrics;  // empty: all
  uint64_t points = 0;               // of each curve at most; 0: all
  bool csv = false;
};

std::string sql_text_literal(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? "''" : std::string(1, c);
  return quoted + '\'';
}

/// The items of an array of JSON that holds numbers and nulls, as they are written.
std::vector<std::string_view> items_of(std::string_view array) {
  std::vector<std::string_view> items;
  array = array.substr(1, array.size() - 2);
  while (!array.empty()) {
    const size_t comma = std::min(array.find(','), array.size());
    items.push_back(array.substr(0, comma));
    array.remove_prefix(std::min(comma + 1, array.size()));
  }
  return items;
}

std::vector<MetricPoint> points_of(std::string_view steps_json, std::string_view values_json) {
  const auto steps = items_of(steps_json), values = items_of(values_json);
  std::vector<MetricPoint> points(std::min(steps.size(), values.size()));
  const auto read = [](std::string_view text, auto& number) { std::from_chars(text.begin(), text.end(), number); };
  for (size_t i = 0; i < points.size(); ++i) {
    points[i].value = std::numeric_limits<double>::quiet_NaN();  // null
    read(steps[i], points[i].step);
    read(values[i], points[i].value);
  }
  return points;
}

template <typename List, typename TextOf>
std::string listed(const List& list, TextOf text_of) {
  std::string text;
  for (const auto& each : list) text += (text.empty() ? "" : ", ") + text_of(each);
  return text;
}

/// The lines for one reader.
class MetricLines {
 public:
  MetricLines(ClientPool& pool, Wanted wanted) : pool_(pool), wanted_(std::move(wanted)) {
    if (wanted_.csv) text_ = "trial,metric,step,value\n";
  }

  /// The next batch becomes lines. Errors: the coordinator's sentence; nothing where it does not answer.
  std::optional<Status> read() {
    if (asked_.empty()) ask();
    if (asked_.empty()) {
      end_curve();
      done_ = true;
      return Status();
    }
    const auto answer = pool_.ask<SqlAnswer>(QuerySql{key_, question_, batch_}, kPatience);
    if (!answer) return std::nullopt;
    if (!*answer) return Status(answer->error());
    ++batch_;
    for (const SqlRow& row : (*answer)->rows) {
      const auto trial = static_cast<uint64_t>(std::get<int64_t>(row.at(0)));
      if (bytes_ >= kBytesAQuestion && trial != curve_.trial) {
        begin_again_at(trial);
        return Status();
      }
      add(trial, row);
    }
    if ((*answer)->end) asked_.clear();
    return Status();
  }

  /// Writes what was read, and reads on; false: the reader is gone, or what is left cannot be had, which breaks the
  /// connection off, so that a part is not taken for the whole.
  bool next(DataSink& sink) {
    while (text_.empty() && !done_) {
      const auto status = read();
      if (!status || !*status) return false;
    }
    const std::string text = std::exchange(text_, {});
    if (!text.empty() && !sink.write(text.data(), text.size())) return false;
    if (done_) sink.done();
    return true;
  }

 private:
  struct OpenCurve {
    uint64_t trial = std::numeric_limits<uint64_t>::max();
    std::string metric, name, metric_text;  // the trial's name, such as 1/0; the metric as it is written
    std::vector<MetricPoint> points;        // only where it is told with fewer
  };

  /// A question for the next trials.
  void ask() {
    const size_t count = std::min(wanted_.trials.size(), kTrialsAQuestion);
    asked_.assign(wanted_.trials.begin(), wanted_.trials.begin() + static_cast<std::ptrdiff_t>(count));
    wanted_.trials.erase(wanted_.trials.begin(), wanted_.trials.begin() + static_cast<std::ptrdiff_t>(count));
    question_ = fmt::format("SELECT trial, name, steps_json, values_json FROM curves WHERE job = {} AND trial IN ({})",
                            wanted_.job, listed(asked_, [](uint64_t trial) { return std::to_string(trial); }));
    if (!wanted_.metrics.empty())
      question_ += fmt::format(" AND name IN ({})", listed(wanted_.metrics, sql_text_literal));
    key_ = random_id();
    batch_ = bytes_ = 0;
  }

  /// The trial and those behind it are asked for anew; the open answer is forgotten where it is.
  void begin_again_at(uint64_t trial) {
    const auto first = std::ranges::lower_bound(asked_, trial);
    wanted_.trials.insert(wanted_.trials.begin(), first, asked_.end());
    asked_.clear();
  }

  /// A piece of a curve.
  void add(uint64_t trial, const SqlRow& row) {
    const auto &metric = std::get<std::string>(row.at(1)), &steps = std::get<std::string>(row.at(2)),
               &values = std::get<std::string>(row.at(3));
    bytes_ += steps.size() + values.size();
    if (trial != curve_.trial || metric != curve_.metric) {
      end_curve();
      curve_ = {trial,
                metric,
                to_string(TrialId{wanted_.job, trial}),
                wanted_.csv ? csv_field(metric) : json_reply(metric).body,
                {}};
    }
    if (wanted_.points == 0) return write(steps, values);
    const auto piece = points_of(steps, values);
    curve_.points.insert(curve_.points.end(), piece.begin(), piece.end());
  }

  /// Of a curve that is told with fewer points all had to be there first.
  void end_curve() {
    if (curve_.points.empty()) return;
    const ordered_json few = to_json(downsample(std::move(curve_.points), wanted_.points));
    write(few.at("steps").dump(), few.at("values").dump());
    curve_.points.clear();
  }

  void write(const std::string& steps_json, const std::string& values_json) {
    if (!wanted_.csv) {
      fmt::format_to(std::back_inserter(text_), "{{\"trial\":\"{}\",\"metric\":{},\"steps\":{},\"values\":{}}}\n",
                     curve_.name, curve_.metric_text, steps_json, values_json);
      return;
    }
    const auto steps = items_of(steps_json), values = items_of(values_json);
    for (size_t i = 0; i < std::min(steps.size(), values.size()); ++i) {
      fmt::format_to(std::back_inserter(text_), "{},{},{},{}\n", curve_.name, curve_.metric_text, steps[i],
                     values[i] == "null" ? "" : values[i]);
    }
  }

  ClientPool& pool_;
  Wanted wanted_;                // trials: those that no question was asked for yet
  std::vector<uint64_t> asked_;  // the trials of the open question; none: there is none open
  std::string key_, question_;
  uint64_t batch_ = 0, bytes_ = 0;  // of the open question
  OpenCurve curve_;
  std::string text_;
  bool done_ = false;
};

Result<Wanted> wanted_of(const JobSnapshot& job, const Request& request) {
  const auto points = query_number(request, "points", 0, 0, 1'000'000);
  if (!points) return points.error();
  const auto after = query_number(request, "after", 0, 0, 1'000'000'000'000);
  if (!after) return after.error();
  const std::string format = query_text(request, "format");
  if (!format.empty() && format != "csv" && format != "json-lines") {
    return error("format is '{}'; it must be json-lines or csv", format);
  }
  const auto chosen = chosen_trials(job, request);
  if (!chosen) return chosen.error();
  Wanted wanted{job.detail.job.id, {}, query_texts(request, "metric"), *points, format == "csv"};
  for (const ResultRow& row : chosen->rows) {
    const uint64_t trial = row.trial.id.index;
    if (!request.has_param("after") || trial > *after) wanted.trials.push_back(trial);
  }
  std::ranges::sort(wanted.trials);
  return wanted;
}

void send_metrics(ClientPool& pool, const Request& request, Response& response) {
  std::shared_ptr<MetricLines> lines;
  const Reply there = with_job(pool, path_number(request, 1), [&](const JobSnapshot& job) {
    auto wanted = wanted_of(job, request);
    if (!wanted) return problem(400, wanted.error().message);
    const bool csv = wanted->csv;
    lines = std::make_shared<MetricLines>(pool, std::move(*wanted));
    return Reply{200, csv ? "text/csv" : "application/x-ndjson", ""};
  });
  if (there.status != 200) return put(there, response);
  const auto begun = lines->read();
  if (!begun) return put(unavailable(), response);
  if (!*begun) return put(refusal(begun->error()), response);
  response.set_header("Cache-Control", "no-store");
  response.set_chunked_content_provider(there.type, [lines](size_t, DataSink& sink) { return lines->next(sink); });
}

}  // namespace

void add_job_metrics(std::vector<Route>& routes, ClientPool& pool) {
  routes.push_back({"GET", "/jobs/([0-9]{1,13})/metrics", {}, [&pool](const Request& request, Response& response) {
                      send_metrics(pool, request, response);
                    }});
}

}  // namespace hivq
