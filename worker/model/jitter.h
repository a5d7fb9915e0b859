#pragma once

// UniAD's feature jitter: noise on the features that go into the encoder while training, so that the model learns to
// restore normal features instead of copying its input.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace hivq {

/// Where the noise of a step comes from: a function of these alone, so that it does not depend on how a batch is split
/// over ranks.
struct JitterSource {
  uint64_t seed = 0;
  int64_t step = 0;
  int64_t first_image = 0;  // position in the global batch of the first image
};

/// h0 [b, N, C] plus, for each token, scale · ‖h0‖₂ / C times standard normal noise.
at::Tensor jittered(const at::Tensor& h0, double scale, const JitterSource& source);

}  // namespace hivq
