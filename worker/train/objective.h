#pragma once

// Eq. 1 of the paper: what a step minimises.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/spec.h"
#include "worker/model/forward.h"

namespace hivq {

/// A rank's share of a global batch of B images; it may be empty.
struct Batch {
  at::Tensor h0;                        // [b, N, C]
  at::Tensor classes;                   // [b] int64
  int64_t first = 0;                    // position in the global batch of the first image
  std::vector<int64_t> global_classes;  // [B] of every image of the global batch

  int64_t global_images() const { return static_cast<int64_t>(global_classes.size()); }
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
struct Objective {
  at::Tensor total;  // [] weighted, differentiable
  at::Tensor terms;  // [kTerms + levels] before the weights: reconstruction, POT, classification, each level's
                     // commitment
  static constexpr int64_t kTerms = 3;
};
Objective objective(const Model& model, const LossSpec& weights, const Batch& batch, const Forward& out);

/// The terms, summed over ranks, by name.
Losses losses_of(const at::Tensor& terms, const LossSpec& weights);

}  // namespace hivq
