#include "worker/eval/region_overlap.h"

#include <algorithm>

#include "common/result.h"

namespace hivq {
namespace {

/// Labels the component of the pixel at `start`, and gives its area.
uint32_t fill(std::span<const uint8_t> mask, int64_t height, int64_t width, int64_t start, uint32_t label,
              std::vector<uint32_t>& labels, std::vector<int64_t>& open) {
  uint32_t area = 0;
  labels[static_cast<size_t>(start)] = label;
  open.assign(1, start);
  while (!open.empty()) {
    const int64_t row = open.back() / width, column = open.back() % width;
    open.pop_back();
    ++area;
    for (int64_t y = std::max<int64_t>(row - 1, 0); y <= std::min(row + 1, height - 1); ++y) {
      for (int64_t x = std::max<int64_t>(column - 1, 0); x <= std::min(column + 1, width - 1); ++x) {
        const auto at = static_cast<size_t>(y * width + x);
        if (mask[at] == 0 || labels[at] != 0) continue;
        labels[at] = label;
        open.push_back(y * width + x);
      }
    }
  }
  return area;
}

}  // namespace

Regions connected_regions(std::span<const uint8_t> mask, int64_t height, int64_t width) {
  check(static_cast<int64_t>(mask.size()) == height * width, "connected_regions: as many pixels as height times width");
  Regions regions;
  regions.label.assign(mask.size(), 0);
  std::vector<int64_t> open;
  for (size_t at = 0; at < mask.size(); ++at) {
    if (mask[at] == 0 || regions.label[at] != 0) continue;
    const auto label = static_cast<uint32_t>(regions.area.size() + 1);
    regions.area.push_back(fill(mask, height, width, static_cast<int64_t>(at), label, regions.label, open));
  }
  return regions;
}

/// One side of the trapezoid rule; the step across the limit counts up to it, on the straight line between its ends.
void RegionOverlap::advance(uint64_t normal_pixels, double share) {
  const double limit = kLimit * static_cast<double>(normal_pixels_), width = static_cast<double>(normal_pixels);
  if (flagged_ + width <= limit) {
    area_ += width * (share_ + share / 2);
  } else {
    const double part = limit - flagged_;
    area_ += part * (share_ + share * (part / width) / 2);
  }
  flagged_ += width;
  share_ += share;
}

std::optional<double> RegionOverlap::area() const {
  if (normal_pixels_ == 0 || regions_ == 0) return std::nullopt;
  return area_ / (regions_ * kLimit * static_cast<double>(normal_pixels_));
}

}  // namespace hivq
