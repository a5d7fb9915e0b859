#pragma once

// A job's figures, from its results and curves to SVG files.

#include <string>
#include <vector>

#include "jobs/client.h"
#include "jobs/plot.h"
#include "jobs/views/results.h"

namespace hivq::cli {

inline constexpr size_t most_plotted = 20;  // trials in one figure: the best

/// Untrained and trained metric of the best trials, the best on top; or, where several trials repeat a setting or it
/// has a published figure, the settings' means with their deviation, in the order of the variants.
BarChart metric_bars(const Results& results);

/// A metric's curve for each of the best trials; `series` by the trial's index.
LineChart metric_curves(const Results& results, const std::string& metric, const std::string& title,
                        const std::map<uint64_t, std::vector<MetricPoint>>& series);

/// Asks for the curves and writes METRIC.svg, loss.svg and metric-over-steps.svg into the folder; their paths. A figure
/// without anything to show is left out. Errors: the folder cannot be written, the coordinator does not answer.
Result<std::vector<std::string>> write_figures(Client& client, const Results& results, const std::string& folder);

/// The newest training loss of each trial that has one, by its index; of at most `most_asked` trials.
std::map<uint64_t, LastLoss> newest_losses(Client& client, const JobDetail& detail);

}  // namespace hivq::cli
