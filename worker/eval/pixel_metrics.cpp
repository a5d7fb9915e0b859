#include "worker/eval/pixel_metrics.h"

#include <cmath>
#include <limits>

#include "worker/eval/region_overlap.h"

namespace hivq {
namespace {

/// Gathers the pixels that share a score into one step of the metrics.
class Sweep {
 public:
  Sweep(RankingMetrics& ranking, RegionOverlap& overlap, std::span<const double> share)
      : ranking_(ranking), overlap_(overlap), share_(share) {}

  void take(std::span<const ScoreEntry> entries) {
    for (const ScoreEntry& entry : entries) {
      if (entry.key != key_) finish();
      key_ = entry.key;
      if (entry.tag == 0) {
        ++negatives_;
      } else {
        ++positives_;
        sum_ += share_[entry.tag];
      }
    }
  }

  void finish() {
    ranking_.step(positives_, negatives_);
    overlap_.step(negatives_, sum_);
    positives_ = negatives_ = 0, sum_ = 0;
  }

 private:
  RankingMetrics& ranking_;
  RegionOverlap& overlap_;
  std::span<const double> share_;
  uint32_t key_ = 0;
  uint64_t positives_ = 0, negatives_ = 0;
  double sum_ = 0;
};

}  // namespace

Status PixelScores::add(std::span<const float> map, std::span<const uint8_t> mask, int64_t height, int64_t width) {
  check(static_cast<int64_t>(map.size()) == height * width, "PixelScores: as many scores as height times width");
  entries_.resize(map.size());
  bool ranked = true;
  for (size_t i = 0; i < map.size(); ++i) {
    ranked = ranked && !std::isnan(map[i]);
    entries_[i] = {falling_key(map[i]), 0};
  }
  if (!ranked) return error("a score of the anomaly map is NaN, which has no rank");
  if (!mask.empty()) {
    const Regions regions = connected_regions(mask, height, width);
    check(share_.size() + regions.area.size() <= std::numeric_limits<uint32_t>::max(), "PixelScores: 2^32 regions");
    const auto before = static_cast<uint32_t>(share_.size() - 1);
    for (size_t i = 0; i < map.size(); ++i) entries_[i].tag = regions.label[i] == 0 ? 0 : before + regions.label[i];
    for (const uint32_t area : regions.area) {
      share_.push_back(1.0 / area);
      positives_ += area;
    }
  }
  return sort_.add(entries_);
}

Result<std::optional<PixelMetrics>> PixelScores::compute() {
  const uint64_t negatives = sort_.size() - positives_;
  RankingMetrics ranking(positives_, negatives);
  RegionOverlap overlap(negatives, share_.size() - 1);
  Sweep sweep(ranking, overlap, share_);
  if (Status drained = sort_.drain([&](std::span<const ScoreEntry> block) { sweep.take(block); }); !drained) {
    return drained.error();
  }
  sweep.finish();
  const std::optional<Ranking> ranks = ranking.result();
  const std::optional<double> area = overlap.area();
  if (!ranks || !area) return std::optional<PixelMetrics>();
  return std::optional(PixelMetrics{*ranks, *area});
}

}  // namespace hivq
