#pragma once

#include "tests/worker/model_fixture.h"
#include "worker/train/run_trial.h"

namespace hivq {

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
