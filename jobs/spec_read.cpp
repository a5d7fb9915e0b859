#include "jobs/spec_read.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "jobs/spec_rules.h"

namespace hivq {

namespace {

constexpr size_t most_mistakes = 50;

enum class Parsed { yes, no, too_large };

template <typename Number>
Parsed parse_number(std::string_view text, Number& value) {
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.starts_with('+') || text.empty()) return Parsed::no;
  const char* end = text.data() + text.size();
  auto [stop, problem] = std::from_chars(text.data(), end, value);
  if (stop != end) return Parsed::no;
  return problem == std::errc::result_out_of_range ? Parsed::too_large : Parsed::yes;
}

// Words of YAML for what is no finite number.
bool is_special_number(std::string_view text) {
  if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
  for (std::string_view word : {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"}) {
    if (text == word) return true;
  }
  return false;
}

}  // namespace

SpecReader::SpecReader(Wants wants) : wants_(wants) {}

void SpecReader::mistake(const std::string& where, const std::string& text) {
  if (mistakes_.size() <= most_mistakes) mistakes_.push_back(where + ": " + text);
}

std::optional<Error> SpecReader::mistakes() const {
  if (mistakes_.empty()) return std::nullopt;
  if (mistakes_.size() <= most_mistakes) return Error{fmt::format("{}", fmt::join(mistakes_, "\n"))};
  return Error{fmt::format("{}\nand more", fmt::join(mistakes_.begin(), mistakes_.begin() + most_mistakes, "\n"))};
}

void SpecReader::read(const YamlNode& root) {
  if (root.kind != YamlNode::Kind::map) {
    mistake(root.where, fmt::format("the document is {}; it must be sections with keys, such as `train:` and below it "
                                    "`  epochs: 10`",
                                    shown(root)));
    return;
  }
  read_section("", root);
  if (job_.sweep) check_sweep(root);
  if (mistakes_.empty()) check_rules(root);
}

void SpecReader::read_section(const std::string& prefix, const YamlNode& section) {
  each_entry(prefix.empty() ? "the document" : prefix.substr(0, prefix.size() - 1), section,
             [&](const YamlNode& key, const YamlNode& value) { read_entry(key, prefix + key.text, value); });
}

void SpecReader::read_entry(const YamlNode& key, const std::string& name, const YamlNode& value) {
  const Field* field = key.text.find('.') == std::string::npos ? find_field(name) : nullptr;
  if (field && (wants_ == Wants::job || field->of_trial())) return read_field(*field, value);
  if (!is_section(name)) return unknown_key(key, name);
  places_[name] = key.where;
  if (name == "sweep.variants") return read_variants(value);
  if (value.kind != YamlNode::Kind::map && value.kind != YamlNode::Kind::null) {
    return mistake(value.where,
                   fmt::format("{} is {}; it must be a section: its keys below it, indented", name, shown(value)));
  }
  if (name == "sweep.parameters") return read_parameters(value);
  if (name == "sweep") {
    if (value.kind == YamlNode::Kind::null) return;  // as if it were not there
    job_.sweep.emplace();
  }
  read_section(name + ".", value);
}

bool SpecReader::is_section(const std::string& name) const {
  if (name.find('.') == std::string::npos || name.starts_with("model.")) {
    for (const Field& field : all_fields()) {
      if (field.key.starts_with(name + ".") && (wants_ == Wants::job || field.of_trial())) return true;
    }
  }
  return wants_ == Wants::job && (name == "sweep.variants" || name == "sweep.parameters");
}

void SpecReader::unknown_key(const YamlNode& key, const std::string& name) {
  std::vector<std::string> candidates, siblings;
  const std::string section = name.substr(0, name.size() - key.text.size());
  for (const Field& field : all_fields()) {
    if (wants_ == Wants::trial && !field.of_trial()) continue;
    candidates.emplace_back(field.key);
    // The section's own keys, and the sections in it.
    if (!field.key.starts_with(section)) continue;
    std::string_view rest = field.key.substr(section.size());
    std::string sibling = section + std::string(rest.substr(0, rest.find('.')));
    if (siblings.empty() || siblings.back() != sibling) siblings.push_back(sibling);
  }
  candidates.insert(candidates.end(), siblings.begin(), siblings.end());
  if (wants_ == Wants::job) candidates.insert(candidates.end(), {"sweep.variants", "sweep.parameters"});
  std::string remedy;
  if (find_field(key.text) && key.text.find('.') != std::string::npos) {
    size_t dot = key.text.rfind('.');
    remedy = fmt::format("write {} below the section {}", key.text.substr(dot + 1), key.text.substr(0, dot));
  } else if (auto nearest = nearest_key(name, candidates)) {
    remedy = fmt::format("did you mean {}?", *nearest);
  } else {
    remedy = fmt::format("there are {}", fmt::join(siblings, ", "));
  }
  mistake(key.where, fmt::format("{} is an unknown key; {}", shown(name), remedy));
}

void SpecReader::read_field(const Field& field, const YamlNode& value) {
  std::string name(field.key);
  places_[name] = value.where;
  if (const auto* list = std::get_if<ListField>(&field.kind)) return read_list(field, *list, value);
  if (auto read = read_value(field, name, value)) store(job_, field, *read);
}

void SpecReader::read_list(const Field& field, const ListField& list, const YamlNode& value) {
  if (value.kind != YamlNode::Kind::list) {
    return mistake(value.where, fmt::format("{} is {}; {}", field.key, shown(value), wanted_type(field)));
  }
  if (value.items.empty() && !list.may_be_empty) {
    return mistake(value.where, fmt::format("{} is an empty list; it must hold at least one number", field.key));
  }
  std::set<int64_t> seen;
  std::vector<int64_t> numbers;
  for (const YamlNode& item : value.items) {
    int64_t number = 0;
    bool is_scalar = item.kind == YamlNode::Kind::scalar && !item.quoted;
    if (!is_scalar || parse_number(item.text, number) != Parsed::yes) {
      mistake(item.where, fmt::format("{} holds {}; it must hold whole numbers", field.key, shown(item)));
    } else if (auto why = objection(list, number)) {
      mistake(item.where, fmt::format("{} holds {}; {}", field.key, number, *why));
    } else if (!seen.insert(number).second) {
      mistake(item.where, fmt::format("{} holds {} twice; keep one", field.key, number));
    } else {
      numbers.push_back(number);
    }
  }
  *list.at(job_) = std::move(numbers);
}

std::optional<ParamValue> SpecReader::read_value(const Field& field, const std::string& name, const YamlNode& value) {
  auto refuse = [&](const std::string& why) -> std::optional<ParamValue> {
    mistake(value.where, fmt::format("{} is {}; {}", name, shown(value), why));
    return std::nullopt;
  };
  const bool is_text = std::holds_alternative<TextField>(field.kind) || std::holds_alternative<WordField>(field.kind);
  std::optional<ParamValue> read;
  if (is_text) {
    if (value.kind == YamlNode::Kind::scalar) read = value.text;
    if (value.kind == YamlNode::Kind::null) read = std::string();
  } else if (value.kind == YamlNode::Kind::scalar && !value.quoted) {
    if (std::holds_alternative<FlagField>(field.kind)) {
      if (value.text == "true" || value.text == "false") read = value.text == "true";
    } else if (std::holds_alternative<RealField>(field.kind)) {
      double number = 0;
      Parsed parsed = parse_number(value.text, number);
      if (parsed == Parsed::too_large) return refuse("it must be a number that fits 64 bits");
      if (is_special_number(value.text)) return refuse("it must be a finite number");
      if (parsed == Parsed::yes) read = number;
    } else {
      int64_t number = 0;
      Parsed parsed = parse_number(value.text, number);
      if (parsed == Parsed::too_large) return refuse("it must be a whole number that fits 64 bits");
      if (parsed == Parsed::yes) read = number;
    }
  }
  if (!read) return refuse(wanted_type(field));
  if (auto why = objection(field, *read)) return refuse(*why);
  return read;
}

const std::string& SpecReader::place_of(const std::string& key, const std::string& fallback) const {
  auto found = places_.find(key);
  return found == places_.end() ? fallback : found->second;
}

void SpecReader::check_rules(const YamlNode& root) {
  for (const BrokenRule& broken : broken_rules(job_)) {
    std::string where = root.where;
    // The file's own value of any field that the rule reads, the first one last.
    for (const Rule& rule : all_rules()) {
      if (rule.keys.front() != broken.key) continue;
      for (auto key = rule.keys.rbegin(); key != rule.keys.rend(); ++key) where = place_of(std::string(*key), where);
    }
    where = place_of(broken.key, where);
    if (broken.variant.empty()) {
      mistake(where, broken.sentence);
    } else {
      where = place_of("sweep.variants." + broken.variant, where);
      mistake(where, fmt::format("variant '{}': {}", broken.variant, broken.sentence));
    }
  }
}

}  // namespace hivq
