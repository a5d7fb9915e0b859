#pragma once

// Sobol' points: each power of two of them fills every elementary interval of the cube equally.

#include <cstdint>

namespace hivq {

inline constexpr int sobol_dimensions = 64;

/// The coordinate of point `index` in one dimension (below sobol_dimensions), times 2^32. The order is Gray code's, as
/// in Joe and Kuo's program; direction numbers: Joe & Kuo, "Constructing Sobol sequences with better two-dimensional
/// projections", SIAM J. Sci. Comput. 30 (2008), their set new-joe-kuo-6.
uint32_t sobol_bits(uint32_t index, int dimension);

/// Nested uniform (Owen) scrambling of the digits, by a hash: Burley, "Practical hash-based Owen scrambling", JCGT 9
/// (2020). Keeps what makes the points even.
uint32_t owen_scrambled(uint32_t bits, uint32_t seed);

/// The coordinate in (0, 1), scrambled by the seed. Dimensions from sobol_dimensions on are random.
double sobol_point(uint64_t seed, uint64_t index, uint64_t dimension);

}  // namespace hivq
