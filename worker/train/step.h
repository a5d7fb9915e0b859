#pragma once

// One step of training on every rank of a gang: of one trial, or of several side by side (model.h).

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "jobs/spec.h"
#include "worker/collective/collective.h"
#include "worker/data/feature_set.h"
#include "worker/model/model.h"
#include "worker/train/gradient_buckets.h"
#include "worker/train/objective.h"
#include "worker/train/optimizer.h"
#include "worker/train/sampler.h"

namespace hivq {

/// These images of features [n, C, G, G] as tokens [count, N, C], row-major; bfloat16 becomes float32.
at::Tensor tokens_of(const at::Tensor& features, const at::Tensor& images);

/// The rank's share of the global batches of these training images: as many for each trial, one trial's after
/// another's.
Batch load_batch(const FeatureSet& features, std::span<const int64_t> images, int rank, int ranks, int64_t trials = 1);

class RecordedSteps;

/// All that training changes, alike on every rank.
struct Training {
  Model model;
  AdamW optimizer;
  int64_t step = 0;             // steps done
  int64_t epoch = 0;            // epochs done
  int64_t batch = 0;            // batches done of the epoch at hand
  std::vector<at::Tensor> use;  // by level: [T·S, K] float64, tokens of each prototype in the epoch at hand
  at::Tensor distance;          // [T, levels] float64, sum over the epoch's tokens of ‖h − e‖²
  at::Tensor sums;              // what a step sums over ranks, packed; the gradients are its head
  std::shared_ptr<GradientBuckets> buckets;
  std::shared_ptr<RecordedSteps> recorded;  // on a GPU
  bool records = true;                      // a GPU's steps as graphs

  int64_t trials() const { return model.trials; }
};

/// Untrained, at step 0. `specs`: of each trial; they differ in what fusion_key() allows. `options`: type and device.
Training make_training(std::span<const TrialSpec> specs, const InputShape& input, const at::TensorOptions& options);

/// One of the trials in the same memory: what is read from it or copied into its tensors is the trial's.
Training trial_of(const Training& training, int64_t trial);

/// A copy of some of the trials, which goes on as they would have.
Training copy_trials(const Training& training, const std::vector<int64_t>& trials);

/// What rank 0 wants of a trial.
enum class Wish { go_on, stop, yield };

/// How a trial takes part in a step.
struct StepSetting {
  double lr = 0;
  Wish wish = Wish::go_on;  // counts on rank 0 only
};

struct StepReport {
  Losses losses;
  Wish wish = Wish::go_on;  // rank 0's
  bool applied = false;     // the step was taken: neither stopped nor not finite
};

/// forward → losses → backward → clip → AdamW → EMA update (→ dead prototypes revived, as an option, with an all-reduce
/// of its own). On a GPU all but the last is put on the device without waiting for it, from the fourth step of a shape
/// on as one graph; then the losses are read. The losses and all codebooks' statistics are summed over the ranks in one
/// all-reduce that begins before backward, the gradients in buckets beside it. Gradient and codebooks are those of the
/// whole batch on one rank, whatever the number of ranks, and those of each trial alone, whatever the number of trials.
/// A trial whose losses are not finite, or that is to stop, stays as it was. An Error is the collective's.
Result<std::vector<StepReport>> train_step(Training& training, std::span<const TrialSpec> specs, const Batch& batch,
                                           std::span<const StepSetting> settings, Collective& collective);

}  // namespace hivq
