#include "jobs/search/space.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include "jobs/search/sobol.h"

namespace hivq {

namespace {

using Kind = SearchRange::Kind;

double rounded(double value, int digits) {
  char text[40];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::scientific, digits - 1).ptr;
  std::from_chars(text, end, value);
  return value;
}

// The ends of a log_integer range as those of its first and last cell.
double log_low(const SearchRange& range) { return std::log(range.low - 0.5); }
double log_high(const SearchRange& range) { return std::log(range.high + 0.5); }

double number_of(const ParamValue& value) {
  if (const auto* whole = std::get_if<int64_t>(&value)) return static_cast<double>(*whole);
  if (const auto* real = std::get_if<double>(&value)) return *real;
  return std::numeric_limits<double>::quiet_NaN();
}

bool depends_on_missing(const SearchRange& range, const std::set<std::string>& placed) {
  return std::any_of(range.when.begin(), range.when.end(),
                     [&](const auto& condition) { return !placed.contains(condition.first); });
}

}  // namespace

int64_t saturating_product(int64_t a, int64_t b) {
  constexpr int64_t most = std::numeric_limits<int64_t>::max();
  return b != 0 && a > most / b ? most : a * b;
}

int64_t count_of(const SearchRange& range) {
  switch (range.kind) {
    case Kind::choice:
      return static_cast<int64_t>(range.choices.size());
    case Kind::integer:
      return (static_cast<int64_t>(range.high) - static_cast<int64_t>(range.low)) /
                 std::max<int64_t>(1, static_cast<int64_t>(range.step)) +
             1;
    case Kind::log_integer:
      return static_cast<int64_t>(range.high) - static_cast<int64_t>(range.low) + 1;
    case Kind::uniform:
      // A last step that misses the end by rounding alone counts.
      return range.step > 0 ? static_cast<int64_t>((range.high - range.low) / range.step * (1 + 1e-12)) + 1 : 0;
    case Kind::log_uniform:
      break;
  }
  return 0;
}

ParamValue value_at(const SearchRange& range, int64_t position) {
  switch (range.kind) {
    case Kind::choice:
      return range.choices[static_cast<size_t>(position)];
    case Kind::uniform:
    case Kind::log_uniform:
      return std::clamp(rounded(range.low + static_cast<double>(position) * range.step, 12), range.low, range.high);
    case Kind::integer:
    case Kind::log_integer:
      break;
  }
  return static_cast<int64_t>(range.low) + position * std::max<int64_t>(1, static_cast<int64_t>(range.step));
}

std::optional<int64_t> position_of(const SearchRange& range, const ParamValue& value) {
  const int64_t count = count_of(range);
  if (range.kind == Kind::choice) {
    const auto found = std::find(range.choices.begin(), range.choices.end(), value);
    if (found == range.choices.end()) return std::nullopt;
    return found - range.choices.begin();
  }
  const double number = number_of(value);
  if (count == 0 || !(number >= range.low && number <= range.high)) return std::nullopt;
  const double step = range.step > 0 ? range.step : 1;
  const int64_t near = std::min<int64_t>(count - 1, std::llround((number - range.low) / step));
  if (number_of(value_at(range, near)) == number) return near;
  return std::nullopt;
}

int64_t position_at_unit(const SearchRange& range, double unit) {
  unit = std::clamp(unit, 0.0, 1.0);
  if (range.kind == Kind::log_integer) {
    const double value = std::exp(log_low(range) * (1 - unit) + log_high(range) * unit);
    return static_cast<int64_t>(std::clamp(std::round(value), range.low, range.high) - range.low);
  }
  const int64_t count = count_of(range);
  return std::min(count - 1, static_cast<int64_t>(unit * static_cast<double>(count)));
}

ParamValue value_at_unit(const SearchRange& range, double unit) {
  unit = std::clamp(unit, 0.0, 1.0);
  if (count_of(range) > 0) return value_at(range, position_at_unit(range, unit));
  const bool in_log = range.kind == Kind::log_uniform;
  const double value = in_log ? std::exp(std::log(range.low) * (1 - unit) + std::log(range.high) * unit)
                              : range.low * (1 - unit) + range.high * unit;
  return std::clamp(rounded(value, 6), range.low, range.high);
}

double unit_of(const SearchRange& range, const ParamValue& value) {
  const double number = number_of(value);
  if (range.kind == Kind::log_integer) {
    return std::clamp((std::log(number) - log_low(range)) / (log_high(range) - log_low(range)), 0.0, 1.0);
  }
  if (const int64_t count = count_of(range); count > 0) {
    return (static_cast<double>(position_of(range, value).value_or(0)) + 0.5) / static_cast<double>(count);
  }
  if (range.kind == Kind::log_uniform) {
    return std::clamp(std::log(number / range.low) / std::log(range.high / range.low), 0.0, 1.0);
  }
  return std::clamp((number - range.low) / (range.high - range.low), 0.0, 1.0);
}

bool contains(const SearchRange& range, const ParamValue& value) {
  if (count_of(range) > 0) return position_of(range, value).has_value();
  const double number = number_of(value);
  return number >= range.low && number <= range.high;
}

Space::Space(std::map<std::string, SearchRange> parameters) {
  std::set<std::string> placed;
  while (!parameters.empty()) {
    auto next = std::find_if(parameters.begin(), parameters.end(),
                             [&](const auto& entry) { return !depends_on_missing(entry.second, placed); });
    check(next != parameters.end(), "the conditions of a sweep's parameters go in a circle");
    placed.insert(next->first);
    Dimension made{next->first, std::move(next->second), true, 0, {}};
    made.ordered = made.range.kind != Kind::choice;
    made.count = count_of(made.range);
    for (const auto& [key, values] : made.range.when) {
      const auto on = std::ranges::find(dimensions_, key, &Dimension::key);
      Dimension::Condition condition{static_cast<size_t>(on - dimensions_.begin()), {}};
      for (const ParamValue& value : values) condition.positions.push_back(position_of(on->range, value).value());
      made.conditions.push_back(std::move(condition));
    }
    conditional_ |= !made.conditions.empty();
    dimensions_.push_back(std::move(made));
    parameters.erase(next);
  }
}

bool Space::active(size_t dimension, std::span<const double> point) const {
  return std::all_of(dimensions_[dimension].conditions.begin(), dimensions_[dimension].conditions.end(),
                     [&](const Dimension::Condition& condition) {
                       const double unit = point[condition.dimension];
                       if (std::isnan(unit)) return false;
                       const SearchRange& range = dimensions_[condition.dimension].range;
                       return std::count(condition.positions.begin(), condition.positions.end(),
                                         position_at_unit(range, unit)) > 0;
                     });
}

void Space::settle(std::span<double> point) const {
  for (size_t d = 0; d < size(); ++d) {
    const Dimension& dimension = dimensions_[d];
    if (!active(d, point)) {
      point[d] = std::numeric_limits<double>::quiet_NaN();
    } else {
      if (std::isnan(point[d])) point[d] = 0.5;
      if (dimension.count > 0) point[d] = unit_of(dimension.range, value_at_unit(dimension.range, point[d]));
    }
  }
}

Params Space::params(std::span<const double> point) const {
  std::vector<double> settled(point.begin(), point.end());
  Params params;
  for (size_t d = 0; d < size(); ++d) {
    if (!active(d, settled)) {
      settled[d] = std::numeric_limits<double>::quiet_NaN();
    } else {
      params[dimensions_[d].key] = value_at_unit(dimensions_[d].range, settled[d]);
    }
  }
  return params;
}

std::optional<std::vector<double>> Space::point(const Params& params) const {
  std::vector<double> point(size());
  for (size_t d = 0; d < size(); ++d) {
    const Dimension& dimension = dimensions_[d];
    if (!active(d, point)) {
      point[d] = std::numeric_limits<double>::quiet_NaN();
      continue;
    }
    const auto found = params.find(dimension.key);
    if (found == params.end() || !contains(dimension.range, found->second)) return std::nullopt;
    point[d] = unit_of(dimension.range, found->second);
  }
  return point;
}

std::vector<double> Space::spread_point(uint64_t seed, uint64_t index) const {
  std::vector<double> point(size());
  for (size_t d = 0; d < point.size(); ++d) point[d] = sobol_point(seed, index, d);
  settle(point);
  return point;
}

}  // namespace hivq
