#pragma once

// The space of a sweep's parameters: typed values to and from the unit cube.
//
// A dimension's unit coordinate runs from 0 to 1 over its range: evenly, or evenly in the logarithm. A range of
// finitely many values is cut into as many cells of equal width (log_integer: of the width that the value has in the
// logarithm), in the order of the values. A conditional parameter is active where the parameters that it depends on
// are active and have one of the values that it asks for; an inactive one has no value.

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "jobs/spec.h"

namespace hivq {

/// `a * b`, or INT64_MAX where that is too large. Both at least 0.
int64_t saturating_product(int64_t a, int64_t b);

/// How many values a range has; 0 for a continuous one. value_at() is one of them, in their order.
int64_t count_of(const SearchRange& range);
ParamValue value_at(const SearchRange& range, int64_t position);
/// Where a value stands among those of a finite range; nothing where it is none of them.
std::optional<int64_t> position_of(const SearchRange& range, const ParamValue& value);

/// The value at a unit coordinate, and the coordinate of a value (the middle of its cell). Values of a
/// continuous range have six significant digits, those of steps twelve: they read well in a table, and the last bits of
/// exp(), which differ between C libraries, are hidden.
ParamValue value_at_unit(const SearchRange& range, double unit);
int64_t position_at_unit(const SearchRange& range, double unit);  // of a finite range
double unit_of(const SearchRange& range, const ParamValue& value);
/// The range has this value.
bool contains(const SearchRange& range, const ParamValue& value);

class Space {
 public:
  explicit Space(std::map<std::string, SearchRange> parameters);

  struct Dimension {
    std::string key;
    SearchRange range;
    bool ordered = true;  // its values have distances: all but choices
    int64_t count = 0;    // of its values; 0: continuous
    /// Values, by position, that another dimension must have.
    struct Condition {
      size_t dimension;
      std::vector<int64_t> positions;
    };
    std::vector<Condition> conditions;
  };

  /// Those that others depend on come before them; otherwise in the order of their keys.
  std::span<const Dimension> dimensions() const { return dimensions_; }
  size_t size() const { return dimensions_.size(); }
  bool conditional() const { return conditional_; }

  /// Whether the dimension is active at a point whose coordinates of the dimensions before it are right; NaN: inactive.
  bool active(size_t dimension, std::span<const double> point) const;
  /// Makes the coordinates of inactive dimensions NaN, and moves the others into the middle of their cells.
  void settle(std::span<double> point) const;
  /// The values at a point; inactive parameters are left out.
  Params params(std::span<const double> point) const;
  /// The point of a setting; NaN where a dimension is inactive. Nothing where an active parameter is missing or lies
  /// outside of its range. Further parameters do not matter.
  std::optional<std::vector<double>> point(const Params& params) const;
  /// Sobol' point `index`, scrambled by the seed, settled. See sobol.h.
  std::vector<double> spread_point(uint64_t seed, uint64_t index) const;

 private:
  std::vector<Dimension> dimensions_;
  bool conditional_ = false;
};

}  // namespace hivq
