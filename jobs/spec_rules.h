#pragma once

// Checks between fields: what no field's own range can say.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "jobs/spec.h"

namespace hivq {

struct Rule {
  std::vector<std::string_view> keys;  // the fields that it reads; an error stands at the first that the file sets
  /// The sentence of the error, or nothing where the trial keeps the rule.
  std::optional<std::string> (*broken)(const TrialSpec&);
};

std::span<const Rule> all_rules();

/// A rule that some trial of the job breaks.
struct BrokenRule {
  const Rule* rule;
  std::string parameter;  // a parameter of the sweep that the rule reads; empty: none
  std::string variant;    // the name of the variant that sets a field of the rule; empty: none
  std::string sentence;
};

/// Checks the rules for every variant and every combination of those parameters that a rule reads.
std::vector<BrokenRule> broken_rules(const JobSpec& job);

}  // namespace hivq
