// parse_job, parse_trial, with_params: the doors of the specification.

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "jobs/spec_read.h"
#include "jobs/spec_rules.h"

namespace hivq {

namespace {

constexpr std::string_view parameters_prefix = "sweep.parameters.";

// The steps from the root to a key: its dotted parts; what follows `sweep.parameters.` is one key.
std::vector<std::string> steps_of(std::string_view key) {
  std::vector<std::string> steps;
  if (key.starts_with(parameters_prefix) || key.starts_with("study.parameters.")) {
    return {std::string(key.substr(0, 5)), "parameters", std::string(key.substr(parameters_prefix.size()))};
  }
  for (size_t dot = key.find('.'); dot != key.npos; dot = key.find('.')) {
    steps.emplace_back(key.substr(0, dot));
    key.remove_prefix(dot + 1);
  }
  steps.emplace_back(key);
  return steps;
}

// Puts the value at the key, with sections made where there are none; what stood there goes.
void replace(YamlNode& root, const std::string& key, YamlNode value) {
  YamlNode* node = &root;
  for (const std::string& step : steps_of(key)) {
    if (node->kind != YamlNode::Kind::map) {
      *node = {};
      node->kind = YamlNode::Kind::map;
      node->where = value.where;
    }
    size_t at = 0;
    while (at < node->keys.size() && node->keys[at].text != step) ++at;
    if (at == node->keys.size()) {
      YamlNode name;
      name.kind = YamlNode::Kind::scalar;
      name.text = step;
      node->keys.push_back(name);
      node->items.emplace_back();
      node->items.back().where = value.where;
    }
    node->keys[at].where = value.where;
    node = &node->items[at];
  }
  *node = std::move(value);
}

std::string label_of(const Override& change) {
  return fmt::format("--set {}={}", shown(change.key), shown(change.value));
}

void apply(YamlNode& root, const Override& change, SpecReader& reader) {
  const std::string label = label_of(change);
  if (change.key.empty())
    return reader.mistake(label, "it has no key; write --set key=value, such as --set train.lr=1e-3");
  if (!reader.is_known(change.key)) return reader.unknown_key(label, "", change.key);
  YamlNode value;
  value.where = label;
  if (change.value.find_first_not_of(" \t\r\n") != std::string::npos) {
    auto parsed = parse_yaml(change.value, label, false);
    if (!parsed) return reader.mistake(label, parsed.error().message.substr(label.size() + 2));
    value = std::move(*parsed);
  }
  replace(root, change.key, std::move(value));
}

// An override of what the sweep sets itself would not reach every trial, silently.
void refuse_idle_overrides(const JobSpec& job, const std::vector<Override>& overrides, SpecReader& reader) {
  if (!job.sweep || job.study) return;
  for (const Override& change : overrides) {
    if (job.sweep->parameters.contains(change.key)) {
      reader.mistake(
          label_of(change),
          fmt::format("{0} is a parameter of the sweep, so this would reach no trial; use --set '{1}{0}=[…]'",
                      change.key, parameters_prefix));
    }
    const auto& variants = job.sweep->variants;
    auto by =
        std::find_if(variants.begin(), variants.end(), [&](const Variant& v) { return v.params.contains(change.key); });
    if (by != variants.end()) {
      reader.mistake(
          label_of(change),
          fmt::format("the variant '{}' sets {} itself, so this would not reach every trial; change the variants "
                      "in the file",
                      shown(by->name), change.key));
    }
  }
}

template <typename Number>
std::optional<Number> read_number(std::string_view text) {
  Number number = 0;
  const char* end = text.data() + text.size();
  auto [stop, problem] = std::from_chars(text.data(), end, number);
  if (problem != std::errc() || stop != end) return std::nullopt;
  return number;
}

// What to_string(ParamValue) wrote.
std::optional<ParamValue> read_text(const Field& field, std::string_view text) {
  if (std::holds_alternative<TextField>(field.kind) || std::holds_alternative<WordField>(field.kind)) {
    return std::string(text);
  }
  if (std::holds_alternative<FlagField>(field.kind)) {
    if (text != "true" && text != "false") return std::nullopt;
    return text == "true";
  }
  if (std::holds_alternative<RealField>(field.kind)) return read_number<double>(text);
  if (!std::holds_alternative<ListField>(field.kind)) return read_number<int64_t>(text);
  if (text.size() < 2 || text.front() != '[' || text.back() != ']') return std::nullopt;
  std::vector<int64_t> list;
  for (text = text.substr(1, text.size() - 2); !text.empty();) {
    const size_t comma = std::min(text.find(','), text.size());
    const auto number = read_number<int64_t>(text.substr(0, comma));
    if (!number) return std::nullopt;
    list.push_back(*number);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return list;
}

std::string stem_of(const std::string& file) {
  std::string stem = std::filesystem::path(file).stem().string();
  return objection(*find_field("name"), stem) ? "job" : stem;
}

}  // namespace

TrialSpec defaults_of(std::string_view preset) {
  TrialSpec trial;  // the paper's objective, Eq. 1
  if (preset == "hvq-trans-official") {
    trial.loss = {.commitment = 0.25, .pot = 0, .classification = 0};
    trial.model.switch_by = "label";
  }
  return trial;
}

Result<JobSpec> parse_job(const std::string& text, const std::string& file, const std::vector<Override>& overrides) {
  auto root = parse_yaml(text, file, true);
  if (!root) return root.error();
  SpecReader reader(SpecReader::Wants::job);
  for (const Override& change : overrides) apply(*root, change, reader);
  reader.read(*root);
  refuse_idle_overrides(reader.job(), overrides, reader);
  if (auto mistakes = reader.mistakes()) return *mistakes;
  if (reader.job().name.empty()) reader.job().name = stem_of(file);
  return std::move(reader.job());
}

Result<TrialSpec> parse_trial(const std::string& text, const std::string& file) {
  auto root = parse_yaml(text, file, true);
  if (!root) return root.error();
  SpecReader reader(SpecReader::Wants::trial);
  reader.read(*root);
  if (auto mistakes = reader.mistakes()) return *mistakes;
  return std::move(reader.job().trial);
}

Result<TrialSpec> with_params(const TrialSpec& trial, const Params& params) {
  std::vector<std::string> mistakes;
  JobSpec job;
  job.trial = trial;
  for (const auto& [key, value] : params) {
    const Field* field = find_field(key);
    if (!field || !field->is_parameter()) {
      mistakes.push_back(fmt::format("{} is no parameter; {}", shown(key), unknown_parameter(key)));
    } else if (auto why = objection(*field, value)) {
      mistakes.push_back(fmt::format("{} is {}; {}", key, shown(to_string(value)), *why));
    } else {
      store(job, *field, value);
    }
  }
  if (mistakes.empty()) {
    for (const Rule& rule : all_rules()) {
      if (auto sentence = rule.broken(job.trial)) mistakes.push_back(*sentence);
    }
  }
  if (!mistakes.empty()) return Error{fmt::format("{}", fmt::join(mistakes, "\n"))};
  return std::move(job.trial);
}

Result<Params> read_params(const std::map<std::string, std::string>& texts) {
  Params params;
  for (const auto& [key, text] : texts) {
    const Field* field = find_field(key);
    if (!field || !field->is_parameter()) return error("{} is no parameter in this version", shown(key));
    auto value = read_text(*field, text);
    if (!value) return error("{} is {}, which this version cannot read", key, shown(text));
    params[key] = std::move(*value);
  }
  return params;
}

}  // namespace hivq
