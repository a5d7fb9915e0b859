#pragma once

// Our own kernels for GPUs (kernels.cu), compiled by NVRTC once a process and device.

#include <string>

#include "common/result.h"

namespace hivq {

/// The compiled kernels for an architecture such as `sm_90`. Needs no GPU. Errors: built without CUDA; what NVRTC says.
Result<std::string> compile_gpu_kernels(const std::string& architecture);

/// A kernel by its name, as cudaLaunchKernel takes it. Throws std::runtime_error where it cannot be had.
const void* gpu_kernel(const std::string& name, int device);

}  // namespace hivq
