#include "jobs/views/results.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <variant>

#include "jobs/search/objectives.h"
#include "jobs/search/pareto.h"
#include "jobs/spec.h"
#include "jobs/views/format.h"

namespace hivq {

namespace {

// Numbers before words, and what is missing last: whatever the direction.
using SortValue = std::variant<double, std::string, std::monostate>;

SortValue number_or_word(const std::string& text) {
  char* end = nullptr;
  double number = std::strtod(text.c_str(), &end);
  if (!text.empty() && *end == '\0') return number;
  return text;
}

SortValue number(std::optional<double> value) {
  if (!value || std::isnan(*value)) return std::monostate{};
  return *value;
}

std::string param(const TrialView& trial, const std::string& key) {
  auto found = trial.params.find(key);
  return found == trial.params.end() ? "" : found->second;
}

std::vector<std::string> differing_params(const std::vector<TrialView>& trials) {
  std::map<std::string, std::set<std::string>> values;
  std::map<std::string, size_t> uses;
  for (const auto& trial : trials) {
    for (const auto& [key, value] : trial.params) {
      values[key].insert(value);
      ++uses[key];
    }
  }
  std::vector<std::string> keys;
  for (const auto& [key, seen] : values) {
    if (seen.size() > 1 || uses[key] < trials.size()) keys.push_back(key);
  }
  return keys;
}

bool told_by_variant(const std::vector<TrialView>& trials, const std::string& key) {
  std::map<std::string, std::string> value_of_variant;
  for (const auto& trial : trials) {
    auto [found, fresh] = value_of_variant.emplace(trial.variant, param(trial, key));
    if (!fresh && found->second != param(trial, key)) return false;
  }
  return true;
}

std::set<std::string> metric_names(const Results& results) {
  std::set<std::string> names;
  for (const auto& row : results.rows) {
    for (const auto& [name, value] : row.trial.final) names.insert(name);
    for (const auto& [name, value] : row.trial.initial) names.insert(name);
  }
  return names;
}

bool better(double a, double b, const std::string& goal) { return goal == "minimize" ? a < b : a > b; }

/// Marks what is best where the sweep has several metrics, and what misses its constraints.
void mark_front(Results& results, const SweepSpec& sweep) {
  std::vector<ResultRow*> rows;
  std::vector<Solution> solutions;
  for (auto& row : results.rows) {
    const auto values = objective_values(sweep, row.trial.final);
    const double violation = violation_of(sweep, row.trial.final);
    row.feasible = row.trial.final.empty() || violation == 0;
    const bool finite = std::all_of(values.begin(), values.end(), [](double v) { return !std::isnan(v); });
    if (sweep.metrics.size() < 2 || values.empty() || !finite || row.trial.state != "finished") continue;
    rows.push_back(&row);
    solutions.push_back({values, violation});
  }
  results.has_front = sweep.metrics.size() > 1;
  for (size_t i = 1; i < sweep.metrics.size(); ++i) results.metrics.push_back(sweep.metrics[i].metric);
  const auto fronts = fronts_of(solutions);
  for (size_t i = 0; i < rows.size(); ++i) rows[i]->on_front = fronts[i] == 0 && rows[i]->feasible;
}

void rank(Results& results) {
  std::vector<ResultRow*> ranked;
  for (auto& row : results.rows) {
    if (row.after && !std::isnan(*row.after)) ranked.push_back(&row);
  }
  std::stable_sort(ranked.begin(), ranked.end(), [&](const ResultRow* a, const ResultRow* b) {
    if (a->feasible != b->feasible) return a->feasible;
    return better(*a->after, *b->after, results.job.goal);
  });
  for (size_t i = 0; i < ranked.size(); ++i) ranked[i]->rank = i + 1;
}

std::string state_text(const TrialView& trial) {
  if (trial.state == "running" && trial.total_steps > 0) {
    return fmt::format("running {} %", std::clamp<int64_t>(100 * trial.step / trial.total_steps, 0, 100));
  }
  return stopped_early(trial) ? "stopped early" : trial.state;
}

/// What rows are sorted and selected by.
struct ColumnOfRows {
  std::function<SortValue(const ResultRow&)> value;
  bool rising = true;  // the natural order
};

/// Errors: an unknown name, with those that there are.
Result<ColumnOfRows> find_column(const Results& results, const std::string& name) {
  const auto metrics = metric_names(results);
  const auto key = std::ranges::find_if(results.params, [&](const std::string& candidate) {
    return candidate == name || short_key(candidate, results.params) == name;
  });
  if (name == "rank") {
    return ColumnOfRows{[](auto& row) { return row.rank == 0 ? SortValue(std::monostate{}) : double(row.rank); }};
  }
  if (name == "trial") return ColumnOfRows{[](auto& row) { return double(row.trial.id.index); }};
  if (name == "variant") return ColumnOfRows{[](auto& row) { return row.trial.variant; }};
  if (name == "state") return ColumnOfRows{[](auto& row) { return row.trial.state; }};
  if (name == "duration") {
    return ColumnOfRows{
        [](auto& row) { return row.trial.started == 0 ? SortValue(std::monostate{}) : double(row.duration); }};
  }
  if (metrics.contains(name) || name == results.job.metric) {
    return ColumnOfRows{[name](auto& row) { return number(value_of(row.trial.final, name)); },
                        results.job.goal == "minimize" || !name.starts_with(results.job.metric)};
  }
  if (name == "loss") {
    return ColumnOfRows{[](auto& row) { return row.loss ? number(row.loss->value) : SortValue(std::monostate{}); }};
  }
  if (key != results.params.end()) {
    return ColumnOfRows{[key = *key](auto& row) {
      const std::string text = param(row.trial, key);
      return text.empty() ? SortValue(std::monostate{}) : number_or_word(text);
    }};
  }
  std::string known = "rank, trial, variant, state, duration, loss";
  for (const auto& param_key : results.params) known += fmt::format(", {}", param_key);
  for (const auto& metric : metrics) {  // those of single classes are many
    if (metric.find('/') == std::string::npos) known += fmt::format(", {}", metric);
  }
  return error("'{}'; there are {}", name, known);
}

using Test = bool (*)(const SortValue&, const SortValue&);
/// Nothing where there is no such sign.
Test find_test(const std::string& sign) {
  if (sign == "=" || sign == "==") return [](const SortValue& a, const SortValue& b) { return a == b; };
  if (sign == "!=") return [](const SortValue& a, const SortValue& b) { return a != b; };
  if (sign == "<") return [](const SortValue& a, const SortValue& b) { return a < b; };
  if (sign == "<=") return [](const SortValue& a, const SortValue& b) { return a <= b; };
  if (sign == ">") return [](const SortValue& a, const SortValue& b) { return a > b; };
  if (sign == ">=") return [](const SortValue& a, const SortValue& b) { return a >= b; };
  return nullptr;
}

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

/// What stands between quotes, "+ POT" or '+ POT'; without them the text itself.
std::string unquoted(const std::string& text) {
  const bool in_quotes =
      text.size() >= 2 && (text.front() == '"' || text.front() == '\'') && text.back() == text.front();
  return in_quotes ? text.substr(1, text.size() - 2) : text;
}

}  // namespace

bool stopped_early(const TrialView& trial) {
  return trial.state == "finished" && trial.reason.starts_with("stopped early");
}

std::string short_key(const std::string& key, const std::vector<std::string>& keys) {
  std::string last = key.substr(key.rfind('.') + 1);
  auto same = std::count_if(keys.begin(), keys.end(),
                            [&](const std::string& other) { return other.substr(other.rfind('.') + 1) == last; });
  return same > 1 ? key : last;
}

std::string trial_label(const TrialView& trial, const Results& results) {
  std::string label = trial.variant;
  for (const auto& key : results.told_params) {
    label += fmt::format("{}{}={}", label.empty() ? "" : " ", short_key(key, results.told_params), param(trial, key));
  }
  return label.empty() ? to_string(trial.id) : label;
}

Results make_results(const JobDetail& detail, const std::map<uint64_t, LastLoss>& losses, Millis now) {
  Results results;
  results.job = detail.job;
  results.params = differing_params(detail.trials);
  auto job = parse_job(detail.yaml, "job " + std::to_string(detail.job.id));
  if (job && job->sweep) {
    for (const Variant& variant : job->sweep->variants) {
      if (variant.published) results.published[variant.name] = *variant.published;
    }
  }
  for (const auto& trial : detail.trials) {
    ResultRow row;
    row.trial = trial;
    row.before = value_of(trial.initial, detail.job.metric);
    row.after = value_of(trial.final, detail.job.metric);
    if (auto loss = losses.find(trial.id.index); loss != losses.end()) row.loss = loss->second;
    row.epochs = param(trial, "train.epochs");
    if (row.epochs.empty() && job && !job->study) row.epochs = std::to_string(job->trial.train.epochs);
    if (trial.started != 0) row.duration = (trial.ended != 0 ? trial.ended : now) - trial.started;
    results.has_variants |= !trial.variant.empty();
    results.rows.push_back(std::move(row));
  }
  for (const auto& key : results.params) {
    if (!results.has_variants || !told_by_variant(detail.trials, key)) results.told_params.push_back(key);
  }
  if (job && job->sweep) mark_front(results, *job->sweep);
  rank(results);
  (void)sort(results, "rank", false).value();
  return results;
}

Status sort(Results& results, const std::string& name, bool reverse) {
  auto column = find_column(results, name);
  if (!column) return error("cannot sort by {}", column.error().message);
  const bool falling = column->rising == reverse;
  std::stable_sort(results.rows.begin(), results.rows.end(), [&](const ResultRow& a, const ResultRow& b) {
    SortValue left = column->value(a), right = column->value(b);
    if (left.index() != right.index()) return left.index() < right.index();
    return falling ? right < left : left < right;
  });
  return {};
}

Status keep(Results& results, const std::string& condition) {
  constexpr const char* form = "write NAME, one of = != < <= > >=, and a value, such as 'train.lr<=1e-3'";
  const size_t at = condition.find_first_of("=!<>");
  if (at == 0 || at == std::string::npos) return error("'{}' is no condition: {}", condition, form);
  const size_t behind = condition.find_first_not_of("=!<>", at);
  const std::string sign = condition.substr(at, behind - at);
  const auto test = find_test(sign);
  if (!test || behind == std::string::npos) return error("'{}' is no condition: {}", condition, form);
  auto column = find_column(results, trimmed(condition.substr(0, at)));
  if (!column) return error("cannot select by {}", column.error().message);
  const SortValue wanted = number_or_word(unquoted(trimmed(condition.substr(behind))));
  std::erase_if(results.rows, [&](const ResultRow& row) {
    const SortValue value = column->value(row);
    // A word and a number are never equal, and have no order; what is missing meets no condition.
    if (std::holds_alternative<std::monostate>(value)) return true;
    return value.index() == wanted.index() ? !test(value, wanted) : sign != "!=";
  });
  return {};
}

Table results_table(const Results& results, const std::string& extra) {
  Table table;
  bool losses = false;
  for (const auto& row : results.rows) losses |= row.loss.has_value();
  const bool loss_is_metric = std::count(results.metrics.begin(), results.metrics.end(), "loss") > 0;
  auto add = [&](Column column) { table.columns.push_back(std::move(column)); };
  add({"rank", Align::right});
  add({"trial"});
  if (results.has_variants) add({"variant", Align::left, true});
  for (const auto& key : results.told_params) add({short_key(key, results.told_params), Align::left, true});
  add({results.job.metric, Align::right});
  for (const auto& metric : results.metrics) add({metric, Align::right});
  if (results.has_front) add({"front"});
  if (!extra.empty()) add({extra, Align::right});
  if (losses && !loss_is_metric) add({"loss", Align::right, false, 1});
  const bool epochs = std::ranges::any_of(results.rows, [](const ResultRow& row) { return !row.epochs.empty(); });
  if (epochs) add({"epochs", Align::right, false, 4});
  if (losses) add({"steps", Align::right, false, 3});
  add({"duration", Align::right, false, 2});
  add({"state"});
  for (const auto& row : results.rows) {
    std::vector<Cell> cells;
    bool best = row.rank == 1;
    cells.emplace_back(row.rank == 0 ? "–" : std::to_string(row.rank));
    cells.emplace_back(to_string(row.trial.id));
    if (results.has_variants) cells.emplace_back(row.trial.variant, best ? Tint::bold : Tint::none);
    for (const auto& key : results.told_params) cells.emplace_back(param(row.trial, key));
    cells.emplace_back(change_text(row.before, row.after), best ? Tint::bold : Tint::none);
    for (const auto& metric : results.metrics) {
      cells.emplace_back(change_text(value_of(row.trial.initial, metric), value_of(row.trial.final, metric)));
    }
    if (results.has_front) cells.emplace_back(row.on_front ? "pareto" : "", row.on_front ? Tint::bold : Tint::none);
    if (!extra.empty())
      cells.emplace_back(change_text(value_of(row.trial.initial, extra), value_of(row.trial.final, extra)));
    if (losses && !loss_is_metric) cells.emplace_back(row.loss ? number_text(row.loss->value) : "–");
    if (epochs) cells.emplace_back(row.epochs);
    if (losses) cells.emplace_back(row.loss ? std::to_string(row.loss->step) : "–");
    cells.emplace_back(row.trial.started == 0 ? "–" : duration_text(row.duration));
    cells.emplace_back(state_text(row.trial), tint_of_state(row.trial.state));
    table.rows.push_back(std::move(cells));
  }
  return table;
}

std::string results_csv(const Results& results) {
  auto metrics = metric_names(results);
  std::string text = "rank,trial,variant";
  for (const auto& key : results.params) text += fmt::format(",{}", csv_field(key));
  for (const auto& name : metrics) text += fmt::format(",{},{}", csv_field("untrained " + name), csv_field(name));
  if (results.has_front) text += ",pareto";
  text += ",last_loss,last_step,epochs,attempts,duration_s,state,reason\n";
  auto exact = [](std::optional<double> value) { return value ? fmt::format("{}", *value) : std::string(); };
  for (const auto& row : results.rows) {
    text += fmt::format("{},{},{}", row.rank == 0 ? "" : std::to_string(row.rank), to_string(row.trial.id),
                        csv_field(row.trial.variant));
    for (const auto& key : results.params) text += fmt::format(",{}", csv_field(param(row.trial, key)));
    for (const auto& name : metrics) {
      text += fmt::format(",{},{}", exact(value_of(row.trial.initial, name)), exact(value_of(row.trial.final, name)));
    }
    if (results.has_front) text += row.on_front ? ",yes" : ",no";
    text += fmt::format(",{},{},{},{},{},{},{}\n", row.loss ? exact(row.loss->value) : "",
                        row.loss ? std::to_string(row.loss->step) : "", row.epochs, row.trial.attempts,
                        static_cast<double>(row.duration) / 1000, row.trial.state, csv_field(row.trial.reason));
  }
  return text;
}

std::vector<Outcome> outcomes_of(const JobDetail& detail, const std::string& metric) {
  std::vector<Outcome> outcomes;
  for (const auto& trial : detail.trials) {
    auto value = value_of(trial.final, metric);
    if (!value || trial.state == "running") continue;
    Outcome seen{trial.params, *value};
    if (!trial.variant.empty()) seen.params["variant"] = trial.variant;
    outcomes.push_back(std::move(seen));
  }
  return outcomes;
}

}  // namespace hivq
