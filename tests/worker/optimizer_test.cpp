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
    adamw_step(values, gradient, state, at::full({}, step), at::full({1}, lr, at::kDouble), at::ones({1}, at::kBool),
               {decay});
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
  adamw_step(values, at::randn({1, 10}), state, at::ones({}), at::zeros({1}), at::ones({1}, at::kBool), {0.1});
  EXPECT_TRUE(at::equal(values, before));
}

TEST(AdamW, TrialsThatDoNotTakeTheStepStayWithTheirMoments) {
  at::Tensor values = at::randn({3, 10}), before = values.clone();
  AdamW state = make_adamw(values);
  adamw_step(values, at::randn({3, 10}), state, at::ones({}), at::tensor({0.1, 0.2, 0.3}),
             at::tensor({1, 0, 1}, at::kLong).to(at::kBool), {0.1, 0.1, 0.1});
  EXPECT_TRUE(at::equal(values[1], before[1]));
  EXPECT_EQ(state.exp_avg[1].count_nonzero().item<int64_t>(), 0);
  for (const int64_t trial : {0, 2}) {
    EXPECT_FALSE(at::equal(values[trial], before[trial]));
    EXPECT_EQ(state.exp_avg[trial].count_nonzero().item<int64_t>(), 10);
  }
}

TEST(ClipGradients, ShortenEachTrialsToItsNormAndNeverLengthen) {
  at::Tensor gradients = at::full({4, 4}, 3.0, at::kDouble);
  gradients[3].fill_(0.01);
  const at::Tensor norms = clip_gradients(gradients, at::tensor({10.0, 0.0, 0.1, 0.1}, at::kDouble));
  EXPECT_CLOSE(norms, at::tensor({6.0, 6.0, 6.0, 0.02}, at::kDouble), 1e-15);
  EXPECT_CLOSE(gradients.norm(2, 1), at::tensor({6.0, 6.0, 0.1, 0.02}, at::kDouble), 1e-7);
}

}  // namespace
}  // namespace hivq
