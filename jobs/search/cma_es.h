#pragma once

// Covariance matrix adaptation: Hansen, "The CMA evolution strategy: a tutorial", arXiv 1604.00772 (2016), with its
// default parameters, on the unit cube. What lies outside is drawn again, then moved to the border. A search that has
// contracted to a point begins anew elsewhere.

#include <memory>

#include "jobs/search/searcher.h"

namespace hivq {

/// `search: cma-es`. A generation's trials are proposed once all of the one before have ended. In finite ranges the
/// distribution stays as wide as a cell, so that the neighbours remain in reach. The earlier sweep's best trial is the
/// first mean.
std::unique_ptr<Searcher> make_cma_es_search(const SweepSpec& sweep);

}  // namespace hivq
