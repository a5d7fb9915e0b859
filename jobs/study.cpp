#include "jobs/study.h"

#include <charconv>

#include "jobs/search/searcher.h"
#include "jobs/spec_fields.h"
#include "jobs/spec_read.h"

namespace hivq {

namespace {

using Kind = SearchRange::Kind;

template <typename Number>
std::optional<ParamValue> number_of(std::string_view text) {
  Number number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, number);
  if (problem != std::errc() || stop != end) return std::nullopt;
  return number;
}

/// Fields that both have in the same words; the lists of the sweep's metrics and constraints are compared as YAML is.
Status same_lists(const SweepSpec& there, const SweepSpec& wanted) {
  if (there.metrics != wanted.metrics) return error("study.metrics are other ones there");
  if (there.constraints != wanted.constraints) return error("study.constraints are other ones there");
  return {};
}

}  // namespace

SweepSpec defaults_of_study() {
  SweepSpec sweep;
  sweep.search = "tpe";
  sweep.metric = "value";
  sweep.goal = "minimize";
  return sweep;
}

Result<SearchRange> parse_range(const std::string& text, const std::string& name) {
  auto root = parse_yaml(text, "its range", false);
  if (!root) return root.error();
  SpecReader reader(SpecReader::Wants::job);
  auto range = reader.read_study_range(name, *root);
  if (auto mistakes = reader.mistakes()) {
    const std::string_view place = "its range: ";
    return Error{mistakes->message.substr(mistakes->message.starts_with(place) ? place.size() : 0)};
  }
  if (!range->when.empty()) return error("{} has a condition (when), which only a study's file can give", name);
  return std::move(*range);
}

Result<ParamValue> read_value(const SearchRange& range, const std::string& name, const std::string& text) {
  std::optional<ParamValue> value;
  if (range.kind == Kind::choice) {
    for (const ParamValue& choice : range.choices) {
      if (to_string(choice) == text) value = choice;
    }
  } else if (range.kind == Kind::integer || range.kind == Kind::log_integer) {
    value = number_of<int64_t>(text);
  } else {
    value = number_of<double>(text);
  }
  if (value && contains(range, *value)) return std::move(*value);
  return error("{} is {}, which lies outside of {}", shown(name), shown(text), to_yaml(range));
}

Params values_in(const SweepSpec& sweep, const std::map<std::string, std::string>& known) {
  Params params;
  for (const auto& [name, text] : known) {
    const auto range = sweep.parameters.find(name);
    if (range == sweep.parameters.end()) continue;
    if (auto value = read_value(range->second, name, text)) params[name] = std::move(*value);
  }
  return params;
}

Params filled(const SweepSpec& sweep, uint64_t setting, const std::map<std::string, std::string>& known) {
  Params params = values_in(sweep, known);
  for (const auto& [name, range] : sweep.parameters) {
    if (!params.contains(name)) params[name] = drawn_value(range, sweep.seed, setting, name);
  }
  return params;
}

Status same_study(const JobSpec& there, const JobSpec& wanted) {
  for (const Field& field : all_fields()) {
    if (!field.of_study()) continue;
    const std::string is = yaml_text(there, field), here = yaml_text(wanted, field);
    if (is == here) continue;
    std::string key(field.key);
    if (key.starts_with("sweep.")) key.replace(0, std::string_view("sweep").size(), "study");
    return error("{} is {} there and {} here", key, is, here);
  }
  if (auto same = same_lists(*there.sweep, *wanted.sweep); !same) return same;
  for (const auto& [name, range] : wanted.sweep->parameters) {
    const auto found = there.sweep->parameters.find(name);
    if (found == there.sweep->parameters.end()) return error("the parameter {} is not there yet", shown(name));
    if (found->second != range) {
      return error("the parameter {} is {} there and {} here", shown(name), to_yaml(found->second), to_yaml(range));
    }
  }
  return {};
}

}  // namespace hivq
