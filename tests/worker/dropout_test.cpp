#include "worker/model/dropout.h"

#include "jobs/philox.h"
#include "tests/worker/model_fixture.h"

namespace hivq {
namespace {

/// The definition in dropout.cpp, element by element, from one block of Philox at a time.
TEST(Dropout, MaskIsPhilox) {
  const Dropout dropout{{{0.25, 0x299f31d0a4093822, 77, 3}}, 5};
  const at::Tensor mask = dropout_mask(dropout, at::ones({2, 600}));
  for (int64_t image = 0; image < 2; ++image) {
    for (int64_t j = 0; j < 600; ++j) {
      const auto block = static_cast<uint32_t>(j / 256 * 32 + j % 32);
      const PhiloxCounter words = philox({block, static_cast<uint32_t>(3 + image), 77, 5}, {0xa4093822, 0x299f31d0});
      const uint32_t half = words[static_cast<size_t>(j / 32 % 4)] >> (j / 128 % 2 * 16) & 0xffff;
      EXPECT_EQ(mask[image][j].item<float>() == 0, half < 16384) << image << ' ' << j;
    }
  }
}

TEST(Dropout, KernelGivesTheMaskOfTheTensorOperations) {
  for (const int64_t count : {1, 7, 255, 256, 257, 1000}) {
    for (const auto type : {at::kFloat, at::kDouble}) {
      Dropout dropout{{{0.1, 0xfedcba9876543210, 4000000000u, 5}}, 3};
      const at::Tensor x = at::randn({3, count}, type);
      const at::Tensor mask = dropout_mask(dropout, x);
      EXPECT_TRUE(at::equal(dropout(x), x * mask)) << count;
      EXPECT_EQ(dropout.site, 4u);
    }
  }
}

TEST(Dropout, SplittingABatchChangesNoMask) {
  const at::Tensor x = at::randn({9, 4, 33});
  Dropout whole{{{0.3, 11, 2, 0}}};
  const at::Tensor expected = whole(x);
  for (const int64_t cut : {0, 1, 4, 9}) {
    Dropout low{{{0.3, 11, 2, 0}}}, high{{{0.3, 11, 2, cut}}};
    EXPECT_TRUE(at::equal(at::cat({low(x.narrow(0, 0, cut)), high(x.narrow(0, cut, 9 - cut))}), expected)) << cut;
  }
}

TEST(Dropout, TrialsSideBySideHaveTheMasksThatTheyHaveAlone) {
  const at::Tensor x = at::randn({6, 5, 100});
  const DropoutStream first{0.3, 11, 2, 1}, second{0.0, 12, 9, 4}, third{0.6, 13, 0, 0};
  Dropout all{{first, second, third}, 5}, a{{first}, 5}, b{{third}, 5};
  const at::Tensor expected = at::cat({a(x.narrow(0, 0, 2)), x.narrow(0, 2, 2), b(x.narrow(0, 4, 2))});
  EXPECT_TRUE(at::equal(x * dropout_mask(all, x), expected));
  EXPECT_TRUE(at::equal(all(x), expected));
}

TEST(Dropout, PartsOfAnImageAreMaskedAsTheWhole) {
  const Dropout dropout{{{0.3, 11, 2, 5}}, 3};
  const at::Tensor x = at::randn({2, 1000}), whole = x * dropout_mask(dropout, x);
  const MaskSource source(dropout, 2);
  for (const auto& [first, count] :
       {std::pair{0, 1000}, {1, 999}, {255, 2}, {256, 256}, {300, 100}, {999, 1}, {77, 600}}) {
    at::Tensor part = x[1].narrow(0, first, count).clone();
    source.apply(1, first, part.const_data_ptr<float>(), part.mutable_data_ptr<float>(), count);
    EXPECT_TRUE(at::equal(part, whole[1].narrow(0, first, count))) << first << ' ' << count;
  }
}

TEST(Dropout, SeedStepSiteAndImageGiveOtherMasks) {
  const at::Tensor ones = at::ones({1, 512});
  const auto mask = [&](Dropout dropout) { return dropout(ones); };
  const at::Tensor first = mask({{{0.5, 1, 1, 1}}, 1});
  EXPECT_FALSE(at::equal(first, mask({{{0.5, 2, 1, 1}}, 1})));
  EXPECT_FALSE(at::equal(first, mask({{{0.5, uint64_t{1} << 32 | 1, 1, 1}}, 1})));
  EXPECT_FALSE(at::equal(first, mask({{{0.5, 1, 2, 1}}, 1})));
  EXPECT_FALSE(at::equal(first, mask({{{0.5, 1, 1, 2}}, 1})));
  EXPECT_FALSE(at::equal(first, mask({{{0.5, 1, 1, 1}}, 2})));
  EXPECT_TRUE(at::equal(first, mask({{{0.5, 1, 1, 1}}, 1})));
}

TEST(Dropout, DropsItsShareAndKeepsTheMean) {
  for (const double rate : {0.05, 0.1, 0.5, 0.9}) {
    Dropout dropout{{{rate, 3}}};
    const at::Tensor out = dropout(at::ones({100, 10000}, at::kDouble));
    const double deviation = std::sqrt(rate * (1 - rate) / 1e6);
    EXPECT_NEAR(out.eq(0).to(at::kDouble).mean().item<double>(), rate, 5 * deviation + 1e-5);
    EXPECT_NEAR(out.mean().item<double>(), 1, 5 * deviation / (1 - rate));
  }
}

TEST(Dropout, GradientPassesThroughTheSameMask) {
  Dropout dropout{{{0.4, 5, 6, 7}}};
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
