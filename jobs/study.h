#pragma once

// Studies: jobs whose trials the user's own program runs (Optuna calls it define-by-run). What it may ask for is not
// known beforehand: a parameter joins the space when a trial asks for it first.
//
// A trial that did not ask for a parameter was not influenced by it. So that it still counts for the others, it is told
// with a value that is drawn for it as random search does: the same whenever it is needed.

#include <map>
#include <string>

#include "jobs/spec.h"

namespace hivq {

/// What is searched, and how, where a study's file does not say.
SweepSpec defaults_of_study();

/// The range of a study's parameter from YAML (or JSON): `{uniform: [0, 1], step: 0.1}`, `[relu, tanh]`. Errors: a
/// sentence that begins with the parameter's name.
Result<SearchRange> parse_range(const std::string& text, const std::string& name);
/// And back.
std::string to_yaml(const SearchRange& range);

/// A value of a range from the text that to_string() made of it. Errors: the range has no such value.
Result<ParamValue> read_value(const SearchRange& range, const std::string& name, const std::string& text);

/// Those of the values that the space has.
Params values_in(const SweepSpec& sweep, const std::map<std::string, std::string>& known);
/// The same, and a value for each other parameter of the space, drawn by (seed, setting, name).
Params filled(const SweepSpec& sweep, uint64_t setting, const std::map<std::string, std::string>& known);

/// Whether a study that is asked for is the one that is there: the same settings, and no parameter with another range.
/// What is there may have more parameters, found since. Errors: the first difference, `study.trials is 50 there and 100
/// here`.
Status same_study(const JobSpec& there, const JobSpec& wanted);

}  // namespace hivq
