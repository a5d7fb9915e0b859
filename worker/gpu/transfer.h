#pragma once

#include <ATen/core/Tensor.h>

namespace hivq {

/// A tensor on the CPU as one on the device; the CPU does not wait for a GPU.
inline at::Tensor on_device(const at::Tensor& values, at::Device device) {
  return device.is_cuda() ? values.pin_memory().to(device, /*non_blocking=*/true) : values;
}

}  // namespace hivq
