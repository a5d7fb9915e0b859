#pragma once

// Which parameters a sweep's metric depends on: functional ANOVA over a random forest (Hutter, Hoos and Leyton-Brown,
// "An efficient approach for assessing hyperparameter importance", ICML 2014). Pure.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/result.h"

namespace hivq {

/// One trial that has ended: its parameters as text, and what came of it.
struct Outcome {
  std::map<std::string, std::string> params;
  double value = 0;
};

/// The share of the forest's variance that one parameter explains by itself, or two together beyond each by itself.
struct Share {
  std::string parameter, with;  // `with` is empty for one alone
  double share = 0;             // 0 … 1: the mean over the trees …
  double deviation = 0;         // … and their standard deviation
};

struct Importance {
  std::vector<Share> shares;  // the largest first; all parameters, and all pairs of them
  double explained = 0;       // R² of the forest on trials that a tree has not seen; near 0 the shares say nothing
  uint64_t trials = 0;
};

/// Parameters that are numbers in all trials are split by size, others by value; a trial that lacks one has a value of
/// its own there. The mean is over the values that were tried, each as often as it was: a logarithmic range needs no
/// word, and a searcher's favourite region counts as much as it was visited. Outcomes that are not finite are left
/// out. The same outcomes and seed give the same result on every machine.
/// Errors: fewer than `least_trials` outcomes, no parameter that differs, or a metric that is the same in all.
Result<Importance> importance(const std::vector<Outcome>& outcomes, uint64_t seed = 0);

inline constexpr uint64_t least_trials = 8;

}  // namespace hivq
