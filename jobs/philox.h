#pragma once

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): a random function of a counter
// and a key. Draw i needs no draw before it, and is the same on every machine.

#include <array>
#include <cstdint>

namespace hivq {

using PhiloxCounter = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;

constexpr PhiloxCounter philox(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

/// 64 random bits of (seed, index, stream).
constexpr uint64_t random_bits(uint64_t seed, uint64_t index, uint64_t stream) {
  const auto low = [](uint64_t bits) { return static_cast<uint32_t>(bits); };
  const auto high = [](uint64_t bits) { return static_cast<uint32_t>(bits >> 32); };
  const PhiloxCounter drawn = philox({low(index), high(index), low(stream), high(stream)}, {low(seed), high(seed)});
  return uint64_t{drawn[1]} << 32 | drawn[0];
}

}  // namespace hivq
