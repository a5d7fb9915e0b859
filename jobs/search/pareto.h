#pragma once

// Several objectives, all to be minimised, and constraints: Deb et al., "A fast and elitist multiobjective genetic
// algorithm: NSGA-II", IEEE Trans. Evol. Comput. 6 (2002).

#include <cstdint>
#include <span>
#include <vector>

namespace hivq {

struct Solution {
  std::vector<double> values;
  double violation = 0;  // of the constraints; 0: feasible
};

/// a is better: by less violation where one violates; otherwise nowhere worse and somewhere better (section VI.A).
bool dominates(const Solution& a, const Solution& b);

/// The front of each solution: 0 is not dominated, 1 only by those of front 0, … (section III.A).
std::vector<size_t> fronts_of(std::span<const Solution> solutions);

/// How lonely each member of one front is; infinite at the ends (section III.B).
std::vector<double> crowding_of(std::span<const Solution> front);

/// The volume that two objectives dominate below a reference point; solutions beyond it add nothing.
double hypervolume_2d(std::span<const Solution> solutions, double reference_first, double reference_second);

}  // namespace hivq
