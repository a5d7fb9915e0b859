#pragma once

// The metrics of one trial as tables that stay readable with many classes. Pure.

#include <map>
#include <string>

#include "jobs/table.h"

namespace hivq::cli {

/// First the metrics of the whole, untrained and last. Then those of parts, `auroc/bottle` or `codebook_live/0`, as a
/// table of parts by metrics (as last measured), one for each family of metrics that share parts. Last the classifier's
/// confusion, `confusion/TRUE/PREDICTED`, as a matrix. Empty where there are no metrics.
std::string metrics_text(const std::map<std::string, double>& initial, const std::map<std::string, double>& final,
                         const TableStyle& style);

}  // namespace hivq::cli
