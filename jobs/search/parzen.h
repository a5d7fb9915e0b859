#pragma once

// A Parzen estimator over the unit cube: a mixture of kernels, one at each point, and a uniform one. In an ordered
// dimension a kernel is a normal distribution that is cut off at 0 and 1; in the others it is mostly the point's own
// value. A point without a coordinate (NaN: inactive) is uniform there.

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
  std::vector<double> log_densities(std::span<const std::vector<double>> points) const;
  std::vector<double> log_densities_avx2(std::span<const std::vector<double>> points) const;

  const Space& space_;
  std::vector<double> widths_;
  std::vector<std::vector<double>> centres_;            // by dimension, then kernel
  std::vector<double> log_norms_;                       // of the kernels, over the dimensions that are always active
  std::vector<std::vector<double>> conditional_norms_;  // by conditional dimension, then kernel
};

/// e^x in place of x, or of each of its lanes, for x <= 0; relative error below 1e-8. Without branches or calls. `Bits` is
/// uint64_t, or as many lanes of it.
template <typename Bits, typename Real>
[[gnu::always_inline]] inline void replace_by_exp(Real& x) {
  constexpr double log2_e = 1.44269504088896340736, shift = 0x1.8p52;  // adding it rounds to a whole number
  const Real least = Real{} - 700.0, t = (x < least ? least : x) * log2_e, whole = t + shift;
  const Real f = (t - (whole - shift)) * 0.69314718055994530942;
  const Real p =
      1 + f * (1 + f * (1.0 / 2 + f * (1.0 / 6 + f * (1.0 / 24 + f * (1.0 / 120 + f * (1.0 / 720 + f / 5040))))));
  // The low bits of `whole` are the power of two: onto the exponent. (std::bit_cast would return lanes by value.)
  x = __builtin_bit_cast(Real, __builtin_bit_cast(Bits, p) + (__builtin_bit_cast(Bits, whole) << 52));
}

inline double exp_of_negative(double x) {
  replace_by_exp<uint64_t>(x);
  return x;
}

}  // namespace hivq
