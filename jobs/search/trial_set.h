#pragma once

// What a searcher was told, as points of its space.

#include <map>
#include <vector>

#include "jobs/search/searcher.h"

namespace hivq {

struct SeenTrial {
  int64_t index = 0;          // below 0: of an earlier sweep
  std::vector<double> point;  // settled; NaN: inactive
  Observation::State state = Observation::State::open;
  bool stopped = false;
  std::vector<CurvePoint> curve;
  std::vector<double> values;  // empty: none
  double violation = 0;

  bool has_value() const { return state == Observation::State::ended && !values.empty(); }
  int64_t last_epoch() const { return curve.empty() ? 0 : curve.back().epoch; }
};

/// The trials that lie in the space, by index. An earlier sweep's have the indices -1, -2, … in the order of the tells:
/// these must come in the same order again.
class TrialSet {
 public:
  /// Nothing for one of an earlier sweep that does not lie in the space; one of this sweep that does not counts as
  /// without a value, so that nobody waits for it.
  const SeenTrial* put(const Space& space, const Observation& seen, bool earlier);

  const std::map<int64_t, SeenTrial>& trials() const { return trials_; }
  size_t earlier() const { return earlier_; }

 private:
  std::map<int64_t, SeenTrial> trials_;
  size_t earlier_ = 0;
};

/// Whether a is the better one by constraints, then by how far it came (one that was stopped is worse than all that
/// came farther), then by its first value, then by index.
bool ranks_before(const SeenTrial& a, const SeenTrial& b);

}  // namespace hivq
