#include "worker/gpu/kernels.h"

#include <atomic>
#include <stdexcept>

namespace hivq {

static std::atomic<GpuEmulator> emulator = nullptr;
static void start_on_gpu(const std::string& name, GpuTypes types, at::Device device, GpuExtent grid, GpuExtent block,
                         void** arguments);
#ifdef HIVQ_CUDA
static constexpr bool kHasCuda = true;
#else
static constexpr bool kHasCuda = false;
#endif

void emulate_gpu(GpuEmulator run) { emulator = run; }

bool gpu_kernels_take(const at::Tensor& x) {
  const bool type = x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble;
  return type && (emulator != nullptr || (kHasCuda && x.is_cuda()));
}

void start_gpu_kernel(const std::string& name, GpuTypes types, at::Device device, GpuExtent grid, GpuExtent block,
                      void** arguments) {
  if (grid.x == 0 || grid.y == 0) return;  // nothing to do
  if (const GpuEmulator run = emulator) return run(name, types, grid, block, arguments);
  start_on_gpu(name, types, device, grid, block, arguments);
}

}  // namespace hivq

#ifndef HIVQ_CUDA

namespace hivq {

static constexpr const char* kWithout = "this hivq-worker was built without CUDA";

Result<GpuProgram> compile_gpu_kernels(const std::string&) { return error("{}", kWithout); }
static void start_on_gpu(const std::string&, GpuTypes, at::Device, GpuExtent, GpuExtent, void**) {
  throw std::runtime_error(kWithout);
}

}  // namespace hivq

#else

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <nvrtc.h>

#include <mutex>

namespace hivq {
namespace {

constexpr const char* kSource =
#include <hivq_gpu_kernels.inc>
    ;
constexpr const char* kStreams =
#include <hivq_gpu_streams.inc>
    ;

// Each for float and double.
constexpr const char* kPlain[] = {"dropout",         "norm_parameters", "sum_by_group", "nearest_prototype",
                                  "codebook_statistics", "move_prototypes", "pot_rows",     "pot_columns",
                                  "pot_backward"};
// And for float with bfloat16.
constexpr const char* kMixed[] = {"relu_dropout",  "relu_dropout_backward",  "place",           "place_backward",
                                  "residual_norm", "residual_norm_backward", "column_sums",     "split_heads",
                                  "merge_heads",   "softmax_dropout",        "softmax_dropout_backward"};

std::vector<std::string> all_kernels() {
  std::vector<std::string> names;
  const auto add = [&](const char* name, const char* types) { names.push_back(std::string(name) + types); };
  for (const char* types : {"<float, float>", "<double, double>"}) {
    for (const char* name : kPlain) add(name, types);
    for (const char* name : kMixed) add(name, types);
  }
  for (const char* name : kMixed) add(name, "<float, Bfloat16>");
  return names;
}

std::string full_name(const std::string& name, GpuTypes types) {
  if (types.values == at::kDouble) return name + "<double, double>";
  return name + (types.low == at::kBFloat16 ? "<float, Bfloat16>" : "<float, float>");
}

void succeed(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  cudaGetLastError();  // it is reported here, and not by a later, innocent call
  throw std::runtime_error(fmt::format("CUDA could not {}: {}", what, cudaGetErrorString(code)));
}

/// The kernels of a device by their full names. They stay for the life of the process.
using Kernels = std::map<std::string, cudaKernel_t>;
const Kernels& kernels_of(int device) {
  static std::mutex mutex;
  static std::map<int, Kernels> devices;
  const std::lock_guard lock(mutex);
  if (const auto known = devices.find(device); known != devices.end()) return known->second;
  int major = 0, minor = 0;
  succeed(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "tell the GPU's architecture");
  succeed(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "tell the GPU's architecture");
  const auto program = compile_gpu_kernels(fmt::format("sm_{}{}", major, minor));
  if (!program) throw std::runtime_error(program.error().message);
  cudaLibrary_t library = nullptr;
  succeed(cudaLibraryLoadData(&library, program->code.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
          "load the kernels");
  Kernels kernels;
  for (const auto& [name, symbol] : program->symbols) {
    succeed(cudaLibraryGetKernel(&kernels[name], library, symbol.c_str()), "find a kernel");
  }
  return devices[device] = std::move(kernels);
}

}  // namespace

Result<GpuProgram> compile_gpu_kernels(const std::string& architecture) {
  nvrtcProgram program = nullptr;
  const char* include = "worker/gpu/dropout_streams.h";
  nvrtcResult code = nvrtcCreateProgram(&program, kSource, "kernels.cu", 1, &kStreams, &include);
  const std::vector<std::string> names = all_kernels();
  for (const std::string& name : names) {
    if (code == NVRTC_SUCCESS) code = nvrtcAddNameExpression(program, name.c_str());
  }
  const std::string option = "--gpu-architecture=" + architecture;
  const char* options[] = {option.c_str(), "--std=c++17"};
  if (code == NVRTC_SUCCESS) code = nvrtcCompileProgram(program, 2, options);
  GpuProgram compiled;
  std::string log;
  size_t size = 0;
  if (code == NVRTC_SUCCESS) code = nvrtcGetCUBINSize(program, &size);
  compiled.code.resize(size);
  if (code == NVRTC_SUCCESS) code = nvrtcGetCUBIN(program, compiled.code.data());
  for (const std::string& name : names) {
    const char* symbol = nullptr;
    if (code == NVRTC_SUCCESS) code = nvrtcGetLoweredName(program, name.c_str(), &symbol);
    if (code == NVRTC_SUCCESS) compiled.symbols[name] = symbol;
  }
  if (code != NVRTC_SUCCESS && nvrtcGetProgramLogSize(program, &size) == NVRTC_SUCCESS) {
    log.resize(size);
    nvrtcGetProgramLog(program, log.data());
  }
  nvrtcDestroyProgram(&program);
  if (code == NVRTC_SUCCESS) return compiled;
  return error("NVRTC could not compile the kernels for {}: {} {}", architecture, nvrtcGetErrorString(code), log);
}

static void start_on_gpu(const std::string& name, GpuTypes types, at::Device device, GpuExtent grid, GpuExtent block,
                         void** arguments) {
  const c10::cuda::CUDAGuard guard(device);
  const cudaKernel_t kernel = kernels_of(device.index()).at(full_name(name, types));
  const cudaError_t code =
      cudaLaunchKernel(static_cast<const void*>(kernel), dim3(grid.x, grid.y, grid.z), dim3(block.x, block.y, block.z),
                       arguments, 0, c10::cuda::getCurrentCUDAStream(device.index()).stream());
  if (code != cudaSuccess)
    throw std::runtime_error(fmt::format("CUDA could not start {}: {}", name, cudaGetErrorString(code)));
}

}  // namespace hivq

#endif
