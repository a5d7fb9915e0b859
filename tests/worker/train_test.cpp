#include <numeric>

#include "tests/worker/model_fixture.h"
#include "worker/train/sampler.h"

namespace hivq {
namespace {

TEST(EpochOrder, IsAPermutationThatSeedAndEpochDecide) {
  for (const int64_t images : {0, 1, 2, 1000}) {
    std::vector<int64_t> order = epoch_order(images, 5, 3);
    EXPECT_EQ(order, epoch_order(images, 5, 3));
    if (images == 1000) {
      EXPECT_NE(order, epoch_order(images, 5, 4));
      EXPECT_NE(order, epoch_order(images, 6, 3));
      EXPECT_NE(order, epoch_order(images, 5 + (uint64_t{1} << 32), 3));
    }
    std::ranges::sort(order);
    std::vector<int64_t> all(static_cast<size_t>(images));
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(order, all);
  }
}

TEST(EpochOrder, PutsEveryImageAtEveryPlaceAlike) {
  std::vector<int> first(10);
  for (int64_t epoch = 0; epoch < 10000; ++epoch) ++first[static_cast<size_t>(epoch_order(10, 1, epoch)[0])];
  for (const int count : first) EXPECT_NEAR(count, 1000, 5 * std::sqrt(900));
}

TEST(ShareOf, PartsMakeTheWholeAndDifferByOneAtMost) {
  for (const int64_t total : {0, 1, 5, 16, 17}) {
    for (const int ranks : {1, 2, 3, 4, 32}) {
      int64_t next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const Range part = share_of(total, rank, ranks);
        EXPECT_EQ(part.begin, next);
        EXPECT_GE(part.size(), total / ranks);
        EXPECT_LE(part.size(), total / ranks + 1);
        next = part.end;
      }
      EXPECT_EQ(next, total);
    }
  }
}

}  // namespace
}  // namespace hivq
