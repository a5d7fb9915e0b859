#pragma once

// Our own kernels for GPUs (kernels.cu, kernels/). NVRTC compiles each at its first use in a process, which takes a
// quarter of a second; where there is a GPU it keeps what it has compiled on the disk.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/result.h"

namespace hivq {

/// Every kernel for every type, such as `dropout<float, float>`.
std::vector<std::string> all_gpu_kernels();

struct GpuProgram {
  std::string code;
  std::string symbol;  // the kernel's name in it
};
/// One kernel for an architecture such as `sm_90`. Needs no GPU. Errors: built without CUDA; what NVRTC says.
Result<GpuProgram> compile_gpu_kernel(const std::string& architecture, const std::string& name);

/// What a kernel computes in (float or double), and the type of what is multiplied: the same, or bfloat16.
struct GpuTypes {
  at::ScalarType values, low;
  int constant = 0;  // the kernel's third argument as a template; 0: it has none

  GpuTypes with(int64_t number) const { return {values, low, static_cast<int>(number)}; }
  /// For rows of so many columns (at most kGpuMostColumns), which the kernel keeps in registers: how many each lane
  /// keeps. More registers than needed leave room for fewer warps.
  GpuTypes holding(int64_t columns) const { return with(columns <= 256 ? 8 : columns <= 512 ? 16 : 64); }
};
inline constexpr int64_t kGpuMostColumns = 2048;

/// The memory of a tensor that may be undefined.
inline const void* gpu_data(const at::Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr() : nullptr; }

struct GpuExtent {
  unsigned x = 1, y = 1, z = 1;
};
/// float32 or float64 on a GPU, in a worker that was built with CUDA. A program that is traced for export is to consist
/// of LibTorch's operations.
bool gpu_kernels_take(const at::Tensor& x);

/// Whether a device's units multiply bfloat16 (compute capability 8.0).
bool gpu_multiplies_bfloat16(at::Device device);

/// For tests on machines without a GPU: from now on kernels take tensors on the CPU, and `run` computes what they
/// would. Null: no longer.
using GpuEmulator = void (*)(const std::string& name, GpuTypes types, GpuExtent grid, GpuExtent block,
                             void** arguments);
void emulate_gpu(GpuEmulator run);

inline constexpr unsigned kGpuThreads = 128;  // of a block, for the kernels that do not say
/// Blocks for as many threads, or warps.
inline GpuExtent gpu_threads(int64_t count) { return {static_cast<unsigned>((count + kGpuThreads - 1) / kGpuThreads)}; }
inline GpuExtent gpu_warps(int64_t count) { return gpu_threads(32 * count); }

/// `arguments`: a pointer to each. Throws std::runtime_error where the kernel cannot be compiled or started.
void start_gpu_kernel(const std::string& name, GpuTypes types, at::Device device, GpuExtent grid, GpuExtent block,
                      void** arguments);

/// Puts a kernel on the current stream. Arguments are as wide as its parameters: int64_t, double, pointers, structures.
template <typename... Arguments>
void start_gpu_kernel(const std::string& name, GpuTypes types, at::Device device, GpuExtent grid, GpuExtent block,
                      Arguments... arguments) {
  void* pointers[] = {&arguments...};
  start_gpu_kernel(name, types, device, grid, block, static_cast<void**>(pointers));
}

}  // namespace hivq
