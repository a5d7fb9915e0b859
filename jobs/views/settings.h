#pragma once

// A job's results by setting: the mean over the trials that differ only in the seed or in the split of the classes,
// beside the figure that the literature has for that row. Pure.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "jobs/views/results.h"

namespace hivq {

struct Spread {
  double mean = 0;
  std::optional<double> deviation;  // of the sample; nothing for one value
  size_t count = 0;
};

/// What changes from one setting to the next, over the pairs of trials with equal seed and split.
struct Difference {
  double mean = 0;
  std::optional<double> standard_error;  // nothing for one pair
  size_t pairs = 0;                      // 0: there are none; then it is the difference of the means
  bool clear = false;                    // the 95 % interval (Student's t) leaves 0 out
  std::optional<double> published;       // the same difference in the literature

  /// The literature has the same sign; nothing where one of the two is missing or 0.
  std::optional<bool> agrees() const;
};

struct Setting {
  std::string label;  // the variant, and the parameters that tell it apart; `all` without these
  std::string variant;
  std::map<std::string, std::string> params;  // besides the variant
  size_t trials = 0;                          // with a value or not
  std::optional<Spread> before, after;        // the sweep's metric, untrained and last
  std::optional<double> published;
  std::optional<Difference> from_above;  // to the setting above
};

struct BySetting {
  std::string metric;
  std::vector<std::string> averaged;  // keys of what differs within a setting: train.seed, data.normal_classes
  std::vector<Setting> settings;      // in the order of the trials, so of the variants
  /// Where the settings are splits of one experiment and all have a value: their mean, the figure to compare.
  std::optional<Setting> mean;

  /// It says more than the trials alone: some setting has several, or a published figure.
  bool worthwhile() const;
};

BySetting by_setting(const Results& results);

/// What the numbers are, the table, and how many neighbours keep the published order. Nothing where it is not
/// worthwhile.
std::string settings_text(const BySetting& results, const TableStyle& style);
/// One line a setting, in full precision.
std::string settings_csv(const BySetting& results);

}  // namespace hivq
