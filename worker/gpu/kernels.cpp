#include "worker/gpu/kernels.h"

#ifndef HIVQ_CUDA

namespace hivq {

static constexpr const char* kWithout = "this hivq-worker was built without CUDA";

Result<std::string> compile_gpu_kernels(const std::string&) { return error("{}", kWithout); }
const void* gpu_kernel(const std::string&, int) { throw std::runtime_error(kWithout); }

}  // namespace hivq

#else

#include <cuda_runtime_api.h>
#include <nvrtc.h>

#include <map>
#include <mutex>
#include <stdexcept>

namespace hivq {
namespace {

constexpr const char* kSource =
#include <hivq_gpu_kernels.inc>
    ;

void succeed(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  cudaGetLastError();  // it is reported here, and not by a later, innocent call
  throw std::runtime_error(fmt::format("CUDA could not {}: {}", what, cudaGetErrorString(code)));
}

/// Stays for the life of the process, as the kernels that were taken from it.
cudaLibrary_t library_of(int device) {
  static std::mutex mutex;
  static std::map<int, cudaLibrary_t> libraries;
  const std::lock_guard lock(mutex);
  if (const auto known = libraries.find(device); known != libraries.end()) return known->second;
  int major = 0, minor = 0;
  succeed(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "tell the GPU's architecture");
  succeed(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "tell the GPU's architecture");
  const auto code = compile_gpu_kernels(fmt::format("sm_{}{}", major, minor));
  if (!code) throw std::runtime_error(code.error().message);
  cudaLibrary_t library = nullptr;
  succeed(cudaLibraryLoadData(&library, code->data(), nullptr, nullptr, 0, nullptr, nullptr, 0), "load the kernels");
  return libraries[device] = library;
}

}  // namespace

Result<std::string> compile_gpu_kernels(const std::string& architecture) {
  nvrtcProgram program = nullptr;
  nvrtcResult code = nvrtcCreateProgram(&program, kSource, "kernels.cu", 0, nullptr, nullptr);
  const std::string option = "--gpu-architecture=" + architecture;
  const char* options[] = {option.c_str(), "--std=c++17"};
  if (code == NVRTC_SUCCESS) code = nvrtcCompileProgram(program, 2, options);
  std::string cubin, log;
  size_t size = 0;
  if (code == NVRTC_SUCCESS) code = nvrtcGetCUBINSize(program, &size);
  cubin.resize(size);
  if (code == NVRTC_SUCCESS) code = nvrtcGetCUBIN(program, cubin.data());
  if (code != NVRTC_SUCCESS && nvrtcGetProgramLogSize(program, &size) == NVRTC_SUCCESS) {
    log.resize(size);
    nvrtcGetProgramLog(program, log.data());
  }
  nvrtcDestroyProgram(&program);
  if (code == NVRTC_SUCCESS) return cubin;
  return error("NVRTC could not compile the kernels for {}: {} {}", architecture, nvrtcGetErrorString(code), log);
}

const void* gpu_kernel(const std::string& name, int device) {
  static std::mutex mutex;
  static std::map<std::pair<std::string, int>, cudaKernel_t> kernels;
  const cudaLibrary_t library = library_of(device);
  const std::lock_guard lock(mutex);
  const auto [entry, fresh] = kernels.try_emplace({name, device}, nullptr);
  if (fresh) succeed(cudaLibraryGetKernel(&entry->second, library, name.c_str()), "find a kernel");
  return entry->second;
}

}  // namespace hivq

#endif
