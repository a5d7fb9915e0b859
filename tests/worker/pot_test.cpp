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
    EXPECT_CLOSE(pot_score(training.model.codebooks.back(), out.levels.back(), golden["classes"]), golden["pot_score"],
                 1e-9);
  }
}

TEST(Pot, CostsNothingWherePrototypesPointAsTheTokensDo) {
  const at::Tensor direction = at::randn({1, 1, 6}, at::kDouble);
  const Codebook codebook = make_codebook(direction * (at::rand({1, 5, 1}, at::kDouble) + 0.5), 1);
  const at::Tensor tokens = direction * (at::rand({2, 4, 1}, at::kDouble) + 0.5), group = at::zeros({2}, at::kLong);
  EXPECT_NEAR(pot_score(codebook, quantize(codebook, tokens, group), group).abs().max().item<double>(), 0, 1e-12);
  EXPECT_NEAR(pot_loss(codebook, quantize(codebook, tokens, group), group).sum().item<double>(), 0, 1e-12);
  EXPECT_NEAR(pot_score(codebook, quantize(codebook, -tokens, group), group).min().item<double>(), 2, 1e-12);
}

TEST(Pot, SurvivesTokensAndPrototypesOfZero) {
  const Codebook codebook = make_codebook(at::zeros({1, 3, 2}), 1);
  const at::Tensor tokens = at::zeros({1, 4, 2}).requires_grad_(), group = at::zeros({1}, at::kLong);
  const at::Tensor loss = pot_loss(codebook, quantize(codebook, tokens, group), group).sum();
  loss.backward();
  EXPECT_TRUE(loss.isfinite().item<bool>());
  EXPECT_TRUE(tokens.grad().isfinite().all().item<bool>());
}

TEST(Pot, LossFallsAlongItsGradient) {
  torch::manual_seed(3);
  const Codebook codebook = make_codebook(at::randn({2, 5, 4}, at::kDouble), 1);
  const at::Tensor group = at::tensor({1, 0, 1}, at::kLong);
  const at::Tensor tokens = at::randn({3, 6, 4}, at::kDouble).requires_grad_();
  const at::Tensor loss = pot_loss(codebook, quantize(codebook, tokens, group), group).sum();
  loss.backward();
  const double slope = tokens.grad().square().sum().item<double>();
  const at::Tensor moved = tokens.detach() - 1e-6 * tokens.grad();
  EXPECT_NEAR((loss - pot_loss(codebook, quantize(codebook, moved, group), group).sum()).item<double>() / 1e-6, slope,
              1e-3 * slope);
}

/// In numbers of prototypes that fill no vector, with one codebook and several, for logits that lie far apart.
TEST(Pot, KernelGivesWhatTensorOperationsGive) {
  torch::manual_seed(4);
  for (const auto type : {at::kFloat, at::kDouble}) {
    for (const int64_t codebooks : {1, 3}) {
      for (const double scale : {0.1, 1.0, 60.0}) {
        const Codebook codebook = make_codebook(scale * at::randn({codebooks, 37, 5}, type), 1);
        const at::Tensor group = at::tensor({0, 2, 1, 2}, at::kLong), values = at::randn({4, 11, 5}, type);
        const at::Tensor weight = at::randn({4}, type);
        const auto run = [&](auto loss_of) {
          const at::Tensor tokens = values.clone().requires_grad_();
          const at::Tensor loss = loss_of(codebook, quantize(codebook, tokens, group), group);
          (loss * weight).sum().backward();
          return std::pair(loss.detach(), tokens.grad());
        };
        const auto [expected, slope] = run(plain_pot_loss);
        const auto [got, ours] = run(pot_loss);
        const double tolerance = type == at::kFloat ? 2e-5 : 1e-12;
        EXPECT_CLOSE(got, expected, tolerance) << codebooks << ' ' << scale;
        EXPECT_CLOSE(ours, slope, tolerance) << codebooks << ' ' << scale;
      }
    }
  }
}

}  // namespace
}  // namespace hivq
