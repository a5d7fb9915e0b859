#include "worker/train/optimizer.h"

#include "tests/worker/model_fixture.h"

namespace hivq {
namespace {

TEST(AdamW, IsTheFormulaOverManySteps) {
  torch::manual_seed(1);
  const double lr = 0.01, decay = 0.1;
  at::Tensor values = at::randn({1001}, at::kDouble), expected = values.clone();
  at::Tensor m = at::zeros_like(values), v = at::zeros_like(values);
  AdamW state = make_adamw(values);
  for (int step = 1; step <= 20; ++step) {
    const at::Tensor gradient = at::randn({1001}, at::kDouble);
    adamw_step(values, gradient, state, step, lr, decay);
    expected = expected * (1 - lr * decay);
    m = 0.9 * m + 0.1 * gradient;
    v = 0.999 * v + 0.001 * gradient.square();
    expected = expected - lr * (m / (1 - std::pow(0.9, step))) / ((v / (1 - std::pow(0.999, step))).sqrt() + 1e-8);
    ASSERT_LE(deviation(values, expected), 1e-12) << step;
  }
}

TEST(AdamW, LearningRateZeroMovesNothing) {
  at::Tensor values = at::randn({10}), before = values.clone();
  AdamW state = make_adamw(values);
  adamw_step(values, at::randn({10}), state, 1, 0, 0.1);
  EXPECT_TRUE(at::equal(values, before));
}

TEST(ClipGradient, ShortensToTheNormAndNeverLengthens) {
  at::Tensor gradient = at::full({4}, 3.0, at::kDouble);
  EXPECT_DOUBLE_EQ(clip_gradient(gradient, 10), 6);
  EXPECT_DOUBLE_EQ(gradient[0].item<double>(), 3);
  EXPECT_DOUBLE_EQ(clip_gradient(gradient, 0), 6);
  EXPECT_DOUBLE_EQ(gradient[0].item<double>(), 3);
  EXPECT_DOUBLE_EQ(clip_gradient(gradient, 0.1), 6);
  EXPECT_NEAR(gradient.norm().item<double>(), 0.1, 1e-7);
}

}  // namespace
}  // namespace hivq
