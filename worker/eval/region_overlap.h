#pragma once

// The per-region overlap (PRO) of anomaly maps with their ground truth, as MVTec's evaluation code defines it: against
// the share of normal pixels that a threshold flags, the mean over the defective regions of the share of the region
// that it flags. A region is a connected component of one image's ground truth, where pixels that touch by a side or
// a corner are connected (8-connectivity). AU-PRO is the area under this curve up to a share of 0.3, divided by 0.3.
// anomalib's AUPRO differs: it averages curves of single regions, resampled at equal steps of their index, and divides
// by the last share that it sampled, so it equals this only in the limit of many distinct scores.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace hivq {

/// The connected components of a mask.
struct Regions {
  std::vector<uint32_t> label;  // [height · width] 0 outside, else 1, 2 … in the order of their first pixels
  std::vector<uint32_t> area;   // of each component, in pixels; label − 1 is its index
};

/// `mask` [height · width], row-major, holds 0 where the pixel is normal.
Regions connected_regions(std::span<const uint8_t> mask, int64_t height, int64_t width);

/// Takes the pixels step by step in falling order of their scores. All that share a score are one step.
class RegionOverlap {
 public:
  static constexpr double kLimit = 0.3;  // of the share of normal pixels

  /// The normal pixels and the regions of all images together.
  RegionOverlap(uint64_t normal_pixels, uint64_t regions)
      : normal_pixels_(normal_pixels), regions_(static_cast<double>(regions)) {}

  /// The pixels of the next lower score: so many are normal; `share` is Σ 1/area of the region over the others.
  void step(uint64_t normal_pixels, double share) {
    if (flagged_ > kLimit * static_cast<double>(normal_pixels_)) return;
    advance(normal_pixels, share);
  }

  /// AU-PRO: in [0, 1]. Nothing without a normal pixel or without a region.
  std::optional<double> area() const;

 private:
  void advance(uint64_t normal_pixels, double share);

  uint64_t normal_pixels_;
  double regions_;
  double flagged_ = 0;  // normal pixels so far
  double share_ = 0;    // Σ over the regions of the share that is flagged
  double area_ = 0;     // in these units
};

}  // namespace hivq
