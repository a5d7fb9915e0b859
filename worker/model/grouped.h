#pragma once

// What every class switch is made of: each image of a batch multiplies by the matrix of its own class, in one batched
// product, differentiable in the tokens and the matrices.

#include <ATen/core/Tensor.h>

namespace hivq {

/// x [b, N, d] times the transposed rows of its group's matrix: matrices [S, K, d], group [b] (int64, in [0, S)) →
/// [b, N, K]. `bias` [S, K] is added where it is defined. With S = 1 the groups are not read.
at::Tensor grouped_matmul(const at::Tensor& x, const at::Tensor& matrices, const at::Tensor& group,
                          const at::Tensor& bias = {});

}  // namespace hivq
