#pragma once

// One step of training on every rank of a gang.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "jobs/spec.h"
#include "worker/collective/collective.h"
#include "worker/data/feature_set.h"
#include "worker/model/model.h"
#include "worker/train/objective.h"
#include "worker/train/optimizer.h"
#include "worker/train/sampler.h"

namespace hivq {

/// Images [first, first + count) of features [n, C, G, G] as tokens [count, N, C], row-major.
at::Tensor tokens_of(const at::Tensor& features, const at::Tensor& images);

/// The rank's share of the global batch of these training images.
Batch load_batch(const FeatureSet& features, std::span<const int64_t> images, int rank, int ranks);

/// All that training changes, alike on every rank.
struct Training {
  Model model;
  AdamW optimizer;
  int64_t step = 0;              // steps done
  int64_t epoch = 0;             // epochs done
  int64_t batch = 0;             // batches done of the epoch at hand
  std::vector<at::Tensor> use;   // by level: [S, K] float64, tokens of each prototype in the epoch at hand
  std::vector<double> distance;  // by level: sum over the epoch's tokens of ‖h − e‖²
  at::Tensor sums;               // what a step sums over ranks, packed; the gradients are its head
};

/// Untrained, at step 0. `options`: type and device.
Training make_training(const TrialSpec& spec, const InputShape& input, const at::TensorOptions& options);

struct StepReport {
  Losses losses;
  bool stop = false;     // rank 0 asked for it
  bool applied = false;  // the step was taken: neither stopped nor not finite
};

/// forward → losses → backward → one all-reduce → clip → AdamW → EMA update (→ dead prototypes revived, as an option,
/// with an all-reduce of its own). Gradient and codebooks are those of the whole batch on one rank, whatever the number
/// of ranks. `stop` counts on rank 0 only. An Error is the collective's.
Result<StepReport> train_step(Training& training, const TrialSpec& spec, const Batch& batch, double lr, bool stop,
                              Collective& collective);

}  // namespace hivq
