#pragma once

// Eq. 1 of the paper: what a step minimises.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "jobs/spec.h"
#include "worker/model/forward.h"

namespace hivq {

/// A rank's share of the global batches of T trials, of B images each; it may be empty. The trials' images follow each
/// other.
struct Batch {
  at::Tensor h0;                        // [T·b, N, C]
  at::Tensor classes;                   // [T·b] int64
  int64_t first = 0;                    // position in its global batch of a trial's first image
  std::vector<int64_t> global_classes;  // [T·B] of every image of the global batches
  int64_t trials = 1;                   // T

  int64_t global_images() const { return static_cast<int64_t>(global_classes.size()) / trials; }  // B
};

/// The means of Eq. 1 over the global batch, the levels' terms added up; before their weights.
struct Losses {
  double total = 0;  // weighted
  double reconstruction = 0, commitment = 0, pot = 0, classification = 0;
  double gradient_norm = 0;

  /// Names the first that is not finite; empty where all are.
  std::string not_finite() const;
};

/// This rank's part of Eq. 1: sums over its images by counts of the global batch, so that the ranks' parts, and their
/// gradients, add up to the batch's.
struct ObjectiveValue {
  at::Tensor total;  // [] weighted, summed over the trials, differentiable: no trial's parameters touch another's terms
  at::Tensor terms;  // [T, kTerms + levels] before the weights: reconstruction, POT, classification, each level's
                     // commitment
  static constexpr int64_t kTerms = 3;
};
/// The weights of Eq. 1's terms, [T] each. A term has a weight for every trial or for none; without it is not computed.
struct LossWeights {
  at::Tensor commitment, pot, classification;
  bool transports = false, classifies = false;  // POT's and the classifier's weights are not 0
};
LossWeights loss_weights(std::span<const LossSpec> trials, const at::TensorOptions& options);

ObjectiveValue objective(const Model& model, const LossWeights& weights, const Batch& batch, const Forward& out);

/// A trial's terms [kTerms + levels], summed over ranks and on the CPU, by name.
Losses losses_of(const at::Tensor& terms, const LossSpec& weights);

}  // namespace hivq
