#pragma once

// A Parzen estimator over the unit cube: a mixture of kernels, one at each point, and a uniform one. In an ordered
// dimension a kernel is a normal distribution that is cut off at 0 and 1; in the others it is mostly the point's own
// value. A point without a coordinate (NaN: inactive) is uniform there.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "jobs/search/draws.h"
#include "jobs/search/space.h"

namespace hivq {

class Parzen {
 public:
  explicit Parzen(const Space& space) : space_(space) {}

  /// Starts anew, with the kernels' width in each dimension (ordered: standard deviation; others: the probability of
  /// another value than the point's).
  void clear(std::vector<double> widths);
  /// Adds a kernel; `norms` are norms_of(point). O(dimensions).
  void add(std::span<const double> point, std::span<const double> norms);
  /// The logarithms of what normalises a kernel at this point: of all dimensions that are always active, and of each
  /// conditional one.
  std::vector<double> norms_of(std::span<const double> point) const;

  size_t size() const { return log_norms_.size(); }
  /// A point of the mixture, settled.
  std::vector<double> draw(Draws& draws) const;
  /// The logarithm of the density at each point.
  std::vector<double> log_density(std::span<const std::vector<double>> points) const;

 private:
  double draw_near(size_t dimension, double centre, Draws& draws) const;
  double log_density_of(std::span<const double> point, double* logs) const;
  void log_densities(std::span<const std::vector<double>> points, std::vector<double>& densities) const;
  void log_densities_avx2(std::span<const std::vector<double>> points, std::vector<double>& densities) const;

  const Space& space_;
  std::vector<double> widths_;
  std::vector<std::vector<double>> centres_;            // by dimension, then kernel
  std::vector<double> log_norms_;                       // of the kernels, over the dimensions that are always active
  std::vector<std::vector<double>> conditional_norms_;  // by conditional dimension, then kernel
};

inline constexpr double exp_log2_e = 1.44269504088896340736, exp_log_2 = 0.69314718055994530942;
inline constexpr double exp_shift = 0x1.8p52;  // adding it rounds to a whole number

/// e^x for x <= 0, relative error below 1e-8.
inline double exp_of_negative(double x) {
  const double t = std::max(x, -700.0) * exp_log2_e;
  const double whole = t + exp_shift;
  const double f = (t - (whole - exp_shift)) * exp_log_2;
  const double p =
      1 + f * (1 + f * (1.0 / 2 + f * (1.0 / 6 + f * (1.0 / 24 + f * (1.0 / 120 + f * (1.0 / 720 + f / 5040))))));
  // The low bits of `whole` are the power of two: onto the exponent.
  return std::bit_cast<double>(std::bit_cast<uint64_t>(p) + (std::bit_cast<uint64_t>(whole) << 52));
}

}  // namespace hivq
