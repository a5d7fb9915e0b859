#pragma once

// The POT loss on CPUs: each image's N×K numbers stay in a core's cache through both softmaxes, forward and backward.
// Its reference in tensor operations is pot_loss() in pot.cpp for other devices.

#include <ATen/core/Tensor.h>

namespace hivq {

/// What pot_loss() gives of products h·e [b, N, K] (contiguous), 1/‖h‖ [b, N] and 1/‖e‖ [b, K], the last a constant:
/// [b]. Differentiable in the first two; float32 and float64.
at::Tensor fused_pot_loss(const at::Tensor& product, const at::Tensor& inverse_token,
                          const at::Tensor& inverse_prototype);

}  // namespace hivq
