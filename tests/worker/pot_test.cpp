#include "worker/model/pot.h"

#include "tests/worker/model_fixture.h"
#include "worker/model/forward.h"

namespace hivq {
namespace {

TEST(Pot, ScoreIsTheReferences) {
  for (const char* name : {"full", "single"}) {
    const GoldenCase golden = golden_case(name);
    const Training training = golden.training();
    Dropout none;
    const Forward out = forward(training.model, golden["h0"], golden["classes"], none);
    EXPECT_CLOSE(pot_score(training.model.codebooks.back(), out.levels.back().tokens, golden["classes"]),
                 golden["pot_score"], 1e-9);
  }
}

TEST(Pot, CostsNothingWherePrototypesPointAsTheTokensDo) {
  const at::Tensor direction = at::randn({1, 1, 6}, at::kDouble);
  const Codebook codebook = make_codebook(direction * (at::rand({1, 5, 1}, at::kDouble) + 0.5), 1);
  const at::Tensor tokens = direction * (at::rand({2, 4, 1}, at::kDouble) + 0.5), group = at::zeros({2}, at::kLong);
  EXPECT_NEAR(pot_score(codebook, tokens, group).abs().max().item<double>(), 0, 1e-12);
  EXPECT_NEAR(pot_loss_sum(codebook, tokens, group).item<double>(), 0, 1e-12);
  EXPECT_NEAR(pot_score(codebook, -tokens, group).min().item<double>(), 2, 1e-12);
}

TEST(Pot, SurvivesTokensAndPrototypesOfZero) {
  const Codebook codebook = make_codebook(at::zeros({1, 3, 2}), 1);
  const at::Tensor tokens = at::zeros({1, 4, 2}).requires_grad_(), group = at::zeros({1}, at::kLong);
  const at::Tensor loss = pot_loss_sum(codebook, tokens, group);
  loss.backward();
  EXPECT_TRUE(loss.isfinite().item<bool>());
  EXPECT_TRUE(tokens.grad().isfinite().all().item<bool>());
}

TEST(Pot, LossFallsAlongItsGradient) {
  torch::manual_seed(3);
  const Codebook codebook = make_codebook(at::randn({2, 5, 4}, at::kDouble), 1);
  const at::Tensor group = at::tensor({1, 0, 1}, at::kLong);
  const at::Tensor tokens = at::randn({3, 6, 4}, at::kDouble).requires_grad_();
  const at::Tensor loss = pot_loss_sum(codebook, tokens, group);
  loss.backward();
  const double slope = tokens.grad().square().sum().item<double>();
  const at::Tensor moved = tokens.detach() - 1e-6 * tokens.grad();
  EXPECT_NEAR((loss - pot_loss_sum(codebook, moved, group)).item<double>() / 1e-6, slope, 1e-3 * slope);
}

}  // namespace
}  // namespace hivq
