#pragma once

// Which images a step trains on. Known to every rank without a message, and the same for any number of ranks.

#include <cstdint>
#include <vector>

namespace hivq {

/// A permutation of [0, images), a function of seed and epoch alone.
std::vector<int64_t> epoch_order(int64_t images, uint64_t seed, int64_t epoch);

/// A half-open range.
struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};

/// The part of [0, total) that falls to a rank; the parts are contiguous, in the ranks' order, and their sizes differ
/// by one at most. It may be empty.
Range share_of(int64_t total, int rank, int ranks);

}  // namespace hivq
