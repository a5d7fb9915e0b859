#include "jobs/search/trial_set.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

namespace hivq {

const SeenTrial* TrialSet::put(const Space& space, const Observation& seen, bool earlier) {
  auto point = space.point(seen.params);
  if (!point && earlier) return nullptr;
  if (earlier) ++earlier_;
  SeenTrial trial{earlier ? -static_cast<int64_t>(earlier_) : seen.index,
                  point ? std::move(*point) : std::vector<double>(space.size(), 0.5),
                  seen.state,
                  seen.stopped,
                  seen.curve,
                  seen.values,
                  seen.violation};
  if (!point || !std::all_of(seen.values.begin(), seen.values.end(), [](double v) { return std::isfinite(v); })) {
    trial.values.clear();
  }
  SeenTrial& kept = trials_[trial.index];
  kept = std::move(trial);
  return &kept;
}

bool ranks_before(const SeenTrial& a, const SeenTrial& b) {
  const auto key = [](const SeenTrial& t) {
    const int64_t reached = t.stopped ? t.last_epoch() : std::numeric_limits<int64_t>::max();
    return std::tuple(t.violation, -reached, t.values.front(), t.index);
  };
  return key(a) < key(b);
}

}  // namespace hivq
