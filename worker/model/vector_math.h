#pragma once

// Functions that a compiler can put into vector units, for use within HIVQ_VECTOR_CLONES.

#include <bit>
#include <cmath>
#include <cstdint>

namespace hivq {

/// eˣ for x ≤ 0, to 2 ulp; 0 below −87. The polynomial is Cephes' expf (Moshier, 1989).
[[gnu::always_inline]] inline float exponential(float x) {
  constexpr float kLog2e = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f, kRound = 12582912.0f;
  const float clamped = x > -87.0f ? x : -87.0f;
  const float shifted = clamped * kLog2e + kRound;
  const float n = shifted - kRound;
  const float r = clamped - n * kLn2High - n * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1;
  const int32_t scaled = std::bit_cast<int32_t>(p) + (static_cast<int32_t>(n) << 23);
  return x > -87.0f ? std::bit_cast<float>(scaled) : 0.0f;
}
[[gnu::always_inline]] inline double exponential(double x) { return std::exp(x); }

/// Σ term(j) over j < count, in partial sums that do not wait for each other, which a vector unit takes at once.
template <typename T, typename Term>
[[gnu::always_inline]] inline T lane_sum(int64_t count, Term term) {
  constexpr int64_t kLanes = 16;
  T sums[kLanes] = {};
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t j = 0; j < whole; j += kLanes) {
    for (int64_t i = 0; i < kLanes; ++i) sums[i] += term(j + i);
  }
  for (int64_t j = whole; j < count; ++j) sums[0] += term(j);
  T sum = 0;
  for (const T part : sums) sum += part;
  return sum;
}

}  // namespace hivq
