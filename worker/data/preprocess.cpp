#include "worker/data/preprocess.h"

#include <torch/torch.h>

#include "common/result.h"

namespace hivq {

at::Tensor preprocess(const at::Tensor& image, int64_t image_size) {
  check(image.scalar_type() == at::kByte && image.dim() == 3 && image.size(2) == 3, "preprocess: uint8 [H, W, 3]");
  const at::Tensor planes = image.permute({2, 0, 1}).unsqueeze(0).to(at::kFloat).contiguous();
  const at::Tensor resized = at::_upsample_bilinear2d_aa(planes, {image_size, image_size}, /*align_corners=*/false);
  return normalised(resized / 255).squeeze(0);
}

at::Tensor normalised(const at::Tensor& images) {
  // torch::tensor, since at::tensor would be recorded without its values where TorchScript is made of this.
  const at::Tensor mean = torch::tensor({0.485f, 0.456f, 0.406f}, images.options()).view({1, 3, 1, 1});
  const at::Tensor deviation = torch::tensor({0.229f, 0.224f, 0.225f}, images.options()).view({1, 3, 1, 1});
  return (images - mean) / deviation;
}

}  // namespace hivq
