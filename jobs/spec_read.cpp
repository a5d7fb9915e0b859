#include "jobs/spec_read.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "jobs/spec_rules.h"
#include "jobs/study.h"

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

// A study is read as the sweep that it is, and told of by its own key.
std::string as_of_study(std::string text) {
  constexpr std::string_view sweep = "sweep.", study = "study.";
  const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
  for (size_t at = text.find(sweep); at != text.npos; at = text.find(sweep, at + 1)) {
    const size_t after = at + sweep.size();
    const bool is_key = after < text.size() && is_letter(text[after]) && (at == 0 || text[at - 1] == ' ');
    if (is_key) text.replace(at, sweep.size(), study);
  }
  return text;
}

// What a study's choice is, by how it is written. A whole number is one however that was: 1.0 and 1e3 read as 1 and 1000,
// so that each value has one text.
ParamValue read_scalar(const YamlNode& value) {
  if (value.quoted) return value.text;
  if (value.text == "true" || value.text == "false") return value.text == "true";
  int64_t whole = 0;
  if (parse_number(value.text, whole) == Parsed::yes) return whole;
  double real = 0;
  if (parse_number(value.text, real) != Parsed::yes) return value.text;
  constexpr double beyond = 0x1p63;
  if (real == std::floor(real) && real >= -beyond && real < beyond) return static_cast<int64_t>(real);
  return real;
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
  mistakes_.push_back(where + ": " + (job_.study ? as_of_study(text) : text));
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
  read_kind_of_job(root);
  read_preset(root);
  read_section("", root);
  if (job_.sweep && !wrong_.contains("sweep")) check_sweep(root);
  if (!job_.study) check_rules(root);
}

void SpecReader::read_section(const std::string& prefix, const YamlNode& section) {
  each_entry(prefix.empty() ? "the document" : prefix.substr(0, prefix.size() - 1), section,
             [&](const YamlNode& key, const YamlNode& value) { read_entry(key, prefix + key.text, value); });
}

void SpecReader::read_entry(const YamlNode& key, const std::string& name, const YamlNode& value) {
  const std::string section = name.substr(0, name.size() - key.text.size());
  if (job_.study && section.empty()) {
    if (name == "study") return read_study(key, value);
    const Field* field = find_field(name);
    if (is_known(name) && (field == nullptr || !field->of_study())) {
      return mistake(key.where, fmt::format("{} has no place in a study, whose trials your own program runs; there are "
                                            "name, project, after, after_any, max_trial_seconds, max_job_seconds, study",
                                            name));
    }
  }
  if (!is_known(name) || key.text.find('.') != std::string::npos) return unknown_key(key.where, section, key.text);
  if (const Field* field = find_field(name)) {
    return read_noting(name, [&] { read_field(*field, value); });
  }
  places_[name] = key.where;
  if (name == "sweep.variants" && job_.study) {
    return mistake(key.where, "sweep.variants has no place in a study; make it a choice among sweep.parameters");
  }
  if (name == "sweep.variants") return read_variants(value);
  if (name == "sweep.metrics") return read_metrics(value);
  if (name == "sweep.constraints") return read_constraints(value);
  if (value.kind != YamlNode::Kind::map && value.kind != YamlNode::Kind::null) {
    return mistake(value.where,
                   fmt::format("{} is {}; it must be a section: its keys below it, indented", name, shown(value)));
  }
  if (name == "sweep.parameters") return read_parameters(value);
  if (name == "sweep") {
    if (value.kind == YamlNode::Kind::null) return;  // as if it were not there
    job_.sweep.emplace();
    return read_noting(name, [&] { read_section(name + ".", value); });
  }
  read_section(name + ".", value);
}

void SpecReader::read_kind_of_job(const YamlNode& root) {
  const auto is_study = [](const YamlNode& key) { return key.text == "study"; };
  job_.study = wants_ == Wants::job && std::any_of(root.keys.begin(), root.keys.end(), is_study);
}

void SpecReader::read_study(const YamlNode& key, const YamlNode& value) {
  places_["sweep"] = key.where;
  if (value.kind != YamlNode::Kind::map && value.kind != YamlNode::Kind::null) {
    return mistake(value.where,
                   fmt::format("study is {}; it must be a section: its keys below it, indented", shown(value)));
  }
  job_.sweep = defaults_of_study();
  read_noting("sweep", [&] { read_section("sweep.", value); });
}

bool SpecReader::is_section(const std::string& name) const {
  for (const Field& field : all_fields()) {
    if (field.key.starts_with(name + ".") && (wants_ == Wants::job || field.of_trial())) return true;
  }
  return wants_ == Wants::job && (name == "sweep.variants" || name == "sweep.parameters" || name == "sweep.metrics" ||
                                  name == "sweep.constraints");
}

bool SpecReader::is_known(const std::string& key) const {
  const bool of_study = key == "study" || key.starts_with("study.");
  if (of_study && wants_ == Wants::job) return is_known("sweep" + key.substr(std::string_view("study").size()));
  const Field* field = find_field(key);
  return is_section(key) || (field && (wants_ == Wants::job || field->of_trial())) ||
         (wants_ == Wants::job && key.starts_with("sweep.parameters."));
}

void SpecReader::unknown_key(const std::string& where, const std::string& section, const std::string& word) {
  if (mistakes_.size() >= most_mistakes) return mistake(where, "an unknown key");  // is not shown: spare the search
  std::vector<std::string> candidates, siblings;
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
  if (wants_ == Wants::job)
    candidates.insert(candidates.end(),
                      {"sweep.variants", "sweep.parameters", "sweep.metrics", "sweep.constraints", "study"});
  std::string remedy;
  const size_t dot = word.rfind('.');
  if (dot != std::string::npos && is_known(word)) {
    remedy = fmt::format("write {} below the section {}", word.substr(dot + 1), word.substr(0, dot));
  } else if (auto nearest = nearest_key(section + word, candidates)) {
    remedy = fmt::format("did you mean {}?", *nearest);
  } else {
    remedy = fmt::format("there are {}", fmt::join(siblings, ", "));
  }
  mistake(where, fmt::format("{} is an unknown key; {}", shown(section + word), remedy));
}

void SpecReader::read_preset(const YamlNode& root) {
  const Field& field = *find_field("preset");
  for (size_t i = 0; i < root.items.size(); ++i) {
    if (wants_ != Wants::job || root.keys[i].text != field.key || root.items[i].kind != YamlNode::Kind::scalar)
      continue;
    // A wrong one is refused when its turn comes.
    if (!objection(field, root.items[i].text)) job_.trial = defaults_of(root.items[i].text);
  }
}

void SpecReader::read_field(const Field& field, const YamlNode& value) {
  std::string name(field.key);
  places_[name] = value.where;
  if (const auto* texts = std::get_if<TextListField>(&field.kind)) {
    *texts->at(job_) = read_texts(field, name, value);
  } else if (const auto* labels = std::get_if<LabelsField>(&field.kind)) {
    *labels->at(job_) = read_labels(field, name, value);
  } else if (auto read = read_value(field, name, value)) {
    store(job_, field, *read);
  }
}

template <typename Item, typename Read>
std::vector<Item> SpecReader::read_items(const std::string& name, const YamlNode& list, Read read) {
  std::set<Item> seen;
  std::vector<Item> items;
  for (const YamlNode& node : list.items) {
    std::optional<Item> item = read(node);
    if (!item) continue;
    if (seen.insert(*item).second) {
      items.push_back(std::move(*item));
    } else {
      mistake(node.where, fmt::format("{} holds {} twice; keep one", name, shown(node)));
    }
  }
  return items;
}

std::vector<std::string> SpecReader::read_texts(const Field& field, const std::string& name, const YamlNode& list) {
  if (list.kind != YamlNode::Kind::list) {
    mistake(list.where, fmt::format("{} is {}; {}", name, shown(list), wanted_type(field)));
    return {};
  }
  return read_items<std::string>(name, list, [&](const YamlNode& item) -> std::optional<std::string> {
    const bool is_text = item.kind == YamlNode::Kind::scalar;
    auto why = is_text ? objection(field, item.text) : std::optional<std::string>("it must hold texts");
    if (!why) return item.text;
    mistake(item.where, fmt::format("{} holds {}; {}", name, shown(item), *why));
    return std::nullopt;
  });
}

Labels SpecReader::read_labels(const Field& field, const std::string& name, const YamlNode& map) {
  Labels labels;
  if (map.kind == YamlNode::Kind::null) return labels;
  if (map.kind != YamlNode::Kind::map) {
    mistake(map.where, fmt::format("{} is {}; {}", name, shown(map), wanted_type(field)));
    return labels;
  }
  each_entry(name, map, [&](const YamlNode& key, const YamlNode& value) {
    if (auto why = objection(field, key.text)) {
      mistake(key.where, fmt::format("{} holds the label {}; {}", name, shown(key), *why));
    } else if (value.kind != YamlNode::Kind::scalar) {
      mistake(value.where, fmt::format("{}.{} is {}; it must be a word", name, key.text, shown(value)));
    } else if (auto against = objection(field, value.text)) {
      mistake(value.where, fmt::format("{}.{} is {}; {}", name, key.text, shown(value), *against));
    } else {
      labels[key.text] = value.text;
    }
  });
  return labels;
}

std::optional<ParamValue> SpecReader::read_numbers(const Field& field, const std::string& name, const YamlNode& list) {
  const auto& kind = std::get<ListField>(field.kind);
  const size_t before = mistakes_.size();
  if (list.kind != YamlNode::Kind::list) {
    mistake(list.where, fmt::format("{} is {}; {}", name, shown(list), wanted_type(field)));
  } else if (list.items.empty() && !kind.may_be_empty) {
    mistake(list.where, fmt::format("{} is an empty list; it must hold at least one number", name));
  }
  auto numbers = read_items<int64_t>(name, list, [&](const YamlNode& item) -> std::optional<int64_t> {
    int64_t number = 0;
    if (item.kind != YamlNode::Kind::scalar || item.quoted || parse_number(item.text, number) != Parsed::yes) {
      mistake(item.where, fmt::format("{} holds {}; it must hold whole numbers", name, shown(item)));
    } else if (auto why = objection(kind, number)) {
      mistake(item.where, fmt::format("{} holds {}; {}", name, number, *why));
    } else {
      return number;
    }
    return std::nullopt;
  });
  if (mistakes_.size() != before) return std::nullopt;
  return numbers;
}

std::optional<ParamValue> SpecReader::read_value(const Field& field, const std::string& name, const YamlNode& value) {
  if (std::holds_alternative<ListField>(field.kind)) return read_numbers(field, name, value);
  auto refuse = [&](const std::string& why) -> std::optional<ParamValue> {
    mistake(value.where, fmt::format("{} is {}; {}", name, shown(value), why));
    return std::nullopt;
  };
  const bool is_text = std::holds_alternative<TextField>(field.kind) || std::holds_alternative<WordField>(field.kind);
  std::optional<ParamValue> read;
  if (std::holds_alternative<ScalarField>(field.kind)) {
    if (value.kind == YamlNode::Kind::scalar) read = read_scalar(value);
  } else if (is_text) {
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
  if (!read) return refuse(wanted_type(field) + (value.quoted ? ", without quotes" : ""));
  if (auto why = objection(field, *read)) return refuse(*why);
  return read;
}

const std::string& SpecReader::place_of(const std::string& key, const std::string& fallback) const {
  auto found = places_.find(key);
  return found == places_.end() ? fallback : found->second;
}

void SpecReader::check_rules(const YamlNode& root) {
  for (const BrokenRule& broken : broken_rules(job_)) {
    const auto& keys = broken.rule->keys;
    if (std::any_of(keys.begin(), keys.end(), [&](std::string_view key) { return wrong_.contains(key); })) continue;
    std::string where = root.where;
    for (auto key = keys.rbegin(); key != keys.rend(); ++key) where = place_of(std::string(*key), where);
    if (!broken.parameter.empty()) where = place_of("sweep.parameters." + broken.parameter, where);
    if (broken.variant.empty()) {
      mistake(where, broken.sentence);
    } else {
      mistake(place_of("sweep.variants." + broken.variant, where),
              fmt::format("variant '{}': {}", shown(broken.variant), broken.sentence));
    }
  }
}

}  // namespace hivq
