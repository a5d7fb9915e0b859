// The sweep of a job: its variants, its parameters, and the checks of the whole.

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "jobs/search/searcher.h"
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
                                     {"integer", SearchRange::Kind::integer},
                                     {"log_integer", SearchRange::Kind::log_integer}};

bool is_whole(const Field& field) {
  return std::holds_alternative<WholeField>(field.kind) || std::holds_alternative<SeedField>(field.kind);
}

constexpr double largest = 1e300;  // end of a study's range: its width is a number too
const Field free_scalar{"value", ScalarField{}, ""};
const Field free_real{"value", RealField{nullptr, {-largest, true}, {largest, true}}, ""};
const Field free_whole{"value", WholeField{nullptr, -exact_whole, exact_whole}, ""};

// What a range of this field may look like.
std::string range_remedy(const Field& field) {
  if (std::holds_alternative<ScalarField>(field.kind)) {
    return "give a list such as [relu, tanh], {uniform: [0, 1]}, {log_uniform: [1e-5, 0.1]}, {integer: [1, 8]} or "
           "{log_integer: [1, 512]}";
  }
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

const Field* SpecReader::study_field(const YamlNode& key, const YamlNode& value) {
  if (auto why = objection_to_name(key.text)) {
    mistake(key.where, fmt::format("the parameter {} cannot be named so; {}", shown(key.text), *why));
    return nullptr;
  }
  for (const YamlNode& word : value.keys) {
    const auto* known = std::find_if(std::begin(range_words), std::end(range_words),
                                     [&](const RangeWord& each) { return each.word == word.text; });
    if (known == std::end(range_words) || known->kind == SearchRange::Kind::choice) continue;
    const bool whole = known->kind == SearchRange::Kind::integer || known->kind == SearchRange::Kind::log_integer;
    return whole ? &free_whole : &free_real;
  }
  return &free_scalar;
}

std::optional<SearchRange> SpecReader::read_study_range(const std::string& name, const YamlNode& value) {
  job_.study = true;
  YamlNode key;
  key.kind = YamlNode::Kind::scalar;
  key.text = name;
  key.where = value.where;
  const Field* field = study_field(key, value);
  return field ? read_range(*field, name, value) : std::nullopt;
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
    const Field* field = job_.study ? study_field(key, value) : parameter_field(key, value);
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
  const YamlNode *kind = nullptr, *of_kind = nullptr, *step = nullptr, *when = nullptr;
  size_t kinds = 0;
  for (size_t i = 0; value.kind == YamlNode::Kind::map && i < value.items.size(); ++i) {
    if (value.keys[i].text == "step") {
      step = &value.items[i];
    } else if (value.keys[i].text == "when") {
      when = &value.items[i];
    } else {
      kind = &value.keys[i];
      of_kind = &value.items[i];
      ++kinds;
    }
  }
  if (kinds != 1) {
    mistake(value.where, fmt::format("{} is {}; {}", name, shown(value), range_remedy(field)));
    return std::nullopt;
  }
  auto range = read_kind(field, name, *kind, *of_kind);
  if (!range) return std::nullopt;
  const size_t before = mistakes_.size();
  if (step) read_step(field, name, *step, *range);
  if (when) read_when(name, *when, *range);
  return mistakes_.size() == before ? range : std::nullopt;
}

std::optional<SearchRange> SpecReader::read_kind(const Field& field, const std::string& name, const YamlNode& word,
                                                 const YamlNode& value) {
  const auto* known = std::find_if(std::begin(range_words), std::end(range_words),
                                   [&](const RangeWord& each) { return each.word == word.text; });
  if (known == std::end(range_words)) {
    mistake(word.where, fmt::format("{} has the unknown range {}; {}", name, shown(word), range_remedy(field)));
    return std::nullopt;
  }
  if (known->kind == SearchRange::Kind::choice) return read_choices(field, name, value);
  const bool whole = known->kind == SearchRange::Kind::integer || known->kind == SearchRange::Kind::log_integer;
  if (!(whole ? is_whole(field) : std::holds_alternative<RealField>(field.kind))) {
    mistake(word.where, fmt::format("{} has the range {}, but {}; {}", name, known->word,
                                    wanted_type(field).replace(0, 2, field.key), range_remedy(field)));
    return std::nullopt;
  }
  return read_ends(field, known->kind, name, value);
}

void SpecReader::read_step(const Field& field, const std::string& name, const YamlNode& value, SearchRange& range) {
  if (range.kind != SearchRange::Kind::uniform && range.kind != SearchRange::Kind::integer) {
    return mistake(value.where,
                   fmt::format("{} has a step, which only uniform and integer ranges have; leave it out", name));
  }
  constexpr double most = std::numeric_limits<double>::max();
  const Field step_field = is_whole(field) ? Field{"step", WholeField{nullptr, 1, exact_whole}, ""}
                                           : Field{"step", RealField{nullptr, {0, false}, {most, true}}, ""};
  auto read = read_value(step_field, name + "'s step", value);
  if (!read) return;
  const auto* whole = std::get_if<int64_t>(&*read);
  const double step = whole ? static_cast<double>(*whole) : std::get<double>(*read);
  const double size = range.high - range.low;
  if (step > size || size / step > static_cast<double>(most_trials)) {
    return mistake(value.where,
                   fmt::format("{}'s step is {}; from {} to {} it must make 1 to {} steps", name, to_string(*read),
                               to_string(ParamValue(range.low)), to_string(ParamValue(range.high)), most_trials));
  }
  // A step of 1 is what an integer range has anyway.
  range.step = range.kind == SearchRange::Kind::integer && step == 1 ? 0 : step;
}

void SpecReader::read_when(const std::string& name, const YamlNode& map, SearchRange& range) {
  if (map.kind != YamlNode::Kind::map || map.items.empty()) {
    return mistake(
        map.where,
        fmt::format("{}'s when is {}; it must name other parameters and the values that they must have, such "
                    "as {{model.switch: label}}",
                    name, map.kind == YamlNode::Kind::map ? "empty" : shown(map)));
  }
  places_[name + ".when"] = map.where;
  each_entry(name + "'s when", map, [&](const YamlNode& key, const YamlNode& value) {
    const Field* field = job_.study ? &free_scalar : parameter_field(key, value);
    if (!field) return;
    // A list of values; where the values are lists themselves, a list of lists or one of them.
    const bool list_of_lists =
        value.kind == YamlNode::Kind::list && !value.items.empty() && value.items.front().kind == YamlNode::Kind::list;
    const bool several =
        value.kind == YamlNode::Kind::list && (!std::holds_alternative<ListField>(field->kind) || list_of_lists);
    std::vector<ParamValue> values;
    const auto read = [&](const YamlNode& node) {
      if (auto one = read_value(*field, fmt::format("{}'s when {}", name, key.text), node)) values.push_back(*one);
    };
    if (several) {
      for (const YamlNode& item : value.items) read(item);
    } else {
      read(value);
    }
    if (!values.empty()) range.when[key.text] = std::move(values);
  });
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
  std::set<std::string> seen;  // as text, which a study's trial is stored with: 1 and "1" are one there
  for (const YamlNode& item : list.items) {
    auto value = read_value(field, name, item);
    if (value && !seen.insert(to_string(*value)).second) {
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
  if (kind == SearchRange::Kind::integer || kind == SearchRange::Kind::log_integer) {
    if (kind == SearchRange::Kind::log_integer && std::get<int64_t>(*low) < 1)
      return refuse("a log_integer range must begin at 1 or above");
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

void SpecReader::read_metrics(const YamlNode& list) {
  if (list.kind == YamlNode::Kind::null) return;
  if (list.kind != YamlNode::Kind::list) {
    return mistake(list.where, fmt::format("sweep.metrics is {}; it must be a list such as [{{name: auroc, goal: "
                                           "maximize}}, {{name: loss, goal: minimize}}]",
                                           shown(list)));
  }
  static const Field goal_field{"goal", WordField{nullptr, {"maximize", "minimize"}}, ""};
  static const Field name_field{"name", TextField{nullptr, false}, ""};
  std::set<std::string> names;
  for (const YamlNode& item : list.items) {
    if (item.kind != YamlNode::Kind::map) {
      mistake(item.where,
              fmt::format("sweep.metrics holds {}; each must have a name and may have a goal", shown(item)));
      continue;
    }
    Objective objective;
    each_entry("a metric", item, [&](const YamlNode& key, const YamlNode& value) {
      const bool goal = key.text == "goal";
      if (!goal && key.text != "name") {
        return mistake(key.where, fmt::format("{} is no key of a metric; there are name, goal", shown(key.text)));
      }
      auto read = read_value(goal ? goal_field : name_field, goal ? "a metric's goal" : "a metric's name", value);
      if (read) (goal ? objective.goal : objective.metric) = std::get<std::string>(*read);
    });
    if (objective.metric.empty()) {
      mistake(item.where, "a metric has no name; give it one: `name: …`");
    } else if (!names.insert(objective.metric).second) {
      mistake(item.where, fmt::format("sweep.metrics holds {} twice; keep one", shown(objective.metric)));
    } else {
      job_.sweep->metrics.push_back(std::move(objective));
    }
  }
}

void SpecReader::read_constraints(const YamlNode& list) {
  if (list.kind == YamlNode::Kind::null) return;
  if (list.kind != YamlNode::Kind::list) {
    return mistake(list.where, fmt::format("sweep.constraints is {}; it must be a list such as [{{metric: loss, "
                                           "at_most: 20}}]",
                                           shown(list)));
  }
  constexpr double most = std::numeric_limits<double>::max();
  static const Field bound_field{"at_most", RealField{nullptr, {-most, true}, {most, true}}, ""};
  static const Field metric_field{"metric", TextField{nullptr, false}, ""};
  for (const YamlNode& item : list.items) {
    if (item.kind != YamlNode::Kind::map) {
      mistake(item.where,
              fmt::format("sweep.constraints holds {}; each must have a metric and at_most or at_least", shown(item)));
      continue;
    }
    Constraint constraint;
    each_entry("a constraint", item, [&](const YamlNode& key, const YamlNode& value) {
      if (key.text == "metric") {
        if (auto read = read_value(metric_field, "a constraint's metric", value)) {
          constraint.metric = std::get<std::string>(*read);
        }
      } else if (key.text == "at_most" || key.text == "at_least") {
        auto read = read_value(bound_field, fmt::format("a constraint's {}", key.text), value);
        if (read) (key.text == "at_most" ? constraint.at_most : constraint.at_least) = std::get<double>(*read);
      } else {
        mistake(key.where,
                fmt::format("{} is no key of a constraint; there are metric, at_most, at_least", shown(key.text)));
      }
    });
    if (constraint.metric.empty() || (!constraint.at_most && !constraint.at_least)) {
      mistake(item.where, "a constraint lacks its metric or its bound; write {metric: …, at_most: …} or at_least");
    } else {
      job_.sweep->constraints.push_back(std::move(constraint));
    }
  }
}

void SpecReader::check_sweep(const YamlNode& root) {
  SweepSpec& sweep = *job_.sweep;
  const std::string& place = place_of("sweep", root.where);
  const bool grid = sweep.search == "grid";
  if (!sweep.metrics.empty()) {
    const Objective& first = sweep.metrics.front();
    const bool differs = (places_.contains("sweep.metric") && sweep.metric != first.metric) ||
                         (places_.contains("sweep.goal") && sweep.goal != first.goal);
    if (differs) {
      mistake(place_of("sweep.metrics", place),
              fmt::format("sweep.metrics begins with {} ({}), but sweep.metric is {} ({}); leave out sweep.metric and "
                          "sweep.goal",
                          shown(first.metric), first.goal, shown(sweep.metric), sweep.goal));
    }
    sweep.metric = first.metric;
    sweep.goal = first.goal;
  }
  for (const auto& [key, range] : sweep.parameters) {
    const std::string name = "sweep.parameters." + key;
    for (const Variant& variant : sweep.variants) {
      if (!variant.params.contains(key)) continue;
      mistake(place_of(name, place),
              fmt::format("{} is also set by the variant '{}'; set it in one of the two", name, shown(variant.name)));
    }
    if (grid && count_of(range) == 0) {
      mistake(place_of(name, place),
              fmt::format("{} is a continuous range, which a grid cannot walk; give a list, or set "
                          "sweep.search to random",
                          name));
    }
  }
  if (sweep.parameters.empty() && (job_.study ? grid : !grid || sweep.variants.empty())) {
    return mistake(
        place, !grid ? fmt::format("sweep.search is {}, but sweep.parameters is empty; say what to draw", sweep.search)
        : job_.study ? "sweep.search is grid, but sweep.parameters is empty; say what to walk, or choose another search"
                     : "sweep has neither parameters nor variants; give it some, or leave it out");
  }
  if (!grid && sweep.trials == 0) {
    return mistake(place_of("sweep.trials", place),
                   fmt::format("sweep.trials is 0; a {} search needs to know how many: at least 1", sweep.search));
  }
  check_search(place);
  check_stop(place);
  check_conditions(place);
  if (mistakes_.empty()) check_size(place);
}

/// What only some searches can do.
void SpecReader::check_search(const std::string& place) {
  const SweepSpec& sweep = *job_.sweep;
  const std::string& search = sweep.search;
  const bool one_metric =
      search == "tpe" || search == "gp" || search == "cma-es" || search == "bohb" || search == "pbt";
  if (sweep.metrics.size() > 1 && one_metric) {
    mistake(place_of("sweep.metrics", place),
            fmt::format("sweep.metrics holds {}, but {} optimises one; set sweep.search to nsga2, or keep one",
                        sweep.metrics.size(), search));
  }
  if (search == "bohb" && sweep.stop.by != "hyperband") {
    mistake(place_of("sweep.search", place),
            fmt::format("sweep.search is bohb and sweep.stop.by is {}; bohb learns at hyperband's rungs: set "
                        "sweep.stop.by to hyperband",
                        sweep.stop.by));
  }
  if (!sweep.warm_start.empty() && (search == "grid" || search == "random" || search == "sobol")) {
    mistake(place_of("sweep.warm_start", place),
            fmt::format("sweep.warm_start is set, but a {} search learns nothing; leave it out", search));
  }
  if ((search == "cma-es" || search == "nsga2") && sweep.population > 0 && sweep.population < 4) {
    mistake(place_of("sweep.population", place),
            fmt::format("sweep.population is {}; a generation of {} has at least 4, or 0: its own choice",
                        sweep.population, search));
  }
  if (search != "pbt") return;
  if (job_.study) {
    return mistake(place_of("sweep.search", place),
                   "sweep.search is pbt, whose trials go on with each other's weights; those of a study are your own "
                   "program's: choose another search");
  }
  const int64_t population = sweep.population > 0 ? sweep.population : 10;
  if (sweep.trials % population != 0 || population < 2) {
    mistake(place_of("sweep.trials", place),
            fmt::format("sweep.trials is {} and the population {}; pbt needs whole generations: a multiple of a "
                        "population of at least 2",
                        sweep.trials, population));
  }
  if (sweep.stop.by != "none") {
    mistake(
        place_of("sweep.stop.by", place),
        fmt::format("sweep.stop.by is {}, but pbt replaces what falls behind by itself; leave it out", sweep.stop.by));
  }
  for (const auto& [key, range] : sweep.parameters) {
    const bool shapes = key.starts_with("backbone.") || key.starts_with("data.") || key == "train.start_from" ||
                        key == "train.epochs" ||
                        (key.starts_with("model.") && key != "model.dropout" && key != "model.jitter");
    if (!shapes) continue;
    mistake(place_of("sweep.parameters." + key, place),
            fmt::format("sweep.parameters.{} may not be searched by pbt, whose trials go on with each other's weights; "
                        "keep to train, loss, eval, model.dropout and model.jitter",
                        key));
  }
}

/// Where the epochs of a whole trial are said.
void SpecReader::check_stop(const std::string& place) {
  const StopSpec& stop = job_.sweep->stop;
  const std::string& where = place_of("sweep.stop.max_epochs", place_of("sweep.stop.by", place));
  if (!job_.study && stop.max_epochs != 0) {
    mistake(where, "sweep.stop.max_epochs is for studies; train.epochs says how many a trial of a sweep has");
  } else if (job_.study && stop.by == "hyperband" && stop.max_epochs < stop.min_epochs) {
    mistake(where, fmt::format("sweep.stop.max_epochs is {}; hyperband needs to know how many epochs a whole trial has, "
                               "at least min_epochs, which is {}",
                               stop.max_epochs, stop.min_epochs));
  }
}

void SpecReader::check_conditions(const std::string& place) {
  const auto& parameters = job_.sweep->parameters;
  for (const auto& [key, range] : parameters) {
    const std::string name = "sweep.parameters." + key;
    const std::string& where = place_of(name + ".when", place);
    for (const auto& [other, values] : range.when) {
      const auto found = parameters.find(other);
      if (found == parameters.end()) {
        mistake(where, fmt::format("{}'s when names {}, which is no parameter of this {}; add it, or leave the "
                                   "condition out",
                                   name, other, job_.study ? "study" : "sweep"));
        continue;
      }
      if (count_of(found->second) == 0) {
        mistake(where, fmt::format("{}'s when names {}, which is a continuous range; give that a list or a step", name,
                                   other));
        continue;
      }
      for (const ParamValue& value : values) {
        if (position_of(found->second, value)) continue;
        mistake(where, fmt::format("{}'s when asks for {} = {}, which its range does not hold", name, other,
                                   shown(to_string(value))));
      }
    }
  }
  // What depends on nothing is settled; then what depends on settled ones alone, and so on.
  std::set<std::string> settled;
  for (size_t before = SIZE_MAX; before != settled.size();) {
    before = settled.size();
    for (const auto& [key, range] : parameters) {
      const bool free = std::all_of(range.when.begin(), range.when.end(), [&](const auto& condition) {
        return settled.contains(condition.first) || !parameters.contains(condition.first);
      });
      if (free) settled.insert(key);
    }
  }
  for (const auto& [key, range] : parameters) {
    if (settled.contains(key)) continue;
    return mistake(place_of("sweep.parameters." + key + ".when", place),
                   fmt::format("sweep.parameters.{}'s when leads back to itself; break the circle", key));
  }
}

void SpecReader::check_size(const std::string& place) {
  const bool grid = job_.sweep->search == "grid";
  const int64_t size = make_searcher(job_)->size();
  if (size <= most_trials) return;
  std::string count = size == std::numeric_limits<int64_t>::max() ? "far too many" : fmt::format("{}", size);
  mistake(place, fmt::format("the sweep has {} trials; it must have at most {}: {}", count, most_trials,
                             grid ? "shorten its lists, or set sweep.search to random" : "lower sweep.trials"));
}

}  // namespace hivq
