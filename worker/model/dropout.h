#pragma once

// Dropout whose masks do not depend on how a batch is split over ranks: a mask is a pure function of the seed, the
// step, the place in the model, the image's position in the global batch and the element, by the counter-based
// generator Philox 4x32-10 (Salmon et al., SC 2011, "Parallel random numbers: as easy as 1, 2, 3").

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace hivq {

/// Dropout of one step. Each call is a place of its own ("site"), counted in the order of the calls.
struct Dropout {
  double rate = 0;  // share of the elements that are dropped, to 16 bits; 0: the identity
  uint64_t seed = 0;
  uint32_t step = 0;
  int64_t first_image = 0;  // position in the global batch of the first image
  uint32_t site = 0;

  /// x [b, ...] → the same shape, elements set to 0 or divided by (1 − rate). Differentiable; the backward pass draws
  /// the mask again instead of keeping it.
  at::Tensor operator()(const at::Tensor& x);
};

/// The factor, 0 or 1/(1 − rate), of each element of `like` [b, ...]; the definition of the masks in tensor operations,
/// for any device. `dropout` must have the site that the call would use.
at::Tensor dropout_mask(const Dropout& dropout, const at::Tensor& like);

}  // namespace hivq
