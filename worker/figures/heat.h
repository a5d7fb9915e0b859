#pragma once

// Anomaly maps as colours.

#include <ATen/core/Tensor.h>

namespace hivq {

/// What the ends of the colour scale stand for.
struct HeatRange {
  double low = 0, high = 1;
};

/// map [h, w] → uint8 [h, w, 3], blue (low) over green to red (high), as OpenCV's COLORMAP_JET and the authors'
/// figures.
at::Tensor heat(const at::Tensor& map, const HeatRange& range);

/// The heat over an image uint8 [h, w, 3] of the same size: half of each.
at::Tensor heat_overlay(const at::Tensor& image, const at::Tensor& map, const HeatRange& range);

/// uint8 [h, w, 3] resized bilinearly to size × size, as the backbone sees it.
at::Tensor resized(const at::Tensor& image, int64_t size);

}  // namespace hivq
