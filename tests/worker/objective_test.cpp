#include "worker/train/objective.h"

#include "tests/worker/model_fixture.h"
#include "worker/model/forward.h"

namespace hivq {
namespace {

/// Eq. 1 as a function of the parameters whose slope is the straight-through gradient: each level's output is its
/// tokens plus what quantisation added at the start, and that and the nearest prototypes are held constant (Bengio et
/// al., 2013; sg in Eq. 1).
struct Surrogate {
  const Model& model;
  const LossSpec& weights;
  const Batch& batch;
  std::vector<Quantized> start;

  ObjectiveValue operator()() const {
    Dropout none;
    const at::Tensor position = position_of(model);
    const std::vector<at::Tensor> enc = encode(model, batch.h0, position, none);
    Forward out;
    out.place = batch.classes;
    for (const Quantized& q : start) {
      const at::Tensor tokens = level_tokens(enc, out.levels);
      const at::Tensor product = quantize(model.codebooks[out.levels.size()], tokens, batch.classes).product;
      out.levels.push_back({tokens, q.nearest, q.code, tokens + (q.nearest - q.tokens.detach()), product});
    }
    out.reconstruction = reconstruct(model, decode(model, out.levels, position, none), batch.classes);
    return objective(model, loss_weights(std::span(&weights, 1), at::kDouble), batch, out);
  }
};

class ObjectiveGradient : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(, ObjectiveGradient, testing::Values("full", "single"), [](const auto& i) { return i.param; });

TEST_P(ObjectiveGradient, OfEveryParameterIsTheSlopeOfTheWholeObjective) {
  const GoldenCase golden = golden_case(GetParam());
  const Training training = golden.training();
  const Model& model = training.model;
  const Batch batch = golden.batch();
  Dropout none;
  const Forward out = forward(model, batch.h0, batch.classes, none);
  objective(model, loss_weights(std::span(&golden.spec.loss, 1), at::kDouble), batch, out).total.backward();

  const Surrogate surrogate{model, golden.spec.loss, batch, out.levels};
  const c10::InferenceMode inference;
  const auto total = [&] { return surrogate().total.item<double>(); };
  at::Tensor values = model.values;
  constexpr double kStep = 1e-5;
  int64_t begin = 0, checked = 0, nonzero = 0;
  for (const NamedTensor& gradient : named_gradients(model)) {
    const int64_t count = gradient.tensor.numel();
    for (const int64_t i : {begin, begin + count / 2, begin + count - 1}) {
      const double before = values[0][i].item<double>();
      values[0][i].fill_(before + kStep);
      const double up = total();
      values[0][i].fill_(before - kStep);
      const double slope = (up - total()) / (2 * kStep);
      values[0][i].fill_(before);
      const double ours = model.gradients[0][i].item<double>();
      EXPECT_NEAR(ours, slope, 1e-8 + 1e-6 * std::abs(slope)) << gradient.name << " element " << i - begin;
      ++checked;
      nonzero += std::abs(slope) > 1e-6;
    }
    begin += count;
  }
  EXPECT_GT(checked, 150);
  EXPECT_GT(nonzero, checked / 2);
}

/// ‖h − sg(e)‖² and POT pull the tokens only: whoever lets a gradient into the codebooks breaks this.
TEST(Objective, NoGradientReachesThePrototypes) {
  const GoldenCase golden = golden_case("full");
  Training training = golden.training();
  for (Codebook& codebook : training.model.codebooks) codebook.embed.requires_grad_();
  const Batch batch = golden.batch();
  Dropout none;
  objective(training.model, loss_weights(std::span(&golden.spec.loss, 1), at::kDouble), batch,
            forward(training.model, batch.h0, batch.classes, none))
      .total.backward();
  for (const Codebook& codebook : training.model.codebooks) EXPECT_FALSE(codebook.embed.grad().defined());
}

/// β weighs the pull on the tokens: twice the weight, twice the gradient of the commitment alone.
TEST(Objective, CommitmentPullsTheTokensToTheirPrototypes) {
  const GoldenCase golden = golden_case("full");
  Training training = golden.training();
  const Batch batch = golden.batch();
  Dropout none;
  const Forward out = forward(training.model, batch.h0, batch.classes, none);
  const at::Tensor h = out.levels[0].tokens.detach().requires_grad_();
  const auto elements = static_cast<double>(h.numel());
  Forward cut = out;
  for (Quantized& level : cut.levels) level.tokens = level.tokens.detach();
  cut.levels[0].tokens = h;
  cut.reconstruction = out.reconstruction.detach();
  LossSpec weights;
  weights.commitment = 0.7, weights.pot = 0, weights.classification = 0;
  objective(training.model, loss_weights(std::span(&weights, 1), at::kDouble), batch, cut).total.backward();
  EXPECT_CLOSE(h.grad(), 0.7 * 2 / elements * (h - out.levels[0].nearest).detach(), 1e-12);
}

TEST(Objective, ARanksPartsAddUpToTheBatchs) {
  const GoldenCase golden = golden_case("full");
  const Training training = golden.training();
  const Batch whole = golden.batch();
  Dropout none;
  const auto terms = [&](int64_t first, int64_t count) {
    const Batch part{whole.h0.narrow(0, first, count), whole.classes.narrow(0, first, count), first,
                     whole.global_classes};
    return objective(training.model, loss_weights(std::span(&golden.spec.loss, 1), at::kDouble), part,
                     forward(training.model, part.h0, part.classes, none))
        .terms;
  };
  EXPECT_CLOSE(terms(0, 2) + terms(2, 3), terms(0, 5), 1e-12);
}

}  // namespace
}  // namespace hivq
