#include "worker/gang/gpus.h"

#include <fmt/format.h>

#ifdef HIVQ_CUDA
#include <cuda_runtime_api.h>
#endif

namespace hivq {

#ifdef HIVQ_CUDA

namespace {

/// 13020 is 13.2; 0 is none.
std::string version_text(int code) { return code == 0 ? "" : fmt::format("{}.{}", code / 1000, code / 10 % 100); }

}  // namespace

SeenGpus see_gpus() {
  SeenGpus seen;
  seen.built_with_cuda = true;
  int driver = 0, runtime = 0, count = 0;
  if (cudaDriverGetVersion(&driver) == cudaSuccess) seen.driver = version_text(driver);
  if (cudaRuntimeGetVersion(&runtime) == cudaSuccess) seen.runtime = version_text(runtime);
  if (const cudaError_t code = cudaGetDeviceCount(&count); code != cudaSuccess) {
    cudaGetLastError();  // it is reported here and not by a later, innocent call
    seen.problem = cudaGetErrorString(code);
    return seen;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp device;
    if (cudaGetDeviceProperties(&device, i) == cudaSuccess) seen.gpus.push_back({device.name, device.totalGlobalMem});
  }
  return seen;
}

#else

SeenGpus see_gpus() { return {}; }

#endif

}  // namespace hivq
