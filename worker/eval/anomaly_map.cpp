#include "worker/eval/anomaly_map.h"

#include <torch/torch.h>

namespace hivq {
namespace {

constexpr int64_t kUpsampling = 16;  // pixels per cell of the feature grid
constexpr int64_t kPooling = 16;     // pixels

at::Tensor on_both_axes(const at::Tensor& matrix, const at::Tensor& map) {
  return at::matmul(at::matmul(matrix, map), matrix.t());
}

}  // namespace

at::Tensor anomaly_map(const at::Tensor& h0, const at::Tensor& reconstruction) {
  const int64_t grid = std::llround(std::sqrt(static_cast<double>(h0.size(1))));
  return at::linalg_vector_norm(reconstruction - h0, 2, {2}).view({-1, grid, grid});
}

MapScoring make_map_scoring(int64_t grid, const at::TensorOptions& options) {
  const at::Tensor cells = at::eye(grid, options).unsqueeze(0);  // column j is the map of cell j alone
  const at::Tensor upsampled_cells = at::upsample_linear1d(cells, {kUpsampling * grid}, /*align_corners=*/true);
  const at::Tensor pooled = at::avg_pool1d(upsampled_cells, {kPooling}, {1});
  return {upsampled_cells[0].t().contiguous(), pooled[0].t().contiguous()};
}

at::Tensor upsampled(const MapScoring& scoring, const at::Tensor& map) { return on_both_axes(scoring.upsample, map); }

ImageScores image_scores(const MapScoring& scoring, const at::Tensor& map, const at::Tensor& upsampled_map) {
  const at::Tensor pixels = upsampled_map.flatten(1);
  return {on_both_axes(scoring.pool, map).amax({1, 2}), pixels.mean(1), pixels.std(1, /*unbiased=*/false)};
}

ImageScores image_scores(const MapScoring& scoring, const at::Tensor& map) {
  return image_scores(scoring, map, upsampled(scoring, map));
}

}  // namespace hivq
