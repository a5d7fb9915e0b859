#include "worker/model/dropout.h"

#include "tests/worker/model_fixture.h"

namespace hivq {
namespace {

TEST(Philox, GivesThePublishedVectors) {  // Random123's kat_vectors, philox4x32 10
  using Block = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Dropout, KernelGivesTheMaskOfTheTensorOperations) {
  for (const int64_t count : {1, 7, 255, 256, 257, 1000}) {
    for (const auto type : {at::kFloat, at::kDouble}) {
      Dropout dropout{0.1, 0xfedcba9876543210, 4000000000u, 5, 3};
      const at::Tensor x = at::randn({3, count}, type);
      const at::Tensor mask = dropout_mask(dropout, x);
      EXPECT_TRUE(at::equal(dropout(x), x * mask)) << count;
      EXPECT_EQ(dropout.site, 4u);
    }
  }
}

TEST(Dropout, SplittingABatchChangesNoMask) {
  const at::Tensor x = at::randn({9, 4, 33});
  Dropout whole{0.3, 11, 2, 0};
  const at::Tensor expected = whole(x);
  for (const int64_t cut : {0, 1, 4, 9}) {
    Dropout low{0.3, 11, 2, 0}, high{0.3, 11, 2, cut};
    EXPECT_TRUE(at::equal(at::cat({low(x.narrow(0, 0, cut)), high(x.narrow(0, cut, 9 - cut))}), expected)) << cut;
  }
}

TEST(Dropout, SeedStepSiteAndImageGiveOtherMasks) {
  const at::Tensor ones = at::ones({1, 512});
  const auto mask = [&](Dropout dropout) { return dropout(ones); };
  const at::Tensor first = mask({0.5, 1, 1, 1, 1});
  EXPECT_FALSE(at::equal(first, mask({0.5, 2, 1, 1, 1})));
  EXPECT_FALSE(at::equal(first, mask({0.5, uint64_t{1} << 32 | 1, 1, 1, 1})));
  EXPECT_FALSE(at::equal(first, mask({0.5, 1, 2, 1, 1})));
  EXPECT_FALSE(at::equal(first, mask({0.5, 1, 1, 2, 1})));
  EXPECT_FALSE(at::equal(first, mask({0.5, 1, 1, 1, 2})));
  EXPECT_TRUE(at::equal(first, mask({0.5, 1, 1, 1, 1})));
}

TEST(Dropout, DropsItsShareAndKeepsTheMean) {
  for (const double rate : {0.05, 0.1, 0.5, 0.9}) {
    Dropout dropout{rate, 3};
    const at::Tensor out = dropout(at::ones({100, 10000}, at::kDouble));
    const double deviation = std::sqrt(rate * (1 - rate) / 1e6);
    EXPECT_NEAR(out.eq(0).to(at::kDouble).mean().item<double>(), rate, 5 * deviation + 1e-5);
    EXPECT_NEAR(out.mean().item<double>(), 1, 5 * deviation / (1 - rate));
  }
}

TEST(Dropout, GradientPassesThroughTheSameMask) {
  Dropout dropout{0.4, 5, 6, 7};
  const at::Tensor x = at::randn({4, 300}).requires_grad_();
  const at::Tensor mask = dropout_mask(dropout, x.detach()), weight = at::randn({4, 300});
  (dropout(x) * weight).sum().backward();
  EXPECT_TRUE(at::equal(x.grad(), weight * mask));
}

TEST(Dropout, RateZeroIsTheIdentityAndNoSite) {
  Dropout none;
  const at::Tensor x = at::randn({2, 3});
  EXPECT_TRUE(none(x).is_same(x));
  EXPECT_EQ(none.site, 0u);
}

}  // namespace
}  // namespace hivq
