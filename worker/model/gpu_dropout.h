#pragma once

// Dropout by one pass over a GPU's memory: a kernel of our own (gpu/kernels/). In tensor operations a mask is some
// hundred passes over int64 tensors eight times as large as a float's.

#include "worker/gpu/arguments.h"
#include "worker/model/dropout.h"

namespace hivq {

/// What the kernels draw the masks of `images` of all trials from; they are at most DropoutStreams::kMost.
struct GpuMasks {
  DropoutStreams streams;
  const void* step = nullptr;  // in the GPU's memory; null where nothing is dropped
};
GpuMasks gpu_masks(const Dropout& dropout, int64_t images);

/// x [b, …] times its mask, put on the current stream. `dropout.step` is defined and on x's device.
at::Tensor gpu_dropout(const Dropout& dropout, const at::Tensor& x);

}  // namespace hivq
