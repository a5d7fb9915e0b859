#pragma once

// NSGA-II: Deb et al., IEEE Trans. Evol. Comput. 6 (2002): several objectives and constraints. Simulated binary
// crossover and polynomial mutation (Deb & Agrawal, 1995) in ordered dimensions, exchange and a new draw in the others.

#include <memory>

#include "jobs/search/searcher.h"

namespace hivq {

/// `search: nsga2`. A generation's trials are proposed once all of the one before have ended; the first one fills the
/// space with Sobol' points. Trials of an earlier sweep are candidates for parents of the second generation.
std::unique_ptr<Searcher> make_nsga2_search(const SweepSpec& sweep);

}  // namespace hivq
