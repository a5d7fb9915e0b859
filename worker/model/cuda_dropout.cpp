#include "worker/model/cuda_dropout.h"

#ifndef HIVQ_CUDA

namespace hivq {

bool has_cuda_dropout(const at::Tensor&) { return false; }
at::Tensor cuda_dropout(const Dropout& dropout, const at::Tensor& x) { return x * dropout_mask(dropout, x); }

}  // namespace hivq

#else

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <torch/torch.h>

#include <stdexcept>

#include "common/result.h"
#include "worker/gpu/kernels.h"

namespace hivq {
namespace {

constexpr int64_t kChunk = 256, kBlocksOfChunk = 32;  // dropout.cpp
constexpr unsigned kThreads = 256;

template <typename T>
void start(const Dropout& dropout, size_t which, const at::Tensor& x, at::Tensor& out) {
  const DropoutStream& stream = dropout.streams[which];
  const int64_t images = x.size(0), count = images == 0 ? 0 : x.numel() / images;
  if (count == 0) return;
  const DropoutMask mask = mask_of_rate(stream.rate);
  const T* in = x.const_data_ptr<T>();
  T* to = out.mutable_data_ptr<T>();
  const int64_t* step = dropout.step.const_data_ptr<int64_t>();
  int64_t blocks = (count + kChunk - 1) / kChunk * kBlocksOfChunk, numbers[2] = {count, images};
  auto first = static_cast<unsigned>(stream.first_image);
  unsigned site = dropout.site, key0 = static_cast<unsigned>(stream.seed),
           key1 = static_cast<unsigned>(stream.seed >> 32), threshold = mask.threshold;
  T scale = static_cast<T>(mask.scale);
  void* arguments[] = {&in,   &to,   &numbers[0], &blocks, &numbers[1], &first,
                       &step, &site, &key0,       &key1,   &threshold,  &scale};
  const char* name = std::is_same_v<T, float> ? "dropout_float" : "dropout_double";
  const auto grid = static_cast<unsigned>((images * blocks + kThreads - 1) / kThreads);
  const cudaError_t code = cudaLaunchKernel(gpu_kernel(name, x.device().index()), dim3(grid), dim3(kThreads), arguments,
                                            0, c10::cuda::getCurrentCUDAStream(x.device().index()).stream());
  if (code != cudaSuccess)
    throw std::runtime_error(fmt::format("CUDA could not start {}: {}", name, cudaGetErrorString(code)));
}

}  // namespace

bool has_cuda_dropout(const at::Tensor& x) { return x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble; }

at::Tensor cuda_dropout(const Dropout& dropout, const at::Tensor& x) {
  check(dropout.step.defined(), "dropout on a GPU finds its step in memory");
  const c10::cuda::CUDAGuard guard(x.device());
  const at::Tensor in = x.contiguous();
  at::Tensor out = at::empty_like(in);
  const auto trials = static_cast<int64_t>(dropout.streams.size()), each = in.size(0) / trials;
  for (int64_t trial = 0; trial < trials; ++trial) {
    at::Tensor to = out.narrow(0, trial * each, each);
    const at::Tensor from = in.narrow(0, trial * each, each);
    in.scalar_type() == at::kFloat ? start<float>(dropout, static_cast<size_t>(trial), from, to)
                                   : start<double>(dropout, static_cast<size_t>(trial), from, to);
  }
  return out;
}

}  // namespace hivq

#endif
