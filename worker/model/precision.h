#pragma once

#include <ATen/core/Tensor.h>

namespace hivq {

/// x as a factor of a product: rounded to bfloat16 where that is asked for, otherwise as it is. Differentiable.
inline at::Tensor factor(const at::Tensor& x, bool bfloat16) { return bfloat16 ? x.to(at::kBFloat16) : x; }

}  // namespace hivq
