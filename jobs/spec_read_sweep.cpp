// The sweep of a job: its variants, its parameters, and the checks of the whole.

#include <algorithm>
#include <cmath>
#include <limits>

#include "jobs/searcher.h"
#include "jobs/spec_read.h"

namespace hivq {

namespace {

constexpr int64_t most_trials = 1'000'000;
constexpr int64_t exact_whole = int64_t{1} << 53;  // the largest end of an integer range

struct RangeWord {
  std::string_view word;
  SearchRange::Kind kind;
};
constexpr RangeWord range_words[] = {{"choice", SearchRange::Kind::choice},
                                     {"uniform", SearchRange::Kind::uniform},
                                     {"log_uniform", SearchRange::Kind::log_uniform},
                                     {"integer", SearchRange::Kind::integer}};

bool is_whole(const Field& field) {
  return std::holds_alternative<WholeField>(field.kind) || std::holds_alternative<SeedField>(field.kind);
}

// What a range of this field may look like.
std::string range_remedy(const Field& field) {
  if (std::holds_alternative<RealField>(field.kind)) {
    return "give a list such as [0.1, 0.2], {uniform: [low, high]} or {log_uniform: [low, high]}";
  }
  if (is_whole(field)) return "give a list such as [1, 2] or {integer: [low, high]}";
  if (std::holds_alternative<FlagField>(field.kind)) return "give a list: [true, false]";
  if (std::holds_alternative<ListField>(field.kind)) return "give a list of lists: [[0, 1], [2, 3]]";
  return "give a list of words";
}

}  // namespace

const Field* SpecReader::parameter_field(const YamlNode& key, const YamlNode& value) {
  const Field* field = find_field(key.text);
  if (field && field->is_parameter()) return field;
  std::string remedy = unknown_parameter(key.text);
  if (value.kind == YamlNode::Kind::map && is_section(key.text)) {
    remedy = fmt::format("write its keys in full, such as {}.{}", key.text,
                         value.keys.empty() ? "…" : shown(value.keys.front().text));
  }
  mistake(key.where, fmt::format("{} is no parameter; {}", shown(key.text), remedy));
  return nullptr;
}

void SpecReader::read_variants(const YamlNode& list) {
  if (list.kind == YamlNode::Kind::null) return;
  if (list.kind != YamlNode::Kind::list) {
    return mistake(list.where,
                   fmt::format("sweep.variants is {}; it must be a list of settings, each with a name", shown(list)));
  }
  for (const YamlNode& entry : list.items) read_variant(entry);
}

void SpecReader::read_variant(const YamlNode& entry) {
  if (entry.kind != YamlNode::Kind::map) {
    return mistake(entry.where,
                   fmt::format("sweep.variants holds {}; each variant must have a name and settings, such as "
                               "`- name: small` and below it `  model.width: 128`",
                               shown(entry)));
  }
  static const Field name_field{"name", TextField{nullptr, false}, ""};
  constexpr double most = std::numeric_limits<double>::max();
  static const Field published_field{"published", RealField{nullptr, {-most, true}, {most, true}}, ""};
  Variant variant;
  bool named = false;
  each_entry("a variant", entry, [&](const YamlNode& key, const YamlNode& value) {
    if (key.text == "name") {
      named = true;
      if (auto name = read_value(name_field, "a variant's name", value)) variant.name = std::get<std::string>(*name);
    } else if (key.text == "published") {
      if (auto figure = read_value(published_field, "a variant's published figure", value)) {
        variant.published = std::get<double>(*figure);
      }
    } else if (const Field* field = parameter_field(key, value)) {
      read_noting(key.text, [&] {
        if (auto read = read_value(*field, key.text, value)) variant.params[key.text] = *read;
      });
    }
  });
  if (!named) return mistake(entry.where, "a variant has no name; give it one: `name: …`");
  if (variant.name.empty()) return;
  if (auto [first, is_new] = places_.emplace("sweep.variants." + variant.name, entry.where); !is_new) {
    return mistake(entry.where, fmt::format("two variants are named '{}', the first at {}; names must differ",
                                            shown(variant.name), first->second));
  }
  job_.sweep->variants.push_back(std::move(variant));
}

void SpecReader::read_parameters(const YamlNode& map) {
  each_entry("sweep.parameters", map, [&](const YamlNode& key, const YamlNode& value) {
    const Field* field = parameter_field(key, value);
    if (!field) return;
    std::string name = "sweep.parameters." + key.text;
    places_[name] = key.where;
    read_noting(key.text, [&] {
      if (auto range = read_range(*field, name, value)) job_.sweep->parameters[key.text] = std::move(*range);
    });
  });
}

std::optional<SearchRange> SpecReader::read_range(const Field& field, const std::string& name, const YamlNode& value) {
  if (value.kind == YamlNode::Kind::list) return read_choices(field, name, value);
  if (value.kind != YamlNode::Kind::map || value.items.size() != 1) {
    mistake(value.where, fmt::format("{} is {}; {}", name, shown(value), range_remedy(field)));
    return std::nullopt;
  }
  const YamlNode& word = value.keys.front();
  const auto* known = std::find_if(std::begin(range_words), std::end(range_words),
                                   [&](const RangeWord& each) { return each.word == word.text; });
  if (known == std::end(range_words)) {
    mistake(word.where, fmt::format("{} has the unknown range {}; {}", name, shown(word), range_remedy(field)));
    return std::nullopt;
  }
  if (known->kind == SearchRange::Kind::choice) return read_choices(field, name, value.items.front());
  const bool fits =
      known->kind == SearchRange::Kind::integer ? is_whole(field) : std::holds_alternative<RealField>(field.kind);
  if (!fits) {
    mistake(word.where, fmt::format("{} has the range {}, but {}; {}", name, known->word,
                                    wanted_type(field).replace(0, 2, field.key), range_remedy(field)));
    return std::nullopt;
  }
  return read_ends(field, known->kind, name, value.items.front());
}

std::optional<SearchRange> SpecReader::read_choices(const Field& field, const std::string& name, const YamlNode& list) {
  if (list.kind != YamlNode::Kind::list || list.items.empty()) {
    mistake(list.where,
            fmt::format("{} is {}; {}", name, list.kind == YamlNode::Kind::list ? "an empty list" : shown(list),
                        range_remedy(field)));
    return std::nullopt;
  }
  SearchRange range;
  bool good = true;
  std::map<ParamValue, bool> seen;
  for (const YamlNode& item : list.items) {
    auto value = read_value(field, name, item);
    if (value && !seen.emplace(*value, true).second) {
      mistake(item.where,
              fmt::format("{} holds {} twice; keep one", name, item.text.empty() ? to_string(*value) : shown(item)));
      value.reset();
    }
    good = good && value;
    if (value) range.choices.push_back(std::move(*value));
  }
  return good ? std::optional(std::move(range)) : std::nullopt;
}

std::optional<SearchRange> SpecReader::read_ends(const Field& field, SearchRange::Kind kind, const std::string& name,
                                                 const YamlNode& ends) {
  if (ends.kind != YamlNode::Kind::list || ends.items.size() != 2) {
    mistake(ends.where,
            fmt::format("{} has a range of {}; it must be [low, high]", name,
                        ends.kind == YamlNode::Kind::list ? fmt::format("{} values", ends.items.size()) : shown(ends)));
    return std::nullopt;
  }
  auto low = read_value(field, name, ends.items[0]);
  auto high = read_value(field, name, ends.items[1]);
  if (!low || !high) return std::nullopt;
  auto refuse = [&](const char* why) -> std::optional<SearchRange> {
    mistake(ends.where, fmt::format("{} goes from {} to {}; {}", name, to_string(*low), to_string(*high), why));
    return std::nullopt;
  };
  if (!(*low < *high)) return refuse("the first must be below the second");
  SearchRange range;
  range.kind = kind;
  if (kind == SearchRange::Kind::integer) {
    if (std::get<int64_t>(*high) > exact_whole) return refuse("the ends of an integer range must be at most 2^53");
    range.low = static_cast<double>(std::get<int64_t>(*low));
    range.high = static_cast<double>(std::get<int64_t>(*high));
  } else {
    range.low = std::get<double>(*low);
    range.high = std::get<double>(*high);
    if (kind == SearchRange::Kind::log_uniform && !(range.low > 0))
      return refuse("a log_uniform range must begin above 0");
  }
  return range;
}

void SpecReader::check_sweep(const YamlNode& root) {
  const SweepSpec& sweep = *job_.sweep;
  const std::string& place = place_of("sweep", root.where);
  const bool random = sweep.search == "random";
  for (const auto& [key, range] : sweep.parameters) {
    const std::string name = "sweep.parameters." + key;
    for (const Variant& variant : sweep.variants) {
      if (!variant.params.contains(key)) continue;
      mistake(place_of(name, place),
              fmt::format("{} is also set by the variant '{}'; set it in one of the two", name, shown(variant.name)));
    }
    if (!random && count_of(range) == 0) {
      mistake(place_of(name, place),
              fmt::format("{} is a continuous range, which a grid cannot walk; give a list, or set "
                          "sweep.search to random",
                          name));
    }
  }
  if (sweep.parameters.empty() && (random || sweep.variants.empty())) {
    return mistake(place, random ? "sweep.search is random, but sweep.parameters is empty; say what to draw"
                                 : "sweep has neither parameters nor variants; give it some, or leave it out");
  }
  if (random && sweep.trials == 0) {
    return mistake(place_of("sweep.trials", place),
                   "sweep.trials is 0; a random search needs to know how many: at least 1");
  }
  const int64_t size = make_searcher(job_)->size();
  if (size <= most_trials) return;
  std::string count = size == std::numeric_limits<int64_t>::max() ? "far too many" : fmt::format("{}", size);
  mistake(place, fmt::format("the sweep has {} trials; it must have at most {}: {}", count, most_trials,
                             random ? "lower sweep.trials" : "shorten its lists, or set sweep.search to random"));
}

}  // namespace hivq
