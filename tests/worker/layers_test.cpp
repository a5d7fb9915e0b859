#include "worker/model/layers.h"

#include "tests/worker/model_fixture.h"
#include "worker/model/forward.h"
#include "worker/model/fused_attention.h"

namespace hivq {
namespace {

TEST(NeighbourMask, HidesTheSquareAroundEachToken) {
  const int64_t grid = 6;
  const at::Tensor mask = neighbour_mask(grid, 3, at::kFloat);
  for (int64_t a = 0; a < 36; ++a) {
    for (int64_t b = 0; b < 36; ++b) {
      const bool near = std::abs(a / grid - b / grid) <= 1 && std::abs(a % grid - b % grid) <= 1;
      EXPECT_EQ(mask[a][b].item<float>(), near ? -std::numeric_limits<float>::infinity() : 0.0f) << a << ' ' << b;
    }
  }
}

/// With a mask, a change of one token reaches its neighbours only through the residual, that is not at all in
/// attention.
TEST(NeighbourMask, KeepsAttentionFromTheNeighbours) {
  Attention layer;
  torch::manual_seed(3);
  layer.in_proj_weight = 0.3 * at::randn({24, 8}, at::kDouble), layer.in_proj_bias = at::randn({24}, at::kDouble);
  layer.out_proj = {at::randn({8, 8}, at::kDouble), at::randn({8}, at::kDouble)};
  const at::Tensor x = at::randn({1, 25, 8}, at::kDouble);
  at::Tensor changed = x.clone();
  changed[0][12] += 1;
  for (const double rate : {0.0, 1e-9}) {  // with and without the fused kernel
    const auto attended = [&](const at::Tensor& tokens) {
      Dropout dropout{{{rate, 1}}};
      LayerSetting how{2, neighbour_mask(5, 3, at::kDouble), dropout};
      return attention(layer, how, x, tokens, tokens);
    };
    const at::Tensor difference = (attended(x) - attended(changed)).abs().sum(2)[0];
    for (int64_t token = 0; token < 25; ++token) {
      const bool near = std::abs(token / 5 - 2) <= 1 && std::abs(token % 5 - 2) <= 1;
      EXPECT_EQ(difference[token].item<double>() > 1e-9, !near) << token << " at rate " << rate;
    }
  }
}

TEST(NeighbourMask, IsPartOfTheModel) {
  TrialSpec spec = small_trial();
  spec.model.neighbour_mask = 1;
  const Model masked = make_model(spec.model, {6, 3, 3}, 1, at::kFloat);
  spec.model.neighbour_mask = 0;
  const Model plain = make_model(spec.model, {6, 3, 3}, 1, at::kFloat);
  Dropout none;
  const at::Tensor h0 = at::randn({2, 9, 6}), classes = at::tensor({0, 2}, at::kLong);
  EXPECT_FALSE(at::allclose(forward(masked, h0, classes, none).reconstruction,
                            forward(plain, h0, classes, none).reconstruction));
}

/// Products of rounded factors, summed more exactly than bfloat16.
TEST(Bfloat16, ALayerRoundsItsFactorsAndItsResult) {
  torch::manual_seed(5);
  const at::Tensor x = at::randn({3, 7, 40}), weight = at::randn({24, 40}), bias = at::randn({24});
  const auto rounded = [](const at::Tensor& t) { return t.to(at::kBFloat16).to(at::kDouble); };
  const at::Tensor expected = at::linear(rounded(x), rounded(weight), rounded(bias));
  const at::Tensor out = linear({weight, bias}, x, true);
  EXPECT_EQ(out.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::allclose(out.to(at::kDouble), expected, /*rtol=*/1.0 / 128, /*atol=*/1e-3));
  EXPECT_FALSE(at::equal(out, linear({weight, bias}, x)));
  const at::Tensor pair = linear({at::stack({weight, weight}), at::stack({bias, bias})}, at::cat({x, x}), true);
  EXPECT_CLOSE(pair[3], out[0], 1.0 / 128);
}

/// With its tensor operations, as on a GPU.
TEST(Bfloat16, AttentionStaysNearItsFloat32) {
  torch::manual_seed(6);
  const at::Tensor q = at::randn({2, 9, 8}), k = at::randn({2, 9, 8}), v = at::randn({2, 9, 8});
  for (const double rate : {0.0, 0.2}) {
    const auto run = [&](bool bfloat16) {
      Dropout dropout{{{rate, 1, 2, 3}}};
      LayerSetting how{2, neighbour_mask(3, 1, at::kFloat), dropout, bfloat16};
      return attend(q, k, v, how);
    };
    EXPECT_EQ(run(true).scalar_type(), at::kFloat);
    EXPECT_CLOSE(run(true), run(false), 0.03) << rate;
    EXPECT_FALSE(at::equal(run(true), run(false)));
  }
}

/// Tokens in numbers that fill no vector, heads that do not begin at a chunk of the masks, projections that lie apart.
TEST(FusedAttention, GivesWhatTensorOperationsGive) {
  for (const auto type : {at::kFloat, at::kDouble}) {
    for (const double rate : {0.0, 0.3}) {
      for (const bool masked : {false, true}) {
        torch::manual_seed(7);
        const int64_t grid = 5, heads = 3, width = 12;
        const at::Tensor qk = at::randn({4, grid * grid, 2 * width}, type),
                         v = at::randn({4, grid * grid, width}, type);
        const at::Tensor weight = at::randn_like(v);
        const auto run = [&](auto attention_of) {
          std::vector<at::Tensor> leaves = {qk.clone().requires_grad_(), v.clone().requires_grad_()};
          Dropout dropout{{{rate, 1, 2, 3}, {rate, 4, 5, 6}}, 7};  // two trials side by side
          LayerSetting how{heads, masked ? neighbour_mask(grid, 3, type) : at::Tensor(), dropout};
          const at::Tensor out =
              attention_of(leaves[0].narrow(2, 0, width), leaves[0].narrow(2, width, width), leaves[1], how);
          (out * weight).sum().backward();
          EXPECT_EQ(dropout.site, rate > 0 ? 8u : 7u);
          return std::vector<at::Tensor>{out.detach(), leaves[0].grad(), leaves[1].grad()};
        };
        const auto expected = run(attend), got = run(fused_attention);
        const double tolerance = type == at::kFloat ? 3e-6 : 1e-13;
        for (size_t i = 0; i < got.size(); ++i) EXPECT_CLOSE(got[i], expected[i], tolerance) << rate << masked << i;
      }
    }
  }
}

TEST(FusedAttention, SoftmaxOfFarApartLogitsStaysExact) {
  const at::Tensor q = at::tensor({0.0f, 50.0f, -300.0f, 80.0f}).view({1, 4, 1}),
                   v = at::arange(4, at::kFloat).view({1, 4, 1});
  Dropout none;
  LayerSetting how{1, at::Tensor(), none};
  EXPECT_CLOSE(fused_attention(q, q, v, how), attend(q, q, v, how), 1e-6);
}

}  // namespace
}  // namespace hivq
