#include "worker/model/jitter.h"

#include <torch/torch.h>

#include <cmath>
#include <numbers>

#include "jobs/philox.h"

namespace hivq {
namespace {

constexpr uint32_t kStream = 0x6a697474;  // keeps the noise apart from dropout's masks, which count their sites from 0

/// In (0, 1].
double unit(uint32_t bits) { return (static_cast<double>(bits) + 1) / 4294967296.0; }

/// Standard normal noise of one image, four numbers a block (Box and Muller).
void fill_normal(float* out, int64_t count, uint32_t image, const JitterSource& source) {
  const PhiloxKey key = {static_cast<uint32_t>(source.seed), static_cast<uint32_t>(source.seed >> 32)};
  for (int64_t at = 0; at < count; at += 4) {
    const PhiloxCounter bits =
        philox({static_cast<uint32_t>(at / 4), image, static_cast<uint32_t>(source.step), kStream}, key);
    for (int64_t pair = 0; pair < 4 && at + pair < count; pair += 2) {
      const double radius = std::sqrt(-2 * std::log(unit(bits[static_cast<size_t>(pair)])));
      const double angle = 2 * std::numbers::pi * unit(bits[static_cast<size_t>(pair) + 1]);
      out[at + pair] = static_cast<float>(radius * std::cos(angle));
      if (at + pair + 1 < count) out[at + pair + 1] = static_cast<float>(radius * std::sin(angle));
    }
  }
}

}  // namespace

at::Tensor jitter(at::IntArrayRef shape, double scale, const JitterSource& source) {
  at::Tensor noise = at::zeros(shape, at::kFloat);
  if (scale == 0) return noise;
  const int64_t images = shape[0], count = images == 0 ? 0 : noise.numel() / images;
  float* out = noise.mutable_data_ptr<float>();
  at::parallel_for(0, images, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      fill_normal(out + i * count, count, static_cast<uint32_t>(source.first_image + i), source);
    }
  });
  return noise.mul_(scale);
}

at::Tensor jittered(const at::Tensor& h0, const at::Tensor& noise) {
  const at::Tensor size = at::linalg_vector_norm(h0, 2, {2}, /*keepdim=*/true) / static_cast<double>(h0.size(2));
  return h0 + noise.to(h0.options()) * size;
}

}  // namespace hivq
