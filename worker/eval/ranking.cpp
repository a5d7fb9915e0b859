#include "worker/eval/ranking.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "common/result.h"

namespace hivq {

/// Only a step with positives changes a metric: recall stands still in the others, where precision and F1 fall.
void RankingMetrics::rise(uint64_t positives, uint64_t negatives) {
  const uint64_t lower = negatives_ - false_positives_ - negatives;  // negatives that score lower
  twice_wins_ += static_cast<Wide>(positives) * (2 * static_cast<Wide>(lower) + negatives);
  const auto right = static_cast<double>(true_positives_ + positives);
  const auto flagged = static_cast<double>(true_positives_ + positives + false_positives_ + negatives);
  precision_sum_ += static_cast<double>(positives) * (right / flagged);
  f1_max_ = std::max(f1_max_, 2 * right / (flagged + static_cast<double>(positives_)));
}

std::optional<Ranking> RankingMetrics::result() const {
  check(true_positives_ == positives_ && false_positives_ == negatives_, "RankingMetrics: every sample in one step");
  if (positives_ == 0 || negatives_ == 0) return std::nullopt;
  const double pairs = static_cast<double>(positives_) * static_cast<double>(negatives_);
  return Ranking{static_cast<double>(twice_wins_) / (2 * pairs), precision_sum_ / static_cast<double>(positives_),
                 f1_max_};
}

std::optional<Ranking> ranking(std::span<const float> scores, std::span<const uint8_t> anomalous) {
  check(scores.size() == anomalous.size(), "ranking: as many scores as labels");
  std::vector<float> positive, negative;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) return std::nullopt;
    (anomalous[i] != 0 ? positive : negative).push_back(scores[i]);
  }
  std::ranges::sort(positive, std::greater());
  std::ranges::sort(negative, std::greater());

  RankingMetrics metrics(positive.size(), negative.size());
  for (size_t p = 0, n = 0; p < positive.size() || n < negative.size();) {
    const bool from_positive = n == negative.size() || (p < positive.size() && positive[p] > negative[n]);
    const float score = from_positive ? positive[p] : negative[n];
    const size_t p_before = p, n_before = n;
    while (p < positive.size() && positive[p] == score) ++p;
    while (n < negative.size() && negative[n] == score) ++n;
    metrics.step(p - p_before, n - n_before);
  }
  return metrics.result();
}

}  // namespace hivq
