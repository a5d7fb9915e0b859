#pragma once

// Trials from their start, or from a checkpoint, to their end, on every rank of a gang.

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "common/messages.h"
#include "common/result.h"
#include "jobs/spec.h"
#include "worker/collective/collective.h"
#include "worker/data/feature_set.h"
#include "worker/train/step.h"

namespace hivq {

/// Where a trial's state comes from.
struct TrialStart {
  std::string checkpoint;  // bytes; empty: untrained
  bool warm = false;       // another trial's: its model and codebooks, from step 0; otherwise the trial goes on exactly
                           // where it stopped
};

struct TrialOutcome {
  enum class End { finished, stopped, yielded, failed };
  End end = End::finished;
  std::string reason;                    // of a failure: a non-finite loss, no training images …
  std::map<std::string, double> final_;  // the last evaluation's metrics, `auroc` among them
};

/// What rank 0 hears of a trial while it runs. The other ranks' hooks are never called.
struct TrialHooks {
  using Wish = hivq::Wish;
  /// Metrics of one step of the optimiser (1-based; 0 is the untrained model): `loss`, `auroc`, `codebook_perplexity/0`
  /// …
  std::function<void(int64_t step, const std::map<std::string, double>& values)> metrics;
  /// A checkpoint of the state after `step`; the bytes are a safetensors file. Called from another thread, one at a
  /// time; everything up to `step` has been reported before.
  std::function<void(int64_t step, std::string bytes)> checkpoint;
  /// Asked once per step. stop: its lease is gone, or it was cancelled. yield: it shall leave a checkpoint of the step
  /// at hand and end, to go on elsewhere.
  std::function<Wish()> wish;
  /// The trial has ended while others beside it go on. Its outcome is told here as soon as it is known, and again with
  /// the others' at the end.
  std::function<void(const TrialOutcome& outcome)> end;
  /// After the last evaluation, if the specification asks for them: test images with their maps.
  std::function<void(PictureItem picture)> picture = {};
  /// Something that a person should know and that ends nothing, such as why there are no pictures.
  std::function<void(const std::string& text)> warning = {};
};

/// A trial to run. Start and hooks count on rank 0 only.
struct TrialRun {
  TrialSpec spec;
  TrialStart start;
  TrialHooks hooks;
};

/// Trains and evaluates trials of equal fusion_key() side by side, as one batched model; each gives what it gives
/// alone. One outcome for each. Collective: every rank calls it with the same specifications. An Error is the gang's
/// failure (a broken collective); a trial's own failure is an outcome, and the others go on.
Result<std::vector<TrialOutcome>> run_trials(std::span<const TrialRun> runs, const FeatureSet& features,
                                             Collective& collective);

}  // namespace hivq
