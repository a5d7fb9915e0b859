#pragma once

#include "tests/worker/model_fixture.h"
#include "worker/train/run_trial.h"

namespace hivq {

/// What a trial told its hooks.
struct Record {
  std::vector<std::pair<int64_t, std::map<std::string, double>>> metrics;
  std::map<int64_t, std::string> checkpoints;
  TrialOutcome outcome;
  std::vector<PictureItem> pictures;
  std::vector<std::string> warnings;
  std::optional<size_t> told_after;  // metrics, that it had ended while others went on

  std::vector<double> curve(const std::string& name, int64_t after = 0) const {
    std::vector<double> values;
    for (const auto& [step, found] : metrics) {
      if (step > after && found.contains(name)) values.push_back(found.at(name));
    }
    return values;
  }
  /// Hooks that write it down; it must outlive them.
  TrialHooks hooks(std::function<Wish()> wish) {
    return {[this](int64_t step, const auto& values) { metrics.emplace_back(step, values); },
            [this](int64_t step, std::string bytes) { checkpoints[step] = std::move(bytes); },
            std::move(wish),
            [this](const TrialOutcome& told) { outcome = told, told_after = metrics.size(); },
            [this](PictureItem picture) { pictures.push_back(std::move(picture)); },
            [this](const std::string& text) { warnings.push_back(text); }};
  }
};

inline TrialRun run_of(const TrialSpec& spec, TrialHooks hooks, std::string checkpoint = {}, bool warm = false) {
  TrialRun run;
  run.spec = spec;
  run.start.checkpoint = std::move(checkpoint);
  run.start.warm = warm;
  run.hooks = std::move(hooks);
  return run;
}

/// A trial by itself.
inline Result<TrialOutcome> run_alone(const TrialSpec& spec, const FeatureSet& features, Collective& collective,
                                      std::string checkpoint, const TrialHooks& hooks) {
  const TrialRun run = run_of(spec, hooks, std::move(checkpoint));
  const auto outcomes = run_trials(std::span(&run, 1), features, collective);
  if (!outcomes) return outcomes.error();
  return (*outcomes)[0];
}

}  // namespace hivq
