#pragma once

// Tree-structured Parzen estimator: Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011; in
// the multivariate form of Falkner et al., "BOHB", ICML 2018, and with what Watanabe, "Tree-structured Parzen
// estimator: understanding its algorithm components", 2023, found to matter. BOHB is the same over the results at
// rungs.
//
// Two densities over the space: l of the better trials, g of all others. Of candidates drawn from l the one with the
// largest l/g is proposed. Trials that have not ended count as others (a constant liar), so that parallel proposals
// spread out; so do failed ones. Those that miss a constraint rank behind those that keep them, by how far.

#include <memory>

#include "jobs/search/searcher.h"

namespace hivq {

/// `search: tpe` or `bohb`. A proposal costs O(1024 · parameters) however many trials were told: beyond 1024 the
/// density of the others is that of a fixed random part of them.
std::unique_ptr<Searcher> make_tpe_search(const SweepSpec& sweep);

}  // namespace hivq
