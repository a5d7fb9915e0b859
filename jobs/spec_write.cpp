// A job as YAML, and values as text.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "jobs/spec_fields.h"
#include "jobs/study.h"

namespace hivq {

namespace {

// The shortest text that reads back as the same number: 0.1, 1e-4, 256.
std::string number_text(double value) {
  char buffer[40];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  std::string text(buffer, end);
  // 1e-05 → 1e-5, 1e+06 → 1e6
  if (size_t e = text.find('e'); e != std::string::npos) {
    std::string exponent = text.substr(e + 1);
    bool negative = exponent[0] == '-';
    exponent.erase(0, exponent.find_first_not_of("+-0"));
    text = text.substr(0, e + 1) + (negative ? "-" : "") + exponent;
  }
  return text;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

// Needs no quotes: cannot be taken for a number, a truth value or one of YAML's own signs.
bool plain(std::string_view text) {
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (text.empty() || !letter(text.front()) || text.back() == ' ') return false;
  for (char c : text) {
    if (!letter(c) && !(c >= '0' && c <= '9') && std::string_view(" +-_./").find(c) == std::string_view::npos)
      return false;
  }
  for (std::string_view word : {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"}) {
    if (text.size() == word.size() &&
        std::equal(text.begin(), text.end(), word.begin(), [](char a, char b) { return (a | 0x20) == b; })) {
      return false;
    }
  }
  return true;
}

std::string text_as_yaml(std::string_view text) { return plain(text) ? std::string(text) : quoted(text); }

std::string yaml_text(const ParamValue& value) {
  const auto* text = std::get_if<std::string>(&value);
  if (text) return text_as_yaml(*text);
  if (const auto* list = std::get_if<std::vector<int64_t>>(&value)) return fmt::format("[{}]", fmt::join(*list, ", "));
  return to_string(value);
}

// Writes fields, opening the sections that their keys name.
class SectionWriter {
 public:
  void field(std::string_view key, const std::string& value) {
    size_t depth = 0;
    for (size_t dot = key.find('.'); dot != key.npos; dot = key.find('.'), ++depth) {
      std::string section(key.substr(0, dot));
      key.remove_prefix(dot + 1);
      if (depth < open_.size() && open_[depth] == section) continue;
      open_.resize(depth);
      out_ += fmt::format("{:{}}{}:\n", "", 2 * depth, section);
      open_.push_back(std::move(section));
    }
    open_.resize(depth);
    out_ += fmt::format("{:{}}{}: {}\n", "", 2 * depth, key, value);
  }
  std::string take() { return std::move(out_); }

 private:
  std::vector<std::string> open_;
  std::string out_;
};

std::string joined(const std::vector<ParamValue>& values) {
  std::string text;
  for (const auto& value : values) text += (text.empty() ? "" : ", ") + yaml_text(value);
  return "[" + text + "]";
}

std::string kind_text(const SearchRange& range) {
  auto ends = [&](const char* kind) {
    return fmt::format("{}: [{}, {}]", kind, number_text(range.low), number_text(range.high));
  };
  auto whole_ends = [&](const char* kind) {
    return fmt::format("{}: [{}, {}]", kind, static_cast<int64_t>(range.low), static_cast<int64_t>(range.high));
  };
  switch (range.kind) {
    case SearchRange::Kind::uniform:
      return ends("uniform");
    case SearchRange::Kind::log_uniform:
      return ends("log_uniform");
    case SearchRange::Kind::integer:
      return whole_ends("integer");
    case SearchRange::Kind::log_integer:
      return whole_ends("log_integer");
    case SearchRange::Kind::choice:
      break;
  }
  return "choice: " + joined(range.choices);
}

// A sweep's parameters are named by keys, which need no quotes.
std::string sweep_lists(const SweepSpec& sweep, bool study) {
  std::string out;
  if (!sweep.metrics.empty()) out += "  metrics:\n";
  for (const Objective& each : sweep.metrics) {
    out += fmt::format("    - {{name: {}, goal: {}}}\n", text_as_yaml(each.metric), each.goal);
  }
  if (!sweep.constraints.empty()) out += "  constraints:\n";
  for (const Constraint& each : sweep.constraints) {
    out += fmt::format("    - {{metric: {}", text_as_yaml(each.metric));
    if (each.at_most) out += fmt::format(", at_most: {}", number_text(*each.at_most));
    if (each.at_least) out += fmt::format(", at_least: {}", number_text(*each.at_least));
    out += "}\n";
  }
  if (!sweep.variants.empty()) out += "  variants:\n";
  for (const Variant& variant : sweep.variants) {
    out += fmt::format("    - name: {}\n", text_as_yaml(variant.name));
    if (variant.published) out += fmt::format("      published: {}\n", number_text(*variant.published));
    for (const auto& [key, value] : variant.params) out += fmt::format("      {}: {}\n", key, yaml_text(value));
  }
  if (!sweep.parameters.empty()) out += "  parameters:\n";
  for (const auto& [key, range] : sweep.parameters) {
    out += fmt::format("    {}: {}\n", study ? text_as_yaml(key) : key, to_yaml(range));
  }
  return out;
}

}  // namespace

std::string to_yaml(const SearchRange& range) {
  if (range.kind == SearchRange::Kind::choice && range.when.empty()) return joined(range.choices);
  std::string text = kind_text(range);
  if (range.step > 0) {
    text += ", step: " + (range.kind == SearchRange::Kind::integer ? to_string(static_cast<int64_t>(range.step))
                                                                   : number_text(range.step));
  }
  std::string conditions;
  for (const auto& [key, values] : range.when) {
    conditions += fmt::format("{}{}: {}", conditions.empty() ? "" : ", ", key, joined(values));
  }
  if (!conditions.empty()) text += ", when: {" + conditions + "}";
  return "{" + text + "}";
}

std::string yaml_text(const JobSpec& job, const Field& field) {
  if (const auto* texts = std::get_if<TextListField>(&field.kind)) {
    std::string items;
    for (const std::string& item : *texts->at(const_cast<JobSpec&>(job)))
      items += (items.empty() ? "" : ", ") + text_as_yaml(item);
    return "[" + items + "]";
  }
  if (const auto* labels = std::get_if<LabelsField>(&field.kind)) {
    std::string items;
    for (const auto& [key, value] : *labels->at(const_cast<JobSpec&>(job)))
      items += fmt::format("{}{}: {}", items.empty() ? "" : ", ", text_as_yaml(key), text_as_yaml(value));
    return "{" + items + "}";
  }
  return yaml_text(load(job, field));
}

std::string to_yaml(const JobSpec& job) {
  SectionWriter writer;
  for (const Field& field : all_fields()) {
    const bool of_sweep = field.key.starts_with("sweep.");
    if ((of_sweep && !job.sweep) || (job.study && !field.of_study())) continue;
    if (field.key == "sweep.stop.max_epochs" && !job.study) continue;
    if (field.key == "name" && job.name.empty()) continue;
    std::string key(field.key);
    if (of_sweep && job.study) key.replace(0, std::string_view("sweep").size(), "study");
    writer.field(key, yaml_text(job, field));
  }
  return writer.take() + (job.sweep ? sweep_lists(*job.sweep, job.study) : "");
}

std::string to_yaml(const TrialSpec& trial) {
  JobSpec job;
  job.trial = trial;
  SectionWriter writer;
  for (const Field& field : all_fields()) {
    if (field.of_trial()) writer.field(field.key, yaml_text(job, field));
  }
  return writer.take();
}

std::string to_string(const ParamValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* whole = std::get_if<int64_t>(&value)) return fmt::format("{}", *whole);
  if (const auto* real = std::get_if<double>(&value)) return number_text(*real);
  if (const auto* list = std::get_if<std::vector<int64_t>>(&value)) return fmt::format("[{}]", fmt::join(*list, ","));
  return std::get<std::string>(value);
}

std::string to_string(const Params& params) {
  std::string text;
  for (const auto& [key, value] : params)
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", key, to_string(value));
  return text;
}

}  // namespace hivq
