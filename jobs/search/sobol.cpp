#include "jobs/search/sobol.h"

#include <array>
#include <bit>

#include "jobs/search/draws.h"

namespace hivq {

namespace {

struct Polynomial {
  int degree;
  uint32_t coefficients;        // of the inner powers, as bits
  std::array<uint32_t, 9> m{};  // initial direction numbers
};

// Of the dimensions from the second on; the first is van der Corput's sequence.
constexpr Polynomial polynomials[sobol_dimensions - 1] = {
    {1, 0, {1}},
    {2, 1, {1, 3}},
    {3, 1, {1, 3, 1}},
    {3, 2, {1, 1, 1}},
    {4, 1, {1, 1, 3, 3}},
    {4, 4, {1, 3, 5, 13}},
    {5, 2, {1, 1, 5, 5, 17}},
    {5, 4, {1, 1, 5, 5, 5}},
    {5, 7, {1, 1, 7, 11, 19}},
    {5, 11, {1, 1, 5, 1, 1}},
    {5, 13, {1, 1, 1, 3, 11}},
    {5, 14, {1, 3, 5, 5, 31}},
    {6, 1, {1, 3, 3, 9, 7, 49}},
    {6, 13, {1, 1, 1, 15, 21, 21}},
    {6, 16, {1, 3, 1, 13, 27, 49}},
    {6, 19, {1, 1, 1, 15, 7, 5}},
    {6, 22, {1, 3, 1, 15, 13, 25}},
    {6, 25, {1, 1, 5, 5, 19, 61}},
    {7, 1, {1, 3, 7, 11, 23, 15, 103}},
    {7, 4, {1, 3, 7, 13, 13, 15, 69}},
    {7, 7, {1, 1, 3, 13, 7, 35, 63}},
    {7, 8, {1, 3, 5, 9, 1, 25, 53}},
    {7, 14, {1, 3, 1, 13, 9, 35, 107}},
    {7, 19, {1, 3, 1, 5, 27, 61, 31}},
    {7, 21, {1, 1, 5, 11, 19, 41, 61}},
    {7, 28, {1, 3, 5, 3, 3, 13, 69}},
    {7, 31, {1, 1, 7, 13, 1, 19, 1}},
    {7, 32, {1, 3, 7, 5, 13, 19, 59}},
    {7, 37, {1, 1, 3, 9, 25, 29, 41}},
    {7, 41, {1, 3, 5, 13, 23, 1, 55}},
    {7, 42, {1, 3, 7, 3, 13, 59, 17}},
    {7, 50, {1, 3, 1, 3, 5, 53, 69}},
    {7, 55, {1, 1, 5, 5, 23, 33, 13}},
    {7, 56, {1, 1, 7, 7, 1, 61, 123}},
    {7, 59, {1, 1, 7, 9, 13, 61, 49}},
    {7, 62, {1, 3, 3, 5, 3, 55, 33}},
    {8, 14, {1, 3, 1, 15, 31, 13, 49, 245}},
    {8, 21, {1, 3, 5, 15, 31, 59, 63, 97}},
    {8, 22, {1, 3, 1, 11, 11, 11, 77, 249}},
    {8, 38, {1, 3, 1, 11, 27, 43, 71, 9}},
    {8, 47, {1, 1, 7, 15, 21, 11, 81, 45}},
    {8, 49, {1, 3, 7, 3, 25, 31, 65, 79}},
    {8, 50, {1, 3, 1, 1, 19, 11, 3, 205}},
    {8, 52, {1, 1, 5, 9, 19, 21, 29, 157}},
    {8, 56, {1, 3, 7, 11, 1, 33, 89, 185}},
    {8, 67, {1, 3, 3, 3, 15, 9, 79, 71}},
    {8, 70, {1, 3, 7, 11, 15, 39, 119, 27}},
    {8, 84, {1, 1, 3, 1, 11, 31, 97, 225}},
    {8, 97, {1, 1, 1, 3, 23, 43, 57, 177}},
    {8, 103, {1, 3, 7, 7, 17, 17, 37, 71}},
    {8, 115, {1, 3, 1, 5, 27, 63, 123, 213}},
    {8, 122, {1, 1, 3, 5, 11, 43, 53, 133}},
    {9, 8, {1, 3, 5, 5, 29, 17, 47, 173, 479}},
    {9, 13, {1, 3, 3, 11, 3, 1, 109, 9, 69}},
    {9, 16, {1, 1, 1, 5, 17, 39, 23, 5, 343}},
    {9, 22, {1, 3, 1, 5, 25, 15, 31, 103, 499}},
    {9, 25, {1, 1, 1, 11, 11, 17, 63, 105, 183}},
    {9, 44, {1, 1, 5, 11, 9, 29, 97, 231, 363}},
    {9, 47, {1, 1, 5, 15, 19, 45, 41, 7, 383}},
    {9, 52, {1, 3, 7, 7, 31, 19, 83, 137, 221}},
    {9, 55, {1, 1, 1, 3, 23, 15, 111, 223, 83}},
    {9, 59, {1, 1, 5, 13, 31, 15, 55, 25, 161}},
    {9, 62, {1, 1, 3, 13, 25, 47, 39, 87, 257}},
};

using Directions = std::array<uint32_t, 32>;

constexpr Directions directions_of(int dimension) {
  Directions v{};
  if (dimension == 0) {
    for (int k = 0; k < 32; ++k) v[k] = uint32_t{1} << (31 - k);
    return v;
  }
  const Polynomial& p = polynomials[dimension - 1];
  for (int k = 0; k < 32; ++k) {
    if (k < p.degree) {
      v[k] = p.m[k] << (31 - k);
      continue;
    }
    v[k] = v[k - p.degree] ^ (v[k - p.degree] >> p.degree);
    for (int i = 1; i < p.degree; ++i) {
      if (p.coefficients >> (p.degree - 1 - i) & 1) v[k] ^= v[k - i];
    }
  }
  return v;
}

constexpr auto all_directions = [] {
  std::array<Directions, sobol_dimensions> all{};
  for (int d = 0; d < sobol_dimensions; ++d) all[d] = directions_of(d);
  return all;
}();

uint32_t reversed(uint32_t bits) {
  bits = (bits >> 1 & 0x55555555) | (bits & 0x55555555) << 1;
  bits = (bits >> 2 & 0x33333333) | (bits & 0x33333333) << 2;
  bits = (bits >> 4 & 0x0f0f0f0f) | (bits & 0x0f0f0f0f) << 4;
  bits = (bits >> 8 & 0x00ff00ff) | (bits & 0x00ff00ff) << 8;
  return bits >> 16 | bits << 16;
}

}  // namespace

uint32_t sobol_bits(uint32_t index, int dimension) {
  uint32_t bits = 0;
  for (uint32_t gray = index ^ (index >> 1); gray != 0; gray &= gray - 1) {
    bits ^= all_directions[dimension][std::countr_zero(gray)];
  }
  return bits;
}

uint32_t owen_scrambled(uint32_t bits, uint32_t seed) {
  uint32_t x = reversed(bits) + seed;
  for (uint32_t factor : {0x6c50b47cu, 0xb82f1e52u, 0xc7afe638u, 0x8d22f6e6u}) x ^= x * factor;
  return reversed(x);
}

double sobol_point(uint64_t seed, uint64_t index, uint64_t dimension) {
  constexpr uint64_t purpose = uint64_t{0x50b01} << 32;
  if (dimension >= sobol_dimensions) return unit_double(random_bits(seed, index, purpose + dimension));
  const auto scramble = static_cast<uint32_t>(random_bits(seed, 0, purpose + dimension));
  const uint32_t bits = sobol_bits(static_cast<uint32_t>(index), static_cast<int>(dimension));
  return (static_cast<double>(owen_scrambled(bits, scramble)) + 0.5) * 0x1p-32;
}

}  // namespace hivq
