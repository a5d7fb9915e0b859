#include "worker/train/sampler.h"

#include <numeric>
#include <random>

namespace hivq {

__extension__ typedef unsigned __int128 Wide;

std::vector<int64_t> epoch_order(int64_t images, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> order(static_cast<size_t>(images));
  std::iota(order.begin(), order.end(), 0);
  const auto low = [](uint64_t x) { return static_cast<uint32_t>(x); };
  std::seed_seq seeds{low(seed), low(seed >> 32), low(static_cast<uint64_t>(epoch))};
  std::mt19937_64 random(seeds);
  // Fisher–Yates; not std::shuffle, whose draws differ between standard libraries.
  for (size_t left = order.size(); left > 1; --left) {
    const auto pick = static_cast<size_t>((static_cast<Wide>(random()) * left) >> 64);
    std::swap(order[left - 1], order[pick]);
  }
  return order;
}

Range share_of(int64_t total, int rank, int ranks) { return {total * rank / ranks, total * (rank + 1) / ranks}; }

}  // namespace hivq
