#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace hivq {

/// What the backbone sees of an image: resized bilinearly with anti-aliasing (align_corners=False) to a square, divided
/// by 255, and normalised with ImageNet's mean and standard deviation (MODEL.md, "Tensors"). `image` uint8 [H, W, 3] →
/// float32 [3, image_size, image_size].
at::Tensor preprocess(const at::Tensor& image, int64_t image_size);

/// The normalisation alone: [B, 3, H, W], 0 … 1.
at::Tensor normalised(const at::Tensor& images);

}  // namespace hivq
