#include "worker/data/preprocess.h"

#include <torch/torch.h>

#include "common/result.h"

namespace hivq {

at::Tensor preprocess(const at::Tensor& image, int64_t image_size) {
  check(image.scalar_type() == at::kByte && image.dim() == 3 && image.size(2) == 3, "preprocess: uint8 [H, W, 3]");
  const at::Tensor mean = at::tensor({0.485f, 0.456f, 0.406f}).view({1, 3, 1, 1});
  const at::Tensor deviation = at::tensor({0.229f, 0.224f, 0.225f}).view({1, 3, 1, 1});
  const at::Tensor planes = image.permute({2, 0, 1}).unsqueeze(0).to(at::kFloat).contiguous();
  const at::Tensor resized = at::_upsample_bilinear2d_aa(planes, {image_size, image_size}, /*align_corners=*/false);
  return (resized / 255).sub_(mean).div_(deviation).squeeze(0);
}

}  // namespace hivq
