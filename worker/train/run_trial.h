#pragma once

// Trials from their start, or from a checkpoint, to their end, on every rank of a gang.

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "common/result.h"
#include "jobs/spec.h"
#include "worker/collective/collective.h"
#include "worker/data/feature_set.h"

namespace hivq {

/// Where a trial's state comes from.
struct TrialStart {
  std::string checkpoint;  // bytes; empty: untrained
  // Another trial's: its model and codebooks, from step 0; otherwise the trial goes on exactly where it stopped.
  bool warm = false;
};

/// What rank 0 hears of a trial while it runs. The other ranks' hooks are never called.
struct TrialHooks {
  /// Metrics of one step of the optimiser (1-based; 0 is the untrained model): `loss`, `auroc`, `codebook_perplexity/0`
  /// …
  std::function<void(int64_t step, const std::map<std::string, double>& values)> metrics;
  /// A checkpoint of the state after `step`; the bytes are a safetensors file. May be called from another thread, one
  /// at a time.
  std::function<void(int64_t step, std::string bytes)> checkpoint;
  /// What the trial shall do: stop at once (its lease is gone, or it was cancelled), or give way, with a checkpoint of
  /// its last step. Asked once per step.
  enum class Wish { go_on, stop, yield };
  std::function<Wish()> wish;
};

/// A trial to run. Start and hooks count on rank 0 only.
struct TrialRun {
  TrialSpec spec;
  TrialStart start;
  TrialHooks hooks;
};

struct TrialOutcome {
  enum class End { finished, stopped, yielded, failed };
  End end = End::finished;
  std::string reason;                    // of a failure: a non-finite loss, no training images …
  std::map<std::string, double> final_;  // the last evaluation's metrics, `auroc` among them
};

/// Trains and evaluates trials of equal fusion key (jobs/fusion.h). Collective: every rank calls it with the same
/// specifications. One outcome per run; before one that yielded, its checkpoint was given to the hook. An Error is the
/// gang's failure (a broken collective); a trial's own failure is an outcome.
Result<std::vector<TrialOutcome>> run_trials(std::span<const TrialRun> runs, const FeatureSet& features,
                                             Collective& collective);

/// The same of one trial.
Result<TrialOutcome> run_trial(const TrialRun& run, const FeatureSet& features, Collective& collective);

}  // namespace hivq
