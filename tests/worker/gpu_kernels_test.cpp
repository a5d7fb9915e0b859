// The kernels for GPUs, run on the CPU thread by thread.

#include "tests/worker/model_fixture.h"

namespace hivq {
namespace {

/// What CUDA gives to a kernel.
struct Place {
  unsigned x = 0;
};
Place blockIdx, blockDim{256}, threadIdx;
unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(uint64_t{a} * b >> 32); }

#define __device__
#define __global__
#include "worker/gpu/kernels.cu"

template <typename T>
at::Tensor run(void (*kernel)(const T*, T*, long long, long long, long long, unsigned, const long long*, unsigned,
                              unsigned, unsigned, unsigned, T),
               const Dropout& dropout, const at::Tensor& x) {
  const DropoutStream& stream = dropout.streams[0];
  at::Tensor out = at::full_like(x, -7);
  const int64_t images = x.size(0), count = x.numel() / images, blocks = (count + 255) / 256 * 32;
  const long long step = stream.step;
  const DropoutMask mask = mask_of_rate(stream.rate);
  for (blockIdx.x = 0; blockIdx.x * blockDim.x < images * blocks; ++blockIdx.x) {
    for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) {
      kernel(x.const_data_ptr<T>(), out.mutable_data_ptr<T>(), count, blocks, images,
             static_cast<unsigned>(stream.first_image), &step, dropout.site, static_cast<unsigned>(stream.seed),
             static_cast<unsigned>(stream.seed >> 32), mask.threshold, static_cast<T>(mask.scale));
    }
  }
  return out;
}

TEST(GpuKernels, DropoutGivesTheMaskOfTheTensorOperations) {
  const Dropout dropout{{{0.1, 0xfedcba9876543210, 4000000000u, 5}}, 3};
  for (const int64_t count : {1, 7, 255, 256, 257, 1000, 4096}) {
    const at::Tensor x = at::randn({3, count});
    EXPECT_TRUE(at::equal(run<float>(dropout_float, dropout, x), x * dropout_mask(dropout, x))) << count;
    const at::Tensor wide = x.to(at::kDouble);
    EXPECT_TRUE(at::equal(run<double>(dropout_double, dropout, wide), wide * dropout_mask(dropout, wide))) << count;
  }
}

}  // namespace
}  // namespace hivq
