#pragma once

// How well scores rank anomalous samples above normal ones: AUROC, average precision and F1-max, exactly, from one pass
// over the samples in falling order of their scores.

#include <cstdint>
#include <optional>
#include <span>

namespace hivq {

struct Ranking {
  /// The area under the receiver operating characteristic: the probability that an anomalous sample scores higher than
  /// a normal one, where a tie counts one half. Never flipped when below 0.5.
  double auroc = 0;
  /// Σ (recall_n − recall_{n−1}) precision_n over the distinct scores as thresholds, from the highest (scikit-learn's).
  double average_precision = 0;
  /// The greatest F1 = 2 precision recall / (precision + recall) of all thresholds.
  double f1_max = 0;
};

/// Takes the samples step by step. All that share a score are one step, so the order among ties does not matter.
class RankingMetrics {
 public:
  /// The samples of all steps together.
  RankingMetrics(uint64_t positives, uint64_t negatives) : positives_(positives), negatives_(negatives) {}

  /// The samples of the next lower score.
  void step(uint64_t positives, uint64_t negatives) {
    if (positives > 0) rise(positives, negatives);
    true_positives_ += positives;
    false_positives_ += negatives;
  }

  /// Nothing where one of the two kinds is absent.
  std::optional<Ranking> result() const;

 private:
  __extension__ using Wide = unsigned __int128;

  void rise(uint64_t positives, uint64_t negatives);

  uint64_t positives_, negatives_;
  uint64_t true_positives_ = 0, false_positives_ = 0;
  Wide twice_wins_ = 0;  // Mann–Whitney's U, doubled so that half a win per tie stays an integer
  double precision_sum_ = 0;
  double f1_max_ = 0;
};

/// Of samples in any order. `anomalous` holds 0 or 1 for each score; the lengths must agree. Nothing where one of the
/// two kinds is absent, or where a score is NaN, since NaN has no rank.
std::optional<Ranking> ranking(std::span<const float> scores, std::span<const uint8_t> anomalous);

}  // namespace hivq
