#include "worker/figures/heat.h"

#include <torch/torch.h>

#include <algorithm>

namespace hivq {

at::Tensor heat(const at::Tensor& map, const HeatRange& range) {
  const double span = std::max(range.high - range.low, 1e-12);
  const at::Tensor level = ((map.to(at::kCPU, at::kFloat) - range.low) / span).clamp(0, 1);
  // Three tents, a quarter apart: blue around 1/4, green around 1/2, red around 3/4.
  const auto tent = [&](double centre) { return (1.5 - (4 * (level - centre)).abs()).clamp(0, 1); };
  return at::stack({tent(0.75), tent(0.5), tent(0.25)}, 2).mul(255).round().to(at::kByte);
}

at::Tensor heat_overlay(const at::Tensor& image, const at::Tensor& map, const HeatRange& range) {
  return (image.to(at::kFloat) * 0.5 + heat(map, range).to(at::kFloat) * 0.5).round().to(at::kByte);
}

at::Tensor resized(const at::Tensor& image, int64_t size) {
  const at::Tensor planes = image.permute({2, 0, 1}).unsqueeze(0).to(at::kFloat).contiguous();
  return at::_upsample_bilinear2d_aa(planes, {size, size}, /*align_corners=*/false)
      .clamp(0, 255)
      .round()
      .to(at::kByte)[0]
      .permute({1, 2, 0})
      .contiguous();
}

}  // namespace hivq
