#include "worker/model/jitter.h"

#include "tests/worker/model_fixture.h"

namespace hivq {
namespace {

at::Tensor with_jitter(const at::Tensor& h0, double scale, const JitterSource& source) {
  return jittered(h0, jitter(h0.sizes(), scale, source));
}

TEST(Jitter, IsNormalNoiseInProportionToTheTokensNorm) {
  const at::Tensor h0 = at::cat({at::ones({1, 400, 50}), 3 * at::ones({1, 400, 50})}).to(at::kDouble);
  const at::Tensor noise = with_jitter(h0, 20, {5, 7, 0}) - h0;
  for (int64_t image = 0; image < 2; ++image) {
    const double size = 20 * h0[image][0].norm().item<double>() / 50;
    EXPECT_NEAR(noise[image].mean().item<double>() / size, 0, 0.03);
    EXPECT_NEAR(noise[image].std().item<double>() / size, 1, 0.02);
    const double kurtosis = (noise[image] / size).pow(4).mean().item<double>();
    EXPECT_NEAR(kurtosis, 3, 0.2);
  }
}

TEST(Jitter, DoesNotDependOnHowABatchIsSplit) {
  const at::Tensor h0 = at::randn({5, 9, 7});
  const at::Tensor whole = with_jitter(h0, 20, {5, 7, 0});
  for (const int64_t cut : {1, 3}) {
    EXPECT_TRUE(at::equal(with_jitter(h0.narrow(0, cut, 5 - cut), 20, {5, 7, cut}), whole.narrow(0, cut, 5 - cut)));
  }
}

TEST(Jitter, SeedStepAndImageGiveOtherNoise) {
  const at::Tensor h0 = at::randn({2, 9, 7});
  const at::Tensor noise = with_jitter(h0, 20, {5, 7, 0});
  EXPECT_FALSE(at::equal(with_jitter(h0, 20, {6, 7, 0}), noise));
  EXPECT_FALSE(at::equal(with_jitter(h0, 20, {5, 8, 0}), noise));
  EXPECT_FALSE(at::equal(with_jitter(h0, 20, {5, 7, 1}), noise));
  EXPECT_TRUE(at::equal(with_jitter(h0, 0, {5, 7, 0}), h0));
}

}  // namespace
}  // namespace hivq
