#pragma once

// Trials side by side: in what they differ, and what came of it. Pure.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/messages.h"
#include "common/result.h"
#include "jobs/table.h"

namespace hivq {

/// A trial with its job.
struct Compared {
  JobView job;
  std::string yaml;  // of the job
  TrialView trial;
};

struct Comparison {
  struct Line {
    std::string name;
    std::vector<std::string> values;  // one for each trial; empty: it has none
  };
  struct MetricLine {
    std::string name;
    std::vector<std::optional<double>> values;
  };
  std::vector<std::string> trials;  // their names
  std::vector<Line> facts;          // job, variant, state, duration
  std::vector<Line> settings;       // fields of the specification whose values differ
  std::vector<MetricLine> metrics;  // of the last evaluations: the job's first, then by name
};

/// Errors: a job whose specification this hivq cannot read.
Result<Comparison> compare(const std::vector<Compared>& trials, Millis now);

/// Metrics of parts (`auroc/bottle`) are left out; behind a figure stands its distance to the first trial's.
Table comparison_table(const Comparison& comparison);
/// Everything, in full precision.
std::string comparison_csv(const Comparison& comparison);

}  // namespace hivq
