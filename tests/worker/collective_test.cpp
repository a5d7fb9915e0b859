#include "worker/collective/collective.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

namespace hivq {
namespace {

TEST(SingleCollective, IsTheIdentity) {
  auto collective = make_single_collective();
  EXPECT_EQ(collective->rank(), 0);
  EXPECT_EQ(collective->size(), 1);
  at::Tensor values = at::arange(5, at::kDouble), before = values.clone();
  ASSERT_TRUE(collective->all_reduce_sum(values));
  ASSERT_TRUE(collective->broadcast(values));
  EXPECT_TRUE(values.equal(before));
}

TEST(SingleCollective, RefusesWhatTheOthersRefuse) {
  auto collective = make_single_collective();
  at::Tensor strided = at::zeros({4, 4}).t(), longs = at::zeros({4}, at::kLong);
  EXPECT_FALSE(collective->all_reduce_sum(strided));
  EXPECT_FALSE(collective->all_reduce_sum(longs));
  EXPECT_TRUE(collective->broadcast(longs));
}

}  // namespace
}  // namespace hivq
