#include "jobs/spec_rules.h"

#include <algorithm>
#include <set>
#include <utility>

#include "common/ids.h"
#include "jobs/search/searcher.h"
#include "jobs/spec_fields.h"
#include "jobs/yaml_tree.h"

namespace hivq {

namespace {

using Broken = std::optional<std::string>;

Broken width_is_even(const TrialSpec& trial) {
  if (trial.model.width % 2 == 0) return std::nullopt;
  return fmt::format("model.width is {}; it must be even, because rows and columns each take half of the position code",
                     trial.model.width);
}

Broken heads_divide_width(const TrialSpec& trial) {
  if (trial.model.width % trial.model.heads == 0) return std::nullopt;
  return fmt::format("model.width is {} and model.heads is {}; the width must be a multiple of the heads",
                     trial.model.width, trial.model.heads);
}

Broken image_size_fits_tokens(const TrialSpec& trial) {
  int64_t size = trial.data.image_size;
  if (size % 16 == 0) return std::nullopt;
  return fmt::format("data.image_size is {}; it must be a multiple of 16, such as {}", size, (size + 15) / 16 * 16);
}

// Sets whose classes are normal or anomalous as a whole; the others have defects within each class.
bool is_many_class(const DataSpec& data) { return data.name == "fashion-mnist" || data.name == "cifar10"; }

// The many-class protocol needs normal and anomalous classes.
Broken classes_exist(const TrialSpec& trial) {
  constexpr int64_t classes = 10;  // of Fashion-MNIST and of CIFAR-10
  const auto& normal = trial.data.normal_classes;
  if (!is_many_class(trial.data)) return std::nullopt;
  if (normal.empty()) return "data.normal_classes is empty; name the classes to train on, such as [0, 1, 2, 3, 4]";
  for (int64_t each : normal) {
    if (each >= classes) {
      return fmt::format("data.normal_classes holds {}; {} has the classes 0 to {}", each, trial.data.name,
                         classes - 1);
    }
  }
  if (normal.size() < classes) return std::nullopt;
  return "data.normal_classes holds all classes; leave at least one out, whose images are the anomalous ones";
}

Broken classes_suit_the_set(const TrialSpec& trial) {
  const DataSpec& data = trial.data;
  if (is_many_class(data) && !data.classes.empty()) {
    return fmt::format(
        "data.classes is set, but the classes of {} are normal or anomalous as a whole; leave it out "
        "and name the normal ones in data.normal_classes",
        data.name);
  }
  if (!is_many_class(data) && data.normal_classes != DataSpec{}.normal_classes) {
    return fmt::format(
        "data.normal_classes is set, but every class of {} has normal and defective images; leave it "
        "out and name the wanted ones in data.classes",
        data.name);
  }
  return std::nullopt;
}

Broken data_is_somewhere(const TrialSpec& trial) {
  const DataSpec& data = trial.data;
  if (!data.path.empty() || data.name == "fashion-mnist") return std::nullopt;
  return fmt::format(
      "data.path is empty, and no package puts {} on this machine; get the set and name its folder: "
      "--set data.path=DIR",
      data.name);
}

Broken levels_exist(const TrialSpec& trial) {
  const QuantizerSpec& quantizer = trial.model.quantizer;
  const int64_t most = trial.model.layers + 1;
  if (quantizer.levels == 0) return std::nullopt;
  if (!quantizer.hierarchical) {
    return fmt::format(
        "model.quantizer.levels is {}, but model.quantizer.hierarchical is false, which has one level; "
        "leave it at 0",
        quantizer.levels);
  }
  if (quantizer.levels >= 2 && quantizer.levels <= most) return std::nullopt;
  return fmt::format("model.quantizer.levels is {}; it must be 2 to {} (model.layers + 1), or 0 for all of them",
                     quantizer.levels, most);
}

Broken pot_levels_exist(const TrialSpec& trial) {
  const QuantizerSpec& quantizer = trial.model.quantizer;
  const int64_t all = quantizer.levels == 0 ? trial.model.layers + 1 : quantizer.levels;
  const int64_t levels = quantizer.hierarchical ? all : 1;
  for (int64_t level : trial.eval.pot_levels) {
    if (level < levels) continue;
    return fmt::format("eval.pot_levels holds {}; the quantizer has the levels 0 to {}", level, levels - 1);
  }
  return std::nullopt;
}

Broken mask_leaves_tokens(const TrialSpec& trial) {
  const int64_t mask = trial.model.neighbour_mask, grid = trial.data.image_size / 16;
  // The token in the middle is the nearest to all others: those at the far edge are grid / 2 away.
  const int64_t most = 2 * (grid / 2) - 1;
  if (mask == 0 || (mask % 2 == 1 && mask <= most)) return std::nullopt;
  if (mask % 2 == 0) return fmt::format("model.neighbour_mask is {}; it must be odd, or 0 for none", mask);
  return fmt::format(
      "model.neighbour_mask is {}; with {} x {} tokens (data.image_size / 16) it must be at most {}, so "
      "that every token has one to attend to",
      mask, grid, grid, most);
}

Broken ranks_have_images(const TrialSpec& trial) {
  if (trial.gang.ranks <= trial.train.batch_size) return std::nullopt;
  return fmt::format("train.batch_size is {} and gang.ranks is {}; a batch must hold at least one image for each rank",
                     trial.train.batch_size, trial.gang.ranks);
}

Broken start_is_a_trial(const TrialSpec& trial) {
  const std::string& from = trial.train.start_from;
  if (from.empty() || parse_trial_id(from)) return std::nullopt;
  return fmt::format("train.start_from is {}; it must be a stored trial as JOB/TRIAL, such as 3/0, or empty",
                     shown(from));
}

using Parameter = std::pair<const Field*, const SearchRange*>;

bool is_active(const SearchRange& range, const Params& active) {
  return std::all_of(range.when.begin(), range.when.end(), [&](const auto& condition) {
    const auto found = active.find(condition.first);
    return found != active.end() &&
           std::find(condition.second.begin(), condition.second.end(), found->second) != condition.second.end();
  });
}

/// The parameters that a rule reads and those that they depend on, these first. What depends on itself is left out:
/// that is another mistake.
std::vector<Parameter> parameters_of(const Rule& rule, const SweepSpec& sweep) {
  std::vector<std::string> wanted(rule.keys.begin(), rule.keys.end());
  std::vector<Parameter> parameters;
  std::set<std::string> seen, placed;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const auto range = sweep.parameters.find(wanted[i]);
    if (range == sweep.parameters.end() || !seen.insert(wanted[i]).second) continue;
    for (const auto& [other, values] : range->second.when) wanted.push_back(other);
  }
  for (size_t before = SIZE_MAX; before != placed.size();) {
    before = placed.size();
    for (const std::string& key : wanted) {
      if (!seen.contains(key)) continue;
      const SearchRange& range = sweep.parameters.at(key);
      const bool ready = std::all_of(range.when.begin(), range.when.end(),
                                     [&](const auto& condition) { return placed.contains(condition.first); });
      if (ready && placed.insert(key).second) parameters.emplace_back(find_field(key), &range);
    }
  }
  return parameters;
}

// The first sentence over all combinations of the parameters' values; a continuous range is tried at both ends, and a
// parameter that is not there leaves its field as it is. Stops when the budget is spent: with_params() checks each
// trial again.
Broken first_broken(const Rule& rule, JobSpec& job, Params& active, std::span<const Parameter> parameters,
                    int64_t& budget) {
  if (parameters.empty()) {
    --budget;
    return rule.broken(job.trial);
  }
  const auto& [field, range] = parameters.front();
  if (!is_active(*range, active)) return first_broken(rule, job, active, parameters.subspan(1), budget);
  std::optional<TrialSpec> without;
  if (!range->when.empty()) without = job.trial;
  const int64_t count = count_of(*range);
  for (int64_t i = 0; i < (count > 0 ? count : 2) && budget > 0; ++i) {
    ParamValue value = count > 0 ? value_at(*range, i) : ParamValue(i == 0 ? range->low : range->high);
    store(job, *field, value);
    active[std::string(field->key)] = std::move(value);
    if (auto sentence = first_broken(rule, job, active, parameters.subspan(1), budget)) return sentence;
  }
  active.erase(std::string(field->key));
  if (without) job.trial = std::move(*without);
  return std::nullopt;
}

BrokenRule check_variant(const Rule& rule, const JobSpec& job, const Variant& variant, int64_t& budget) {
  BrokenRule found{&rule, "", "", ""};
  JobSpec scratch;
  scratch.trial = job.trial;
  for (const auto& [key, value] : variant.params) store(scratch, *find_field(key), value);
  std::vector<Parameter> parameters;
  if (job.sweep) parameters = parameters_of(rule, *job.sweep);
  for (std::string_view each : rule.keys) {
    const std::string key(each);
    if (variant.params.contains(key)) found.variant = variant.name;
    if (found.parameter.empty() && job.sweep && job.sweep->parameters.contains(key)) found.parameter = key;
  }
  Params active;
  found.sentence = first_broken(rule, scratch, active, parameters, budget).value_or("");
  return found;
}

bool touches(const Variant& variant, const Rule& rule) {
  return std::any_of(rule.keys.begin(), rule.keys.end(),
                     [&](std::string_view key) { return variant.params.contains(std::string(key)); });
}

}  // namespace

std::span<const Rule> all_rules() {
  static const std::vector<Rule> rules = {
      {{"model.width"}, width_is_even},
      {{"model.width", "model.heads"}, heads_divide_width},
      {{"data.image_size"}, image_size_fits_tokens},
      {{"data.normal_classes", "data.name"}, classes_exist},
      {{"data.classes", "data.normal_classes", "data.name"}, classes_suit_the_set},
      {{"data.path", "data.name"}, data_is_somewhere},
      {{"model.quantizer.levels", "model.quantizer.hierarchical", "model.layers"}, levels_exist},
      {{"eval.pot_levels", "model.quantizer.levels", "model.quantizer.hierarchical", "model.layers"}, pot_levels_exist},
      {{"model.neighbour_mask", "data.image_size"}, mask_leaves_tokens},
      {{"train.batch_size", "gang.ranks"}, ranks_have_images},
      {{"train.start_from"}, start_is_a_trial},
  };
  return rules;
}

std::vector<BrokenRule> broken_rules(const JobSpec& job) {
  const std::vector<Variant> none = {{}};
  const std::vector<Variant>& variants = job.sweep && !job.sweep->variants.empty() ? job.sweep->variants : none;
  std::vector<BrokenRule> broken;
  for (const Rule& rule : all_rules()) {
    int64_t budget = 100'000;
    bool untouched_is_checked = false;  // variants that do not touch the rule are all alike to it
    for (const Variant& variant : variants) {
      if (!touches(variant, rule) && std::exchange(untouched_is_checked, true)) continue;
      BrokenRule found = check_variant(rule, job, variant, budget);
      if (!found.sentence.empty()) broken.push_back(std::move(found));
    }
  }
  return broken;
}

}  // namespace hivq
