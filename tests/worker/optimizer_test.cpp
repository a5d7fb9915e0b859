#include "worker/train/optimizer.h"

#include "tests/worker/model_fixture.h"

namespace hivq {
namespace {

at::Tensor numbers(std::vector<double> values) { return at::tensor(values, at::kDouble); }

TEST(AdamW, IsTheFormulaOverManySteps) {
  torch::manual_seed(1);
  const double lr = 0.01, decay = 0.1;
  at::Tensor values = at::randn({1, 1001}, at::kDouble), expected = values.clone();
  at::Tensor m = at::zeros_like(values), v = at::zeros_like(values);
  AdamW state = make_adamw(values);
  for (int step = 1; step <= 20; ++step) {
    at::Tensor gradient = at::randn({1, 1001}, at::kDouble);
    adamw_step(values, gradient, state, at::full({}, step), numbers({lr}), at::ones({1}, at::kBool), numbers({decay}),
               numbers({0.5}));  // gradient is halved
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
  at::Tensor gradient = at::randn({1, 10});
  adamw_step(values, gradient, state, at::ones({}), numbers({0}), at::ones({1}, at::kBool), numbers({0.1}),
             at::ones({1}));
  EXPECT_TRUE(at::equal(values, before));
}

TEST(AdamW, TrialsThatDoNotTakeTheStepStayWithTheirMoments) {
  at::Tensor values = at::randn({3, 10}), before = values.clone();
  AdamW state = make_adamw(values);
  at::Tensor gradients = at::randn({3, 10});
  adamw_step(values, gradients, state, at::ones({}), numbers({0.1, 0.2, 0.3}),
             at::tensor({1, 0, 1}, at::kLong).to(at::kBool), numbers({0.1, 0.1, 0.1}), at::ones({3}));
  EXPECT_TRUE(at::equal(values[1], before[1]));
  EXPECT_EQ(state.exp_avg[1].count_nonzero().item<int64_t>(), 0);
  for (const int64_t trial : {0, 2}) {
    EXPECT_FALSE(at::equal(values[trial], before[trial]));
    EXPECT_EQ(state.exp_avg[trial].count_nonzero().item<int64_t>(), 10);
  }
}

TEST(Clip, ShortensEachTrialsToItsNormAndNeverLengthens) {
  at::Tensor gradients = at::full({4, 4}, 3.0, at::kDouble);
  gradients[3].fill_(0.01);
  const Clip clip = clip_of(gradients, numbers({10.0, 0.0, 0.1, 0.1}));
  EXPECT_CLOSE(clip.norms, at::tensor({6.0, 6.0, 6.0, 0.02}, at::kDouble), 1e-15);
  EXPECT_CLOSE((gradients * clip.factors.unsqueeze(1)).norm(2, 1), at::tensor({6.0, 6.0, 0.1, 0.02}, at::kDouble),
               1e-7);
}

}  // namespace
}  // namespace hivq
