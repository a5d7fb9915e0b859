#pragma once

// Which tensors our own CPU kernels take; tensor operations compute the rest: on GPUs, and in programs that are
// exported.

#include <ATen/core/Tensor.h>

namespace hivq {

/// A program that is traced for export is to consist of LibTorch's operations.
bool cpu_kernels_take(const at::Tensor& x);

/// While it lives, this thread computes on the CPU as a GPU does: in tensor operations.
class WithoutCpuKernels {
 public:
  WithoutCpuKernels();
  ~WithoutCpuKernels();
  WithoutCpuKernels(const WithoutCpuKernels&) = delete;
  WithoutCpuKernels& operator=(const WithoutCpuKernels&) = delete;

 private:
  bool before_;
};

}  // namespace hivq
