#pragma once

// From reconstruction to anomaly map to image scores (MODEL.md, "Scores").

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace hivq {

/// sqrt(Σ_channels (h̃0 − h0)²): [b, N, C] twice → [b, G, G], N = G·G.
at::Tensor anomaly_map(const at::Tensor& h0, const at::Tensor& reconstruction);

/// The linear maps behind the scores, each applied to rows and columns alike: M → A M Aᵀ.
struct MapScoring {
  at::Tensor upsample;  // [16G, G] bilinear, align_corners
  at::Tensor pool;      // [16G − 15, G] the same, then averaged over 16 with stride 1
};
MapScoring make_map_scoring(int64_t grid, const at::TensorOptions& options);

/// M [b, G, G] upsampled 16 times: [b, 16G, 16G].
at::Tensor upsampled(const MapScoring& scoring, const at::Tensor& map);

struct ImageScores {
  at::Tensor max;   // [b] maximum of the 16×16 average-pooled (stride 1) upsampled map
  at::Tensor mean;  // [b] of the upsampled map
  at::Tensor std;   // [b] of the upsampled map, population
};
/// Of a map [b, G, G] and of it upsampled.
ImageScores image_scores(const MapScoring& scoring, const at::Tensor& map, const at::Tensor& upsampled_map);
ImageScores image_scores(const MapScoring& scoring, const at::Tensor& map);

}  // namespace hivq
