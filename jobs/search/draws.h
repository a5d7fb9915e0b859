#pragma once

// Random numbers of a trial's proposal: functions of (seed, index, purpose, how many were drawn before), see philox.h.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "jobs/philox.h"

namespace hivq {

/// 53 random bits as a number in [0, 1).
inline double unit_double(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

/// FNV-1a: a name's stream of random bits.
inline uint64_t stream_of(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (unsigned char c : name) hash = (hash ^ c) * 0x100000001b3;
  return hash;
}

/// The quantile function of the standard normal distribution, for 0 < p < 1; relative error below 1e-9.
double normal_quantile(double p);

/// The draws for one purpose, one after another; a copy draws the same again.
class Draws {
 public:
  Draws(uint64_t seed, uint64_t index, uint32_t purpose)
      : seed_(seed), index_(index), stream_(uint64_t{purpose} << 32) {}

  uint64_t bits() { return random_bits(seed_, index_, stream_++); }
  double uniform() { return unit_double(bits()); }
  /// 0 to count - 1.
  size_t below(size_t count) { return static_cast<size_t>(uniform() * static_cast<double>(count)); }
  double normal() { return normal_quantile((static_cast<double>(bits() >> 11) + 0.5) * 0x1p-53); }

 private:
  uint64_t seed_, index_, stream_;
};

}  // namespace hivq
