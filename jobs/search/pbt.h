#pragma once

// Population-based training: Jaderberg et al., arXiv 1711.09846 (2017). A generation is a set of trials of
// `train.epochs` epochs each; a member goes on from the checkpoint of its predecessor, or, where that is among the
// worst fifth, from one of the best fifth with changed parameters (truncation selection, section 4.1.1 there).

#include <memory>

#include "jobs/search/searcher.h"

namespace hivq {

/// `search: pbt`. `trials` is population times generations. A generation is proposed once all of the one before have
/// ended: the comparison is then of equal training, and does not depend on which gang was faster. A member whose
/// predecessor failed takes another's place. The first generation fills the space with Sobol' points, or, where an
/// earlier sweep is told, begins with its best settings.
std::unique_ptr<Searcher> make_pbt_search(const SweepSpec& sweep);

}  // namespace hivq
