#include "jobs/spec_rules.h"

#include <algorithm>

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

using Values = std::pair<std::string, std::vector<ParamValue>>;

// The first sentence over all combinations of the values; stops after `budget` combinations.
Broken first_broken(const Rule& rule, const TrialSpec& base, std::span<const Values> values, int64_t& budget) {
  if (values.empty()) return budget-- > 0 ? rule.broken(base) : std::nullopt;
  const auto& [key, choices] = values.front();
  JobSpec job;
  job.trial = base;
  for (const ParamValue& choice : choices) {
    store(job, *find_field(key), choice);
    if (auto sentence = first_broken(rule, job.trial, values.subspan(1), budget)) return sentence;
  }
  return std::nullopt;
}

BrokenRule check_variant(const Rule& rule, const JobSpec& job, const Variant& variant) {
  constexpr int64_t most_combinations = 100'000;
  BrokenRule found{std::string(rule.keys.front()), "", ""};
  JobSpec fixed = job;
  for (const auto& [key, value] : variant.params) store(fixed, *find_field(key), value);
  std::vector<Values> values;
  for (std::string_view key : rule.keys) {
    if (variant.params.contains(std::string(key))) found.variant = variant.name;
    if (!job.sweep) continue;
    auto range = job.sweep->parameters.find(std::string(key));
    if (range == job.sweep->parameters.end()) continue;
    if (values.empty()) found.key = "sweep.parameters." + range->first;
    values.emplace_back(range->first, values_of(range->second, most_combinations));
  }
  int64_t budget = most_combinations;
  if (auto sentence = first_broken(rule, fixed.trial, values, budget)) found.sentence = *sentence;
  return found;
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

std::vector<ParamValue> values_of(const SearchRange& range, int64_t most) {
  if (range.kind == SearchRange::Kind::choice) return range.choices;
  if (range.kind != SearchRange::Kind::integer) return {range.low, range.high};
  std::vector<ParamValue> values;
  auto last = static_cast<int64_t>(range.high);
  for (auto value = static_cast<int64_t>(range.low); value <= last && most-- > 0; ++value) values.emplace_back(value);
  return values;
}

std::vector<BrokenRule> broken_rules(const JobSpec& job) {
  std::vector<Variant> variants = {{}};
  if (job.sweep && !job.sweep->variants.empty()) variants = job.sweep->variants;
  std::vector<BrokenRule> broken;
  for (const Rule& rule : all_rules()) {
    for (const Variant& variant : variants) {
      BrokenRule found = check_variant(rule, job, variant);
      if (found.sentence.empty()) continue;
      // Variants that do not touch the rule all say the same.
      bool said = std::any_of(broken.begin(), broken.end(), [&](const BrokenRule& each) {
        return each.sentence == found.sentence && each.variant == found.variant && each.key == found.key;
      });
      if (!said) broken.push_back(std::move(found));
    }
  }
  return broken;
}

}  // namespace hivq
