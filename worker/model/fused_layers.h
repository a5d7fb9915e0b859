#pragma once

// What lies between the multiplications of a layer, each in one pass over the memory, forward and backward; float32 and
// float64 on the CPU. Their references in tensor operations are in layers.cpp.

#include <ATen/core/Tensor.h>

#include "worker/model/dropout.h"
#include "worker/model/layers.h"

namespace hivq {

/// layer_norm(x + dropout(y)): [b, N, D]. Uses one site of the dropout.
at::Tensor fused_residual_norm(const at::Tensor& x, const at::Tensor& y, Dropout& dropout, const LayerNorm& norm);

/// dropout(relu(x)) of tokens x [b·N, F] of b images, in the memory of x, which must be a result that nobody else needs
/// and no view. Uses one site of the dropout.
at::Tensor fused_relu_dropout(const at::Tensor& x, int64_t images, Dropout& dropout);

}  // namespace hivq
