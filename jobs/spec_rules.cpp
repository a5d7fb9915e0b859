#include "jobs/spec_rules.h"

#include <algorithm>
#include <utility>

#include "jobs/searcher.h"
#include "jobs/spec_fields.h"

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

// The many-class protocol needs normal and anomalous classes.
Broken classes_exist(const TrialSpec& trial) {
  constexpr int64_t classes = 10;  // of Fashion-MNIST
  const auto& normal = trial.data.normal_classes;
  if (trial.data.name != "fashion-mnist") return std::nullopt;
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

Broken ranks_have_images(const TrialSpec& trial) {
  if (trial.gang.ranks <= trial.train.batch_size) return std::nullopt;
  return fmt::format("train.batch_size is {} and gang.ranks is {}; a batch must hold at least one image for each rank",
                     trial.train.batch_size, trial.gang.ranks);
}

using Parameter = std::pair<const Field*, const SearchRange*>;

// The first sentence over all combinations of the parameters' values; a continuous range is tried at both ends. Stops
// when the budget is spent: with_params() checks each trial again.
Broken first_broken(const Rule& rule, JobSpec& job, std::span<const Parameter> parameters, int64_t& budget) {
  if (parameters.empty()) {
    --budget;
    return rule.broken(job.trial);
  }
  const auto& [field, range] = parameters.front();
  const int64_t count = count_of(*range);
  for (int64_t i = 0; i < (count > 0 ? count : 2) && budget > 0; ++i) {
    store(job, *field, count > 0 ? value_at(*range, i) : ParamValue(i == 0 ? range->low : range->high));
    if (auto sentence = first_broken(rule, job, parameters.subspan(1), budget)) return sentence;
  }
  return std::nullopt;
}

BrokenRule check_variant(const Rule& rule, const JobSpec& job, const Variant& variant, int64_t& budget) {
  BrokenRule found{&rule, "", "", ""};
  JobSpec scratch;
  scratch.trial = job.trial;
  for (const auto& [key, value] : variant.params) store(scratch, *find_field(key), value);
  std::vector<Parameter> parameters;
  for (std::string_view each : rule.keys) {
    const std::string key(each);
    if (variant.params.contains(key)) found.variant = variant.name;
    if (!job.sweep) continue;
    auto range = job.sweep->parameters.find(key);
    if (range == job.sweep->parameters.end()) continue;
    if (found.parameter.empty()) found.parameter = key;
    parameters.emplace_back(find_field(key), &range->second);
  }
  found.sentence = first_broken(rule, scratch, parameters, budget).value_or("");
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
      {{"train.batch_size", "gang.ranks"}, ranks_have_images},
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
