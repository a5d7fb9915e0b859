#include "worker/eval/auroc.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/result.h"

namespace hivq {
namespace {

/// How many of the scores from `begin` on equal `score`. They are sorted.
size_t run_of(float score, const std::vector<float>& scores, size_t begin) {
  size_t end = begin;
  while (end < scores.size() && scores[end] == score) ++end;
  return end - begin;
}

}  // namespace

std::optional<double> auroc(std::span<const float> scores, std::span<const uint8_t> anomalous) {
  check(scores.size() == anomalous.size(), "auroc: as many scores as labels");
  std::vector<float> negative, positive;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) return std::nullopt;
    (anomalous[i] != 0 ? positive : negative).push_back(scores[i]);
  }
  if (negative.empty() || positive.empty()) return std::nullopt;
  std::ranges::sort(negative);
  std::ranges::sort(positive);

  // Mann–Whitney's U, doubled so that half a win per tie stays an integer: exact up to 2^63 pairs.
  uint64_t twice_wins = 0;
  size_t below = 0;  // negatives that score lower than positive[i]
  for (size_t i = 0; i < positive.size();) {
    while (below < negative.size() && negative[below] < positive[i]) ++below;
    const size_t equal = run_of(positive[i], positive, i), ties = run_of(positive[i], negative, below);
    twice_wins += equal * (2 * below + ties);
    i += equal;
  }
  const double pairs = static_cast<double>(positive.size()) * static_cast<double>(negative.size());
  return static_cast<double>(twice_wins) / (2 * pairs);
}

}  // namespace hivq
