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
  std::vector<std::string_view> keys;  // the fields that it reads; the first one is named in errors
  /// The sentence of the error, or nothing where the trial keeps the rule.
  std::optional<std::string> (*broken)(const TrialSpec&);
};

std::span<const Rule> all_rules();

/// A parameter's values, as far as rules are concerned: the choices, every integer, or both ends of a continuous range.
std::vector<ParamValue> values_of(const SearchRange& range, int64_t most);

/// A rule that some trial of the job breaks.
struct BrokenRule {
  std::string key;      // the field that the error stands at
  std::string variant;  // the name of the variant that breaks it; empty: none in particular
  std::string sentence;
};

/// Checks the rules for every variant and every combination of those parameters that a rule reads.
std::vector<BrokenRule> broken_rules(const JobSpec& job);

}  // namespace hivq
