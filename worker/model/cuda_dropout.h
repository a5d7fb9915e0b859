#pragma once

// Dropout by one pass over a GPU's memory: a kernel of our own (gpu/kernels.cu). In tensor operations a mask is some
// hundred passes over int64 tensors eight times as large as a float's.

#include <ATen/core/Tensor.h>

#include "worker/model/dropout.h"

namespace hivq {

/// float32 or float64 on a GPU, in a worker that was built with CUDA.
bool has_cuda_dropout(const at::Tensor& x);

/// x [b, …] times its mask, put on the current stream. `dropout.step` is defined and on x's device. Throws
/// std::runtime_error where the kernel cannot be compiled or started.
at::Tensor cuda_dropout(const Dropout& dropout, const at::Tensor& x);

}  // namespace hivq
