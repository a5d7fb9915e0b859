#include <algorithm>

#include "common/result.h"
#include "tests/coordinator/simulation.h"

namespace hivq {

SimulationOptions minimise(SimulationOptions failing) {
  const SimulationResult first = simulate(failing);
  check(!first.violation.empty(), "there is nothing to minimise");
  const auto fails_with = [&](const std::vector<SimulationFault>& faults) {
    failing.faults.emplace(faults.begin(), faults.end());
    return simulate(failing).violation.substr(0, 1) == first.violation.substr(0, 1);
  };
  std::vector<SimulationFault> needed(first.faults.begin(), first.faults.end());
  bool smaller = true;
  for (size_t size = needed.size(); !needed.empty() && (size > 1 || smaller); size = std::max<size_t>(1, size / 2)) {
    smaller = size > 1;  // single ones again and again, until all are needed
    for (size_t at = 0; at < needed.size();) {
      std::vector<SimulationFault> rest = needed;
      const auto begin = rest.begin() + static_cast<ptrdiff_t>(at);
      rest.erase(begin, begin + static_cast<ptrdiff_t>(std::min(size, rest.size() - at)));
      if (fails_with(rest)) {
        needed = std::move(rest);
        smaller = true;
      } else {
        at += size;
      }
    }
  }
  failing.faults.emplace(needed.begin(), needed.end());
  return failing;
}

}  // namespace hivq
