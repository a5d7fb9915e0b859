#pragma once

// A Gaussian process over the space and expected improvement: Jones et al., "Efficient global optimization of
// expensive black-box functions", J. Global Optim. 13 (1998); Matérn 5/2 kernel with a length in each dimension, as in
// Snoek et al., "Practical Bayesian optimization of machine learning algorithms", NeurIPS 2012.

#include <memory>

#include "jobs/search/searcher.h"

namespace hivq {

/// `search: gp`. Trials that have not ended count with the value that the process expects of them; failed ones, and
/// those that miss a constraint, with the worst value of all. The process knows at most 160 trials: the best ones and a
/// fixed random part of the others. A proposal takes milliseconds: for trials that take minutes.
std::unique_ptr<Searcher> make_gp_search(const SweepSpec& sweep);

}  // namespace hivq
