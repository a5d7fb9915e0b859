#include "worker/train/optimizer.h"

#include "tests/worker/model_fixture.h"

namespace hivq {
namespace {

TEST(AdamW, IsTheFormulaOverManySteps) {
  torch::manual_seed(1);
  const double lr = 0.01, decay = 0.1;
  at::Tensor values = at::randn({1, 1001}, at::kDouble), expected = values.clone();
  at::Tensor m = at::zeros_like(values), v = at::zeros_like(values);
  AdamW state = make_adamw(values);
  for (int step = 1; step <= 20; ++step) {
    const at::Tensor gradient = at::randn({1, 1001}, at::kDouble);
    adamw_step(values, gradient, state, 0, step, lr, decay);
    expected = expected * (1 - lr * decay);
    m = 0.9 * m + 0.1 * gradient;
    v = 0.999 * v + 0.001 * gradient.square();
    expected = expected - lr * (m / (1 - std::pow(0.9, step))) / ((v / (1 - std::pow(0.999, step))).sqrt() + 1e-8);
    ASSERT_LE(deviation(values, expected), 1e-12) << step;
  }
}

TEST(AdamW, LearningRateZeroMovesNothing) {
  at::Tensor values = at::randn({1, 10}), before = values.clone();
  AdamW state = make_adamw(values);
  adamw_step(values, at::randn({1, 10}), state, 0, 1, 0, 0.1);
  EXPECT_TRUE(at::equal(values, before));
}

TEST(ClipGradients, ShortenEachTrialsToItsNormAndNeverLengthen) {
  at::Tensor gradients = at::full({4, 4}, 3.0, at::kDouble);
  gradients[3].fill_(0.01);
  const at::Tensor norms = clip_gradients(gradients, {10, 0, 0.1, 0.1});
  EXPECT_CLOSE(norms, at::tensor({6.0, 6.0, 6.0, 0.02}, at::kDouble), 1e-15);
  EXPECT_CLOSE(gradients.norm(2, 1), at::tensor({6.0, 6.0, 0.1, 0.02}, at::kDouble), 1e-7);
}

}  // namespace
}  // namespace hivq
