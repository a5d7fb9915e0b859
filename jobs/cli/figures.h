#pragma once

// A job's figures, from its results and curves to SVG and PNG files and to the terminal.

#include <string>
#include <variant>
#include <vector>

#include "jobs/client.h"
#include "jobs/plot_text.h"
#include "jobs/views/results.h"

namespace hivq::cli {

inline constexpr size_t most_plotted = 20;  // trials in one figure: the best

/// Untrained and trained metric of the best trials, the best on top; or, where several trials repeat a setting or it
/// has a published figure, the settings' means with their deviation, in the order of the variants.
BarChart metric_bars(const Results& results);

/// A metric's curve for each of the best trials; `series` by the trial's index.
LineChart metric_curves(const Results& results, const std::string& metric, const std::string& title,
                        const std::map<uint64_t, std::vector<MetricPoint>>& series);

struct Figure {
  std::string name;  // of its file, without the ending
  std::variant<BarChart, LineChart> chart;
};

/// METRIC, loss and metric-over-steps, without those that have nothing to show. `metric`: another than the sweep's;
/// empty: that. Errors: the coordinator does not answer, no trial has the metric.
Result<std::vector<Figure>> job_figures(Client& client, const Results& results, const std::string& metric = "");

enum class FigureFormat { svg, png };
/// Writes them into the folder; their paths. Errors: it cannot be written.
Result<std::vector<std::string>> write_figures(const std::vector<Figure>& figures, const std::string& folder,
                                               FigureFormat format);
std::string to_text(const std::vector<Figure>& figures, const TextStyle& style);

/// The newest training loss of each trial that has one, by its index; of at most `most_asked` trials.
std::map<uint64_t, LastLoss> newest_losses(Client& client, const JobDetail& detail);

}  // namespace hivq::cli
