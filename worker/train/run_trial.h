#pragma once

// One trial from its start, or from a checkpoint, to its end, on every rank of a gang.

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "jobs/spec.h"
#include "worker/collective/collective.h"
#include "worker/data/feature_set.h"

namespace hivq {

/// What rank 0 hears of a trial while it runs. The other ranks' hooks are never called.
struct TrialHooks {
  /// Metrics of one step of the optimiser (1-based; 0 is the untrained model): `loss`, `auroc`, `codebook_perplexity/0`
  /// …
  std::function<void(int64_t step, const std::map<std::string, double>& values)> metrics;
  /// A checkpoint of the state after `step`; the bytes are a safetensors file.
  std::function<void(int64_t step, std::string bytes)> checkpoint;
  /// Asked once per step: true ends the trial early on every rank (its lease is gone, or it was cancelled).
  std::function<bool()> stop;
};

struct TrialOutcome {
  enum class End { finished, stopped, failed };
  End end = End::finished;
  std::string reason;                    // of a failure: a non-finite loss, no training images …
  std::map<std::string, double> final_;  // the last evaluation's metrics, `auroc` among them
};

/// Trains and evaluates. Collective: every rank calls it with the same arguments (hooks and checkpoint count on rank 0
/// only; `checkpoint` empty: from the start). An Error is the gang's failure (a broken collective); a trial's own
/// failure is an outcome.
Result<TrialOutcome> run_trial(const TrialSpec& spec, const FeatureSet& features, Collective& collective,
                               std::string_view checkpoint, const TrialHooks& hooks);

}  // namespace hivq
