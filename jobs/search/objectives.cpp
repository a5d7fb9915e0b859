#include "jobs/search/objectives.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hivq {

double to_minimise(const std::string& goal, double value) { return goal == "minimize" ? value : -value; }

namespace {

std::vector<Objective> objectives_of(const SweepSpec& sweep) {
  return sweep.metrics.empty() ? std::vector<Objective>{{sweep.metric, sweep.goal}} : sweep.metrics;
}

}  // namespace

std::set<std::string> metrics_of(const SweepSpec& sweep) {
  std::set<std::string> names;
  for (const Objective& objective : objectives_of(sweep)) names.insert(objective.metric);
  for (const Constraint& constraint : sweep.constraints) names.insert(constraint.metric);
  return names;
}

std::vector<double> objective_values(const SweepSpec& sweep, const std::map<std::string, double>& metrics) {
  std::vector<double> values;
  for (const auto& [metric, goal] : objectives_of(sweep)) {
    const auto found = metrics.find(metric);
    if (found == metrics.end()) return {};
    values.push_back(to_minimise(goal, found->second));
  }
  return values;
}

double violation_of(const SweepSpec& sweep, const std::map<std::string, double>& metrics) {
  double violation = 0;
  const auto miss = [&](double amount, double bound) {
    if (!(amount <= 0)) violation += amount / (bound == 0 ? 1 : std::abs(bound));
  };
  for (const Constraint& constraint : sweep.constraints) {
    const auto found = metrics.find(constraint.metric);
    if (found == metrics.end() || std::isnan(found->second)) return std::numeric_limits<double>::infinity();
    if (constraint.at_most) miss(found->second - *constraint.at_most, *constraint.at_most);
    if (constraint.at_least) miss(*constraint.at_least - found->second, *constraint.at_least);
  }
  return violation;
}

}  // namespace hivq
