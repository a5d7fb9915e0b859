#pragma once

// How well anomaly maps localise defects: the metrics over all pixels of a set of images, exact at any size of the set.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/result.h"
#include "worker/eval/ranking.h"
#include "worker/eval/score_sort.h"

namespace hivq {

struct PixelMetrics {
  Ranking ranking;        // a sample is a pixel
  double area_under_pro;  // region_overlap.h
};

/// Collects maps with their ground truth, then computes. Two numbers a pixel are kept, in memory or on disk.
class PixelScores {
 public:
  static constexpr size_t kMemory = 256 << 20;  // bytes: 334 images of 224 × 224 before the disk is used

  explicit PixelScores(size_t memory = kMemory, std::string folder = {}) : sort_(memory, std::move(folder)) {}

  /// One image: its map and mask [height · width], row-major; the mask holds 0 where a pixel is normal, and an empty
  /// one says that all are. Errors: a score that is NaN; the disk (score_sort.h).
  Status add(std::span<const float> map, std::span<const uint8_t> mask, int64_t height, int64_t width);

  /// The metrics of all images, once. Nothing where no pixel is normal, or none is defective.
  Result<std::optional<PixelMetrics>> compute();

 private:
  ScoreSort sort_;                     // a normal pixel's tag is 0, a defective one's its region's
  std::vector<double> share_ = {0.0};  // by tag: what one pixel is of its region, 1 / area
  uint64_t positives_ = 0;             // defective pixels
  std::vector<ScoreEntry> entries_;    // of one image
};

}  // namespace hivq
