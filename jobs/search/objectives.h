#pragma once

// A trial's metrics as a sweep sees them.

#include <map>
#include <set>
#include <string>
#include <vector>

#include "jobs/spec.h"

namespace hivq {

/// A metric's value, negated where the goal is to maximise.
double to_minimise(const std::string& goal, double value);

/// The sweep's metrics, all to be minimised; empty where one of them is missing.
std::vector<double> objective_values(const SweepSpec& sweep, const std::map<std::string, double>& metrics);

/// The names of all metrics that a sweep looks at: those it optimises, and those of its constraints.
std::set<std::string> metrics_of(const SweepSpec& sweep);

/// By how much the constraints are missed, summed, each in parts of its bound (of 1 where that is 0); 0: they are kept.
/// Infinite where a metric is missing.
double violation_of(const SweepSpec& sweep, const std::map<std::string, double>& metrics);

}  // namespace hivq
