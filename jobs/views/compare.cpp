#include "jobs/views/compare.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "jobs/spec_fields.h"
#include "jobs/views/format.h"

namespace hivq {

namespace {

/// Every field of a trial as text, by its key: the job's value, or what the sweep gave this trial.
Result<std::map<std::string, std::string>> fields_of(const Compared& compared) {
  auto job = parse_job(compared.yaml, "job " + std::to_string(compared.job.id));
  if (!job) return job.error();
  std::map<std::string, std::string> fields;
  for (const Field& field : all_fields()) {
    if (!field.of_trial() || job->study) continue;
    fields[std::string(field.key)] = field.is_parameter() ? to_string(load(*job, field)) : yaml_text(*job, field);
  }
  for (const auto& [key, value] : compared.trial.params) fields[key] = value;
  return fields;
}

bool differ(const std::vector<std::string>& values) {
  return std::ranges::any_of(values, [&](const auto& value) { return value != values.front(); });
}

void add_differences(Comparison& comparison, const std::vector<std::map<std::string, std::string>>& fields) {
  // Fields in their order, then what studies have besides.
  std::vector<std::string> keys;
  std::set<std::string> others;
  for (const auto& of_trial : fields) {
    for (const auto& [key, value] : of_trial) others.insert(key);
  }
  for (const Field& field : all_fields()) {
    if (others.erase(std::string(field.key)) > 0) keys.emplace_back(field.key);
  }
  keys.insert(keys.end(), others.begin(), others.end());
  for (const std::string& key : keys) {
    Comparison::Line line{key, {}};
    for (const auto& of_trial : fields) {
      auto found = of_trial.find(key);
      line.values.push_back(found == of_trial.end() ? "" : found->second);
    }
    if (differ(line.values)) comparison.settings.push_back(std::move(line));
  }
}

void add_facts(Comparison& comparison, const std::vector<Compared>& trials, Millis now) {
  Comparison::Line job{"job", {}}, variant{"variant", {}}, state{"state", {}}, duration{"duration", {}};
  for (const auto& [of, yaml, trial] : trials) {
    job.values.push_back(of.name);
    variant.values.push_back(trial.variant);
    state.values.push_back(trial.state);
    const Millis end = trial.ended != 0 ? trial.ended : now;
    duration.values.push_back(trial.started == 0 ? "" : duration_text(end - trial.started));
  }
  comparison.facts = {std::move(job)};
  if (differ(variant.values)) comparison.facts.push_back(std::move(variant));
  comparison.facts.push_back(std::move(state));
  comparison.facts.push_back(std::move(duration));
}

void add_metrics(Comparison& comparison, const std::vector<Compared>& trials) {
  std::set<std::string> names;
  for (const auto& compared : trials) {
    for (const auto& [name, value] : compared.trial.final) names.insert(name);
  }
  const auto add = [&](const std::string& name) {
    Comparison::MetricLine line{name, {}};
    for (const auto& compared : trials) line.values.push_back(value_of(compared.trial.final, name));
    comparison.metrics.push_back(std::move(line));
  };
  const std::string& first = trials.front().job.metric;
  if (names.erase(first) > 0) add(first);
  for (const auto& name : names) add(name);
}

std::string figure(const std::optional<double>& value, const std::optional<double>& first) {
  if (!value) return "–";
  if (!first || first == value) return number_text(*value);
  const double distance = std::abs(*value - *first);
  return fmt::format("{} ({}{})", number_text(*value), *value > *first ? "+" : "−", number_text(distance));
}

}  // namespace

Result<Comparison> compare(const std::vector<Compared>& trials, Millis now) {
  Comparison comparison;
  if (trials.empty()) return comparison;
  std::vector<std::map<std::string, std::string>> fields;
  for (const auto& compared : trials) {
    auto of_trial = fields_of(compared);
    if (!of_trial) return of_trial.error();
    fields.push_back(std::move(*of_trial));
    comparison.trials.push_back(to_string(compared.trial.id));
  }
  add_facts(comparison, trials, now);
  add_differences(comparison, fields);
  add_metrics(comparison, trials);
  return comparison;
}

Table comparison_table(const Comparison& comparison) {
  Table table{{{"trial", Align::left, true}}, {}};
  for (const auto& trial : comparison.trials) table.columns.push_back({trial, Align::left, true});
  const auto add = [&](const Comparison::Line& line) {
    std::vector<Cell> cells{line.name};
    for (const auto& value : line.values) cells.emplace_back(value.empty() ? "–" : value);
    table.rows.push_back(std::move(cells));
  };
  for (const auto& line : comparison.facts) add(line);
  for (const auto& line : comparison.settings) add(line);
  for (const auto& line : comparison.metrics) {
    if (line.name.find('/') != std::string::npos) continue;
    std::vector<Cell> cells{line.name};
    for (const auto& value : line.values) {
      cells.emplace_back(&value == &line.values.front() ? figure(value, std::nullopt)
                                                        : figure(value, line.values.front()));
    }
    table.rows.push_back(std::move(cells));
  }
  return table;
}

std::string comparison_csv(const Comparison& comparison) {
  std::string text = "kind,name";
  for (const auto& trial : comparison.trials) text += fmt::format(",{}", csv_field(trial));
  text += '\n';
  const auto add = [&](const char* kind, const std::vector<Comparison::Line>& lines) {
    for (const auto& line : lines) {
      text += fmt::format("{},{}", kind, csv_field(line.name));
      for (const auto& value : line.values) text += fmt::format(",{}", csv_field(value));
      text += '\n';
    }
  };
  add("fact", comparison.facts);
  add("setting", comparison.settings);
  for (const auto& line : comparison.metrics) {
    text += fmt::format("metric,{}", csv_field(line.name));
    for (const auto& value : line.values) text += value ? fmt::format(",{}", *value) : ",";
    text += '\n';
  }
  return text;
}

}  // namespace hivq
