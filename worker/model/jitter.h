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

/// `scale` times standard normal noise for features of this shape [b, N, C]: float32, drawn on the CPU, so that it is
/// the same on every device.
at::Tensor jitter(at::IntArrayRef shape, double scale, const JitterSource& source);

/// h0 [b, N, C] plus, for each token, ‖h0‖₂ / C times the noise [b, N, C].
at::Tensor jittered(const at::Tensor& h0, const at::Tensor& noise);

}  // namespace hivq
