#pragma once

// What the backends demand of a tensor, checked alike.

#include <ATen/core/Tensor.h>

#include "common/result.h"

namespace hivq {

/// Errors: undefined, on another device, not contiguous.
Status check_broadcast(const at::Tensor& tensor, at::Device device);
/// The same, and neither float32 nor float64.
Status check_all_reduce(const at::Tensor& tensor, at::Device device);

}  // namespace hivq
