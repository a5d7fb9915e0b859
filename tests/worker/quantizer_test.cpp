#include "worker/model/quantizer.h"

#include "tests/worker/model_fixture.h"
#include "worker/model/cpu_kernels.h"
#include "worker/model/forward.h"
#include "worker/train/codebook_start.h"

namespace hivq {
namespace {

at::Tensor classes(std::vector<int64_t> list) { return at::tensor(list, at::kLong); }

TEST(Quantize, FindsTheNearestPrototypeOfTheImagesOwnCodebook) {
  for (const int seed : {1, 2, 3}) {
    torch::manual_seed(seed);
    const Codebook codebook = make_codebook(at::randn({3, 7, 4}, at::kDouble), 1);
    const at::Tensor tokens = at::randn({5, 6, 4}, at::kDouble), group = classes({2, 0, 1, 2, 0});
    const Quantized level = quantize(codebook, tokens, group);
    for (int64_t b = 0; b < 5; ++b) {
      const at::Tensor own = codebook.embed[group[b].item<int64_t>()];
      const at::Tensor distance = (tokens[b].unsqueeze(1) - own.unsqueeze(0)).square().sum(2);
      EXPECT_TRUE(at::equal(level.code[b], distance.argmin(1))) << "seed " << seed << ", image " << b;
      EXPECT_TRUE(at::equal(level.output[b], own.index_select(0, level.code[b])));
    }
  }
}

TEST(Quantize, OneCodebookServesEveryClass) {
  const Codebook codebook = make_codebook(at::randn({1, 7, 4}), 1);
  const at::Tensor tokens = at::randn({2, 6, 4});
  EXPECT_TRUE(
      at::equal(quantize(codebook, tokens, classes({0, 1})).code, quantize(codebook, tokens, classes({4, 2})).code));
}

TEST(Quantize, TheFirstOfEqualPrototypesWins) {
  const Codebook codebook = make_codebook(at::ones({1, 4, 2}), 1);
  EXPECT_TRUE(quantize(codebook, at::randn({1, 5, 2}), classes({0})).code.eq(0).all().item<bool>());
}

TEST(Quantize, HandsTheGradientStraightThrough) {
  const Codebook codebook = make_codebook(at::randn({2, 5, 3}), 1);
  const at::Tensor tokens = at::randn({2, 4, 3}).requires_grad_(), weight = at::randn({2, 4, 3});
  (quantize(codebook, tokens, classes({1, 0})).output * weight).sum().backward();
  EXPECT_TRUE(at::equal(tokens.grad(), weight));
}

/// All the rows, by one γ.
void move(Codebook& codebook, const CodebookStatistics& statistics, const at::Tensor& rows, double decay) {
  ema_update(codebook, statistics, rows, at::full(rows.sizes(), decay, at::kDouble), at::ones(rows.sizes(), at::kBool));
}

Codebook copy_of(const Codebook& codebook) {
  return {codebook.embed.clone(), codebook.cluster_size.clone(), codebook.embed_avg.clone(),
          codebook.squared_norm.clone()};
}

TEST(EmaUpdate, RowsThatDoNotMoveStayAndNeedNoStatistics) {
  torch::manual_seed(6);
  // Untouched codebooks of a `normal` start have m = e and n = 0: m / size would not be e.
  const Codebook start = make_codebook(at::randn({3, 5, 2}), 0);
  const CodebookStatistics statistics{at::rand({3, 5}) + 1, at::randn({3, 5, 2})};
  statistics.sums[1].fill_(std::numeric_limits<double>::quiet_NaN());
  Codebook some = copy_of(start), expected = copy_of(start);
  const auto move_some = [&] {
    ema_update(some, statistics, classes({0, 1, 2}), at::full({3}, 0.9, at::kDouble),
               at::tensor({1, 0, 1}, at::kLong).to(at::kBool));
  };
  const at::Tensor moved = classes({0, 2});
  move(expected, {statistics.counts.index_select(0, moved), statistics.sums.index_select(0, moved)}, moved, 0.9);
  move_some();
  const auto same = [&](double tolerance) {
    EXPECT_CLOSE(some.embed, expected.embed, tolerance);
    EXPECT_CLOSE(some.cluster_size, expected.cluster_size, tolerance);
    EXPECT_CLOSE(some.embed_avg, expected.embed_avg, tolerance);
    EXPECT_CLOSE(some.squared_norm, expected.squared_norm, tolerance);
  };
  same(0);
  some = copy_of(start);
  const WithoutCpuKernels as_on_a_gpu;
  move_some();
  same(1e-6);
}

TEST(EmaUpdate, LeavesAbsentCodebooksAsTheyAre) {
  Codebook codebook = make_codebook(at::randn({4, 5, 3}), 2);
  const Codebook before = copy_of(codebook);
  const CodebookStatistics statistics{at::rand({2, 5}) + 1, at::randn({2, 5, 3})};
  move(codebook, statistics, classes({0, 2}), 0.9);
  for (const int64_t absent : {1, 3}) {
    EXPECT_TRUE(at::equal(codebook.embed[absent], before.embed[absent]));
    EXPECT_TRUE(at::equal(codebook.cluster_size[absent], before.cluster_size[absent]));
    EXPECT_TRUE(at::equal(codebook.embed_avg[absent], before.embed_avg[absent]));
  }
  for (const int64_t present : {0, 2}) EXPECT_FALSE(at::equal(codebook.embed[present], before.embed[present]));
  EXPECT_CLOSE(codebook.squared_norm, codebook.embed.square().sum(2), 1e-6);
}

TEST(EmaUpdate, GivesTheSameForAllCodebooksAtOnceAndForSome) {
  torch::manual_seed(4);
  const at::Tensor embed = at::randn({3, 5, 2}, at::kDouble);
  const CodebookStatistics statistics{at::rand({3, 5}, at::kDouble), at::randn({3, 5, 2}, at::kDouble)};
  Codebook at_once = make_codebook(embed.clone(), 1), one_by_one = make_codebook(embed.clone(), 1);
  move(at_once, statistics, classes({0, 1, 2}), 0.99);
  for (int64_t s = 0; s < 3; ++s) {
    move(one_by_one, {statistics.counts.narrow(0, s, 1), statistics.sums.narrow(0, s, 1)}, classes({s}), 0.99);
  }
  EXPECT_CLOSE(at_once.embed, one_by_one.embed, 1e-12);
  EXPECT_CLOSE(at_once.squared_norm, one_by_one.squared_norm, 1e-12);
}

TEST(EmaUpdate, MovesPrototypesToTheMeansOfTheirTokens) {
  torch::manual_seed(5);
  const at::Tensor centre = 5 * at::randn({1, 4, 3});
  const at::Tensor tokens = (centre.repeat({50, 1, 1}) + 0.01 * at::randn({50, 4, 3}));
  Codebook codebook = make_codebook(centre + 0.5, 1);
  const at::Tensor group = at::zeros({50}, at::kLong);
  for (int step = 0; step < 1000; ++step) {
    CodebookStatistics statistics{at::zeros({1, 4}), at::zeros({1, 4, 3})};
    add_statistics(statistics, quantize(codebook, tokens, group), group);
    move(codebook, statistics, classes({0}), 0.99);
  }
  EXPECT_CLOSE(codebook.embed, tokens.mean(0, true), 1e-3);
}

TEST(CodebookHealth, CountsWhatIsUsed) {
  const CodebookHealth even = codebook_health(at::full({1, 8}, 3.0));
  EXPECT_DOUBLE_EQ(even.live, 1);
  EXPECT_NEAR(even.perplexity, 8, 1e-12);
  at::Tensor use =
      at::zeros({3, 8}, at::kDouble);  // one prototype; two alike; an unused codebook, which does not count
  use[0][3] = 9, use[1][0] = 4, use[1][1] = 4;
  const CodebookHealth some = codebook_health(use);
  EXPECT_DOUBLE_EQ(some.live, (1.0 / 8 + 2.0 / 8) / 2);
  EXPECT_NEAR(some.perplexity, 1.5, 1e-12);
  EXPECT_EQ(codebook_health(at::zeros({2, 8})).live, 0);
}

TEST(CodebookStart, TakesTokensOfTheClassAndUsesThemAll) {
  const FeatureSet features = made_up_features(60, 1, 3, at::kDouble);
  TrialSpec spec = small_trial();
  spec.model.quantizer.prototypes = 16;
  Model model = make_model(spec.model, {6, 3, 3}, 5, at::kDouble);
  Model random = make_model(spec.model, {6, 3, 3}, 5, at::kDouble);
  start_codebooks_from_data(model, features, 5);
  for (size_t level = 0; level < 3; ++level) {
    const Codebook& codebook = model.codebooks[level];
    EXPECT_FALSE(at::equal(codebook.embed, random.codebooks[level].embed));
    EXPECT_TRUE(at::equal(codebook.embed, codebook.embed_avg));
    EXPECT_TRUE(codebook.cluster_size.eq(1).all().item<bool>());
    EXPECT_FALSE(at::equal(codebook.embed[0], codebook.embed[1]));
    EXPECT_EQ(std::get<0>(at::unique_dim(codebook.embed[0], 0)).size(0), 16);
  }
  Model again = make_model(spec.model, {6, 3, 3}, 5, at::kDouble);
  start_codebooks_from_data(again, features, 5);
  EXPECT_TRUE(at::equal(again.codebooks[2].embed, model.codebooks[2].embed));
}

TEST(CodebookStart, WorksWithOneCodebook) {
  const FeatureSet features = made_up_features(20, 1, 2, at::kFloat);
  TrialSpec spec = small_trial();
  spec.model.quantizer.prototypes = 50, spec.model.quantizer.codebook_switching = false;
  Model model = make_model(spec.model, {6, 3, 2}, 5, at::kFloat);
  start_codebooks_from_data(model, features, 5);
  EXPECT_EQ(std::get<0>(at::unique_dim(model.codebooks[2].embed[0], 0)).size(0), 50);
}

/// With k-means++ no token lies as far from its prototype as with prototypes that are drawn alike.
TEST(CodebookStart, KMeansPlusPlusDrawsTokensThatLieFarFromEachOther) {
  const FeatureSet features = made_up_features(60, 1, 3, at::kDouble);
  TrialSpec spec = small_trial();
  spec.model.quantizer.prototypes = 16;
  const auto spread = [&](const std::string& start) {  // of the token that lies farthest from its prototype
    spec.model.quantizer.start = start;
    Model model = make_model(spec.model, {6, 3, 3}, 5, at::kDouble);
    start_codebooks_from_data(model, features, 5);
    std::vector<int64_t> images;
    for (int64_t i = 0; i < 60; ++i) {
      if (features.train_class[static_cast<size_t>(i)] == 0) images.push_back(i);
    }
    Dropout none;
    const at::Tensor chosen = at::tensor(images, at::kLong);
    const Forward out = forward(model, tokens_of(features.train, chosen), at::zeros_like(chosen), none);
    EXPECT_EQ(std::get<0>(at::unique_dim(model.codebooks[0].embed[0], 0)).size(0), 16);
    return (out.levels[0].tokens - out.levels[0].nearest).square().sum(2).max().item<double>();
  };
  EXPECT_LT(spread("k-means++"), spread("data"));
}

}  // namespace
}  // namespace hivq
