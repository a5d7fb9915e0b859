#include "worker/gpu/kernels.h"

#include <torch/csrc/jit/frontend/tracer.h>

#include <atomic>
#include <stdexcept>

namespace hivq {

static std::atomic<GpuEmulator> emulator = nullptr;
static void start_on_gpu(const std::string& name, GpuTypes types, at::Device device, GpuExtent grid, GpuExtent block,
                         void** arguments);
static int capability_of(int device);
#ifdef HIVQ_CUDA
static constexpr bool kHasCuda = true;
#else
static constexpr bool kHasCuda = false;
#endif

bool gpu_multiplies_bfloat16(at::Device device) {
  return emulator != nullptr || (device.is_cuda() && capability_of(device.index()) >= 80);
}

void emulate_gpu(GpuEmulator run) { emulator = run; }

bool gpu_kernels_take(const at::Tensor& x) {
  const bool type = x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble;
  const bool here = emulator != nullptr || (kHasCuda && x.is_cuda());
  return type && here && !torch::jit::tracer::isTracing();
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

std::vector<std::string> all_gpu_kernels() { return {}; }
Result<GpuProgram> compile_gpu_kernel(const std::string&, const std::string&) { return error("{}", kWithout); }
static int capability_of(int) { return 0; }
static void start_on_gpu(const std::string&, GpuTypes, at::Device, GpuExtent, GpuExtent, void**) {
  throw std::runtime_error(kWithout);
}

}  // namespace hivq

#else

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <nvrtc.h>

#include <map>
#include <mutex>
#include <span>

namespace hivq {
namespace {

/// The kernels' files; the first includes the others.
struct Source {
  const char *path, *text;
};
constexpr Source kSources[] = {
#include <hivq_gpu_kernels.inc>
};

// Each for float and double.
constexpr const char* kPlain[] = {"dropout",  "norm_parameters", "sum_by_group",        "nearest_prototype",
                                  "pot_rows", "pot_columns",     "codebook_statistics", "move_prototypes",
                                  "adamw",    "pot_backward",    "dropout_bits",        "squared_norms"};
// And for float with bfloat16.
constexpr const char* kMixed[] = {"relu_dropout", "relu_dropout_backward", "place",      "place_backward",
                                  "column_sums",  "split_heads",           "merge_heads"};
// In bfloat16 alone, for heads of three widths.
constexpr const char* kTiles[] = {"attend", "attend_backward_queries", "attend_backward_keys"};
// That keep a row in registers.
constexpr const char* kRows[] = {"residual_norm", "residual_norm_backward", "softmax_dropout",
                                 "softmax_dropout_backward"};

std::string full_name(const std::string& name, GpuTypes types) {
  const std::string values = types.values == at::kDouble ? "double" : "float";
  const std::string low = types.low == at::kBFloat16 ? "Bfloat16" : values;
  return name + "<" + values + ", " + low + (types.constant == 0 ? "" : fmt::format(", {}", types.constant)) + ">";
}

void succeed(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  cudaGetLastError();  // it is reported here, and not by a later, innocent call
  throw std::runtime_error(fmt::format("CUDA could not {}: {}", what, cudaGetErrorString(code)));
}

/// A kernel of a device by its full name. It stays for the life of the process.
cudaKernel_t kernel_of(int device, const std::string& name) {
  static std::mutex mutex;
  static std::map<std::pair<int, std::string>, cudaKernel_t> kernels;
  const std::lock_guard lock(mutex);
  if (const auto known = kernels.find({device, name}); known != kernels.end()) return known->second;
  const auto program = compile_gpu_kernel(fmt::format("sm_{}", capability_of(device)), name);
  if (!program) throw std::runtime_error(program.error().message);
  cudaLibrary_t library = nullptr;
  succeed(cudaLibraryLoadData(&library, program->code.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
          "load a kernel");
  cudaKernel_t kernel = nullptr;
  succeed(cudaLibraryGetKernel(&kernel, library, program->symbol.c_str()), "find a kernel");
  return kernels[{device, name}] = kernel;
}

}  // namespace

std::vector<std::string> all_gpu_kernels() {
  std::vector<std::string> names;
  constexpr GpuTypes kTypes[] = {{at::kFloat, at::kFloat}, {at::kDouble, at::kDouble}, {at::kFloat, at::kBFloat16}};
  for (const GpuTypes& types : kTypes) {
    for (const char* name : kPlain) {
      if (types.low == types.values) names.push_back(full_name(name, types));
    }
    for (const char* name : kMixed) names.push_back(full_name(name, types));
    for (const char* name : kRows) {
      for (const int held : {8, 16, 64}) names.push_back(full_name(name, types.with(held)));
    }
  }
  for (const char* name : kTiles) {
    for (const int width : {16, 32, 64}) names.push_back(full_name(name, {at::kFloat, at::kBFloat16, width}));
  }
  return names;
}

Result<GpuProgram> compile_gpu_kernel(const std::string& architecture, const std::string& name) {
  nvrtcProgram program = nullptr;
  std::vector<const char*> paths, texts;
  for (const Source& source : std::span(kSources).subspan(1))
    paths.push_back(source.path), texts.push_back(source.text);
  nvrtcResult code = nvrtcCreateProgram(&program, kSources[0].text, kSources[0].path, static_cast<int>(paths.size()),
                                        texts.data(), paths.data());
  if (code == NVRTC_SUCCESS) code = nvrtcAddNameExpression(program, name.c_str());
  const std::string option = "--gpu-architecture=" + architecture;
  const char* options[] = {option.c_str(), "--std=c++17"};
  if (code == NVRTC_SUCCESS) code = nvrtcCompileProgram(program, 2, options);
  GpuProgram compiled;
  std::string log;
  size_t size = 0;
  if (code == NVRTC_SUCCESS) code = nvrtcGetCUBINSize(program, &size);
  compiled.code.resize(size);
  if (code == NVRTC_SUCCESS) code = nvrtcGetCUBIN(program, compiled.code.data());
  const char* symbol = nullptr;
  if (code == NVRTC_SUCCESS) code = nvrtcGetLoweredName(program, name.c_str(), &symbol);
  if (code == NVRTC_SUCCESS) compiled.symbol = symbol;
  if (code != NVRTC_SUCCESS && nvrtcGetProgramLogSize(program, &size) == NVRTC_SUCCESS) {
    log.resize(size);
    nvrtcGetProgramLog(program, log.data());
  }
  nvrtcDestroyProgram(&program);
  if (code == NVRTC_SUCCESS) return compiled;
  return error("NVRTC could not compile {} for {}: {} {}", name, architecture, nvrtcGetErrorString(code), log);
}

/// 90 is 9.0.
static int capability_of(int device) {
  int major = 0, minor = 0;
  succeed(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "tell the GPU's architecture");
  succeed(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "tell the GPU's architecture");
  return 10 * major + minor;
}

static void start_on_gpu(const std::string& name, GpuTypes types, at::Device device, GpuExtent grid, GpuExtent block,
                         void** arguments) {
  const c10::cuda::CUDAGuard guard(device);
  const cudaKernel_t kernel = kernel_of(device.index(), full_name(name, types));
  const cudaError_t code =
      cudaLaunchKernel(static_cast<const void*>(kernel), dim3(grid.x, grid.y, grid.z), dim3(block.x, block.y, block.z),
                       arguments, 0, c10::cuda::getCurrentCUDAStream(device.index()).stream());
  succeed(code, ("start " + name).c_str());
}

}  // namespace hivq

#endif
