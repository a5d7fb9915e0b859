#include "worker/model/model.h"

#include "tests/worker/model_fixture.h"
#include "worker/model/forward.h"

namespace hivq {
namespace {

constexpr double kTolerance = 1e-9;

class ModelParity : public testing::TestWithParam<std::string> {
 protected:
  GoldenCase golden = golden_case(GetParam());
  Training training = golden.training();
  Dropout none;
};
INSTANTIATE_TEST_SUITE_P(, ModelParity, testing::Values("full", "single"), [](const auto& i) { return i.param; });

TEST_P(ModelParity, ForwardIsTheReferences) {
  const Forward out = forward(training.model, golden["h0"], golden["classes"], none);
  EXPECT_CLOSE(out.reconstruction, golden["reconstruction"], kTolerance);
  ASSERT_EQ(out.levels.size(), GetParam() == "full" ? 3u : 1u);
  for (size_t level = 0; level < out.levels.size(); ++level) {
    EXPECT_CLOSE(out.levels[level].tokens, golden[fmt::format("level{}.tokens", level)], kTolerance) << level;
    EXPECT_TRUE(at::equal(out.levels[level].code, golden[fmt::format("level{}.code", level)])) << level;
  }
}

TEST_P(ModelParity, ClassifierIsTheReferences) {
  EXPECT_CLOSE(classify(training.model, golden["h0"]), golden["logits"], kTolerance);
}

TEST_P(ModelParity, EveryReferenceTensorHasItsName) {
  std::set<std::string> ours, theirs;
  for (const NamedTensor& tensor : named_parameters(training.model)) ours.insert(tensor.name);
  for (const NamedTensor& tensor : named_codebooks(training.model)) ours.insert(tensor.name);
  for (const auto& [name, tensor] : golden.tensors) {
    if (name.starts_with("before.")) theirs.insert(name.substr(7));
  }
  EXPECT_EQ(ours, theirs);
}

TEST_P(ModelParity, AnImageDoesNotDependOnTheOthersOfItsBatch) {
  const at::Tensor all = forward(training.model, golden["h0"], golden["classes"], none).reconstruction;
  for (int64_t i = 0; i < all.size(0); ++i) {
    const at::Tensor alone =
        forward(training.model, golden["h0"].narrow(0, i, 1), golden["classes"].narrow(0, i, 1), none).reconstruction;
    EXPECT_CLOSE(alone[0], all[i], kTolerance) << i;
  }
}

TEST(Model, SeedDecidesTheStart) {
  const TrialSpec spec = small_trial();
  const InputShape input{6, 3, 4};
  const Model one = make_model(spec.model, input, 1, at::kFloat), same = make_model(spec.model, input, 1, at::kFloat);
  const Model other = make_model(spec.model, input, 2, at::kFloat);
  EXPECT_TRUE(at::equal(one.values, same.values));
  EXPECT_TRUE(at::equal(one.codebooks[1].embed, same.codebooks[1].embed));
  EXPECT_FALSE(at::equal(one.values, other.values));
  EXPECT_FALSE(at::equal(one.codebooks[1].embed, other.codebooks[1].embed));
}

TEST(Model, StartsAsTheAuthorsDo) {
  ModelSpec spec;
  spec.width = 64, spec.feed_forward = 256, spec.layers = 1;
  const Model model = make_model(spec, {192, 7, 5}, 3, at::kFloat);
  for (const NamedTensor& parameter : named_parameters(model)) {
    const at::Tensor& t = parameter.tensor;
    if (parameter.name.starts_with("pos_embed")) {
      EXPECT_GE(t.min().item<float>(), 0) << parameter.name;
      EXPECT_NEAR(t.mean().item<float>(), 0.5, 0.1) << parameter.name;
    } else if (t.dim() == 1) {
      const bool one = parameter.name.find("norm") != std::string::npos && parameter.name.ends_with("weight");
      EXPECT_TRUE(t.eq(one ? 1 : 0).all().item<bool>()) << parameter.name;
    } else {
      const double bound = std::sqrt(6.0 / static_cast<double>(t.size(0) + t.size(1)));
      EXPECT_LE(t.abs().max().item<double>(), bound * 1.000001) << parameter.name;
      EXPECT_NEAR(t.std().item<double>(), bound / std::sqrt(3.0), 0.1 * bound) << parameter.name;
    }
  }
  EXPECT_NEAR(model.codebooks[0].embed.std().item<float>(), 1, 0.02);
  EXPECT_TRUE(at::equal(model.codebooks[0].embed, model.codebooks[0].embed_avg));
  EXPECT_TRUE(model.codebooks[0].cluster_size.eq(0).all().item<bool>());
}

TEST(Model, CountsItsLevelsByItsLayers) {
  ModelSpec spec = small_trial().model;
  for (const int64_t layers : {1, 2, 5}) {
    spec.layers = layers;
    const Model model = make_model(spec, {6, 3, 2}, 0, at::kFloat);
    EXPECT_EQ(model.levels(), layers + 1);
    EXPECT_EQ(model.codebooks.front().width(), spec.width);
    EXPECT_EQ(model.codebooks.back().width(), 2 * spec.width);
    EXPECT_EQ(named_codebooks(model).front().name, fmt::format("quantize_list_{}.0.embed", layers + 1));
    Dropout none;
    const Forward out = forward(model, at::randn({2, 9, 6}), at::tensor({1, 0}, at::kLong), none);
    EXPECT_EQ(out.reconstruction.sizes(), (std::vector<int64_t>{2, 9, 6}));
    EXPECT_TRUE(out.reconstruction.isfinite().all().item<bool>());
  }
}

TEST(Model, HasAsManyLevelsAsItIsTold) {
  ModelSpec spec = small_trial().model;
  spec.layers = 4;
  for (const int64_t levels : {2, 3, 5}) {
    spec.quantizer.levels = levels;
    const Model model = make_model(spec, {6, 3, 2}, 0, at::kFloat);
    EXPECT_EQ(model.levels(), levels);
    Dropout none;
    const Forward out = forward(model, at::randn({2, 9, 6}), at::tensor({1, 0}, at::kLong), none);
    EXPECT_EQ(static_cast<int64_t>(out.levels.size()), levels);
    EXPECT_TRUE(out.reconstruction.isfinite().all().item<bool>());
  }
}

TEST(Model, SwitchesChooseByClass) {
  TrialSpec spec = small_trial();
  Dropout none;
  const at::Tensor h0 = at::randn({1, 9, 6});
  const auto differs = [&] {
    const Model model = make_model(spec.model, {6, 3, 2}, 0, at::kFloat);
    const at::Tensor a = forward(model, h0, at::tensor({0}, at::kLong), none).reconstruction;
    return !at::equal(a, forward(model, h0, at::tensor({1}, at::kLong), none).reconstruction);
  };
  EXPECT_TRUE(differs());
  spec.model.expert_switching = false;
  EXPECT_TRUE(differs());
  spec.model.quantizer.codebook_switching = false;
  EXPECT_FALSE(differs());
  spec.model.expert_switching = true;
  EXPECT_TRUE(differs());
}

TEST(Model, SaysWhichWidthItCannotSplit) {
  ModelSpec spec;
  spec.width = 100;
  const InputShape input{6, 3, 2};
  EXPECT_EQ(check_model(spec, input).error().message,
            "model.width is 100; it must be even and a multiple of model.heads, which is 8");
  spec.width = 7, spec.heads = 7;
  EXPECT_FALSE(check_model(spec, input));
  spec.width = 14;
  EXPECT_TRUE(check_model(spec, input));
  spec.neighbour_mask = 3;
  EXPECT_EQ(
      check_model(spec, input).error().message,
      "model.neighbour_mask is 3, which leaves the middle of 3 × 3 tokens nothing to attend to; it must be below 2");
  EXPECT_TRUE(check_model(spec, {6, 4, 2}));
}

}  // namespace
}  // namespace hivq
