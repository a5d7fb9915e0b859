#include "jobs/search/pareto.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace hivq {

bool dominates(const Solution& a, const Solution& b) {
  if (a.violation != b.violation) return a.violation < b.violation;
  bool better = false;
  for (size_t i = 0; i < a.values.size(); ++i) {
    if (a.values[i] > b.values[i]) return false;
    better |= a.values[i] < b.values[i];
  }
  return better;
}

std::vector<size_t> fronts_of(std::span<const Solution> solutions) {
  const size_t n = solutions.size();
  std::vector<size_t> fronts(n, 0), dominators(n, 0), current;
  std::vector<std::vector<size_t>> dominated(n);
  for (size_t a = 0; a < n; ++a) {
    for (size_t b = 0; b < n; ++b) {
      if (!dominates(solutions[a], solutions[b])) continue;
      dominated[a].push_back(b);
      ++dominators[b];
    }
  }
  for (size_t i = 0; i < n; ++i) {
    if (dominators[i] == 0) current.push_back(i);
  }
  for (size_t front = 0; !current.empty(); ++front) {
    std::vector<size_t> next;
    for (size_t a : current) {
      fronts[a] = front;
      for (size_t b : dominated[a]) {
        if (--dominators[b] == 0) next.push_back(b);
      }
    }
    current = std::move(next);
  }
  return fronts;
}

std::vector<double> crowding_of(std::span<const Solution> front) {
  constexpr double infinite = std::numeric_limits<double>::infinity();
  std::vector<double> crowding(front.size(), 0);
  if (front.empty()) return crowding;
  std::vector<size_t> order(front.size());
  for (size_t m = 0; m < front[0].values.size(); ++m) {
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return front[a].values[m] < front[b].values[m]; });
    const double range = front[order.back()].values[m] - front[order.front()].values[m];
    crowding[order.front()] = crowding[order.back()] = infinite;
    if (range <= 0) continue;
    for (size_t i = 1; i + 1 < order.size(); ++i) {
      crowding[order[i]] += (front[order[i + 1]].values[m] - front[order[i - 1]].values[m]) / range;
    }
  }
  return crowding;
}

double hypervolume_2d(std::span<const Solution> solutions, double reference_first, double reference_second) {
  std::vector<std::pair<double, double>> points;
  for (const Solution& s : solutions) {
    if (s.violation == 0 && s.values[0] < reference_first && s.values[1] < reference_second) {
      points.emplace_back(s.values[0], s.values[1]);
    }
  }
  std::sort(points.begin(), points.end());
  double volume = 0, ceiling = reference_second;
  for (const auto& [first, second] : points) {
    if (second >= ceiling) continue;
    volume += (reference_first - first) * (ceiling - second);
    ceiling = second;
  }
  return volume;
}

}  // namespace hivq
