#pragma once

// A job's trials as results: ranked by the sweep's metric, with what tells them apart. Pure.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/messages.h"
#include "common/result.h"
#include "jobs/importance.h"
#include "jobs/table.h"

namespace hivq {

/// The newest training loss of a trial; not part of its evaluations.
struct LastLoss {
  int64_t step = 0;
  double value = 0;
};

struct ResultRow {
  TrialView trial;
  uint64_t rank = 0;                    // by the sweep's metric, from 1; 0: it has no value
  std::optional<double> before, after;  // the metric, untrained and last
  std::optional<LastLoss> loss;
  std::string epochs;     // that the trial shall train
  bool feasible = true;   // it keeps the sweep's constraints
  bool on_front = false;  // of several metrics: no other trial is better in one and nowhere worse
  Millis duration = 0;
};

struct Results {
  JobView job;
  std::vector<std::string> params;  // that differ between trials
  /// Those of `params` that the name of the variant does not tell already.
  std::vector<std::string> told_params;
  bool has_variants = false;
  bool has_front = false;                   // the sweep has several metrics
  std::vector<std::string> metrics;         // the further ones of such a sweep
  std::map<std::string, double> published;  // the metric in the literature, by variant
  std::vector<ResultRow> rows;              // the best first, or as sort() put them
};

/// `losses` by the trial's index.
Results make_results(const JobDetail& detail, const std::map<uint64_t, LastLoss>& losses, Millis now);

/// Sorts by `rank`, `trial`, `variant`, `state`, `duration`, `loss`, a parameter or a metric. A metric that begins as
/// the sweep's does is sorted as the sweep's goal says, all else rises. Trials without a value come last. Errors: an
/// unknown name, with those that there are.
Status sort(Results& results, const std::string& name, bool reverse);
/// Keeps the rows that meet a condition `NAME OP VALUE` on what they can be sorted by, OP one of = != < <= > >=. A row
/// without a value meets none. The value may stand in quotes. Ranks stay. Errors: no condition, an unknown name with
/// those that there are.
Status keep(Results& results, const std::string& condition);

/// `extra`: a metric to show besides the sweep's.
Table results_table(const Results& results, const std::string& extra = "");
/// Every parameter and every metric in full precision.
std::string results_csv(const Results& results);

/// What each trial that does not run was given, and what came of it: for importance().
std::vector<Outcome> outcomes_of(const JobDetail& detail, const std::string& metric);

/// The sweep's stopper ended it before its last epoch.
bool stopped_early(const TrialView& trial);

/// The last part of the key, or the whole where that would be ambiguous: `lr` for `train.lr`.
std::string short_key(const std::string& key, const std::vector<std::string>& keys);
/// What tells the trial apart: `hierarchical lr=1e-3`, or its name `1/3`.
std::string trial_label(const TrialView& trial, const Results& results);

}  // namespace hivq
