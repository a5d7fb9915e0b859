#pragma once

#include <ATen/core/Tensor.h>

namespace hivq {

/// a b with the result's type: [T, n, k] times [T, k, m] → `out` [T, n, m]. On GPUs sums of products of bfloat16 can
/// have a wider type.
void multiply_into(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b);

}  // namespace hivq
