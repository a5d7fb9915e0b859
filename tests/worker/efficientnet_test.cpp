#include "worker/backbone/efficientnet_lite.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

#include "worker/data/fashion_mnist.h"
#include "worker/data/preprocess.h"

namespace hivq {
namespace {

const std::string kWeights = HIVQ_DEPS_DIR "/weights/efficientnet-lite0.safetensors";
const std::string kGolden = HIVQ_SOURCE_DIR "/tests/worker/golden/backbone.safetensors";

const Result<SafeTensors>& weights_file() {
  static const Result<SafeTensors> file = load_safetensors(kWeights);
  return file;
}
const SafeTensors& weights() { return *weights_file(); }

/// Without the weights every test fails, with a sentence.
class EfficientNetLite0 : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(weights_file()) << weights_file().error().message
                                << "; run cmake/setup.sh, which puts the weights there";
  }
};

EfficientNetLite network(const std::vector<int64_t>& stages) {
  return make_efficientnet_lite0(weights(), stages, kWeights).value();
}

/// As in make_backbone_golden.py.
at::Tensor synthetic() {
  const at::Tensor y = at::arange(40).view({40, 1, 1}), x = at::arange(56).view({1, 56, 1}), c = at::arange(3);
  return (x * x + 3 * x * y + 7 * y * (c + 1) + 50 * c).remainder(256).to(at::kByte);
}

at::Tensor fashion(int64_t index) {
  DataSpec data;
  data.train_per_class = 1;
  const auto images = load_fashion_mnist(data);
  if (!images) panic(images.error().message);
  return images->decode(static_cast<int64_t>(images->train.size()) + index).value();
}

struct Golden {
  std::string name;
  int64_t size;
  at::Tensor image;
  const SafeTensors& file;

  std::string key(const std::string& what) const { return fmt::format("{}.{}.{}", name, size, what); }

  /// Compares the samples, and the mean and deviation, to 1e-4 of a value or of the deviation, whichever is larger.
  void expect(const std::string& what, const at::Tensor& got, bool with_moments = true) const {
    const at::Tensor expected = file.tensors.at(key(what)), flat = got[0].contiguous().flatten().to(at::kDouble);
    const at::Tensor samples = flat.index({at::arange(expected.numel()).mul(7919).remainder(flat.numel())});
    const double deviation = flat.std(/*unbiased=*/false).item<double>();
    const at::Tensor allowed = expected.to(at::kDouble).abs().clamp_min(deviation).mul(1e-4);
    EXPECT_TRUE(((samples - expected).abs() <= allowed).all().item<bool>())
        << key(what) << ": off by " << (samples - expected).abs().max().item<double>() << ", deviation " << deviation;
    if (!with_moments) return;
    const at::Tensor moments = file.tensors.at(key(what + ".moments"));
    EXPECT_NEAR(flat.mean().item<double>(), moments[0].item<double>(), 1e-4 * deviation) << key(what);
    EXPECT_NEAR(deviation, moments[1].item<double>(), 1e-4 * deviation) << key(what);
  }
};

std::vector<Golden> goldens(const SafeTensors& file) {
  return {{"synthetic", 48, synthetic(), file},
          {"synthetic", 112, synthetic(), file},
          {"synthetic", 224, synthetic(), file},
          {"fashion0", 112, fashion(0), file},
          {"fashion1", 112, fashion(1), file}};
}

TEST_F(EfficientNetLite0, EveryStageEqualsTheReference) {
  const SafeTensors file = load_safetensors(kGolden).value();
  const EfficientNetLite all = network({1, 2, 3, 4, 5, 6, 7});
  for (const Golden& golden : goldens(file)) {
    const auto taps = tapped_outputs(all, preprocess(golden.image, golden.size).unsqueeze(0));
    ASSERT_EQ(taps.size(), 7u);
    for (size_t i = 0; i < taps.size(); ++i) golden.expect(fmt::format("stage{}", i + 1), taps[i]);
  }
}

TEST_F(EfficientNetLite0, FeaturesEqualTheReference) {
  const SafeTensors file = load_safetensors(kGolden).value();
  const EfficientNetLite tapped = network({1, 2, 3, 5});
  EXPECT_EQ(tapped.channels, 16 + 24 + 40 + 112);
  for (const Golden& golden : goldens(file)) {
    const at::Tensor features = extract_features(tapped, preprocess(golden.image, golden.size).unsqueeze(0));
    EXPECT_EQ(features.sizes(), (std::vector<int64_t>{1, 192, golden.size / 16, golden.size / 16}));
    golden.expect("features", features);
  }
}

TEST_F(EfficientNetLite0, PreprocessingEqualsTheReference) {
  const SafeTensors file = load_safetensors(kGolden).value();
  for (const Golden& golden : goldens(file)) {
    golden.expect("pixels", preprocess(golden.image, golden.size).unsqueeze(0), /*with_moments=*/false);
  }
}

TEST_F(EfficientNetLite0, ImagesOfABatchDoNotMix) {
  const EfficientNetLite tapped = network({1, 5});
  const at::Tensor images = at::randn({5, 3, 64, 64});
  const at::Tensor together = extract_features(tapped, images);
  EXPECT_TRUE(together.is_contiguous());
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_TRUE(at::allclose(together[i], extract_features(tapped, images.narrow(0, i, 1))[0], 1e-4, 1e-4)) << i;
  }
}

TEST_F(EfficientNetLite0, ComputesOnlyUpToTheHighestTap) {
  EXPECT_EQ(network({2, 1}).blocks.size(), 3u);
  EXPECT_EQ(network({7}).blocks.size(), 16u);
}

TEST_F(EfficientNetLite0, NamesTheTensorThatIsMissingOrMisshapen) {
  const auto message = [](const SafeTensors& file) {
    const auto made = make_efficientnet_lite0(file, {1, 2}, "w.safetensors");
    return made ? "no error" : made.error().message;
  };
  SafeTensors damaged = weights();
  damaged.tensors.erase("_blocks.1._bn2.running_var");
  EXPECT_TRUE(message(damaged).starts_with("w.safetensors: tensor `_blocks.1._bn2.running_var` is missing"))
      << message(damaged);
  damaged = weights();
  damaged.tensors["_conv_stem.weight"] = at::zeros({32, 1, 3, 3});
  EXPECT_TRUE(
      message(damaged).starts_with("w.safetensors: tensor `_conv_stem.weight` is Float [32, 1, 3, 3], but "
                                   "EfficientNet-Lite0 needs floats [32, 3, 3, 3]"))
      << message(damaged);
  damaged = weights();
  damaged.tensors.erase("_blocks.15._bn2.running_var");  // beyond the taps
  EXPECT_EQ(message(damaged), "no error");
}

TEST_F(EfficientNetLite0, RefusesStagesThatDoNotExist) {
  const auto message = [](std::vector<int64_t> stages) {
    const auto made = make_efficientnet_lite0(weights(), std::move(stages), kWeights);
    return made ? "no error" : made.error().message;
  };
  EXPECT_EQ(message({1, 8}), "backbone.stages names stage 8, but efficientnet-lite0 has the stages 1 to 7");
  EXPECT_EQ(message({0}), "backbone.stages names stage 0, but efficientnet-lite0 has the stages 1 to 7");
  EXPECT_EQ(message({3, 2, 3}), "backbone.stages names stage 3 twice");
  EXPECT_EQ(message({}), "backbone.stages is empty; name at least one stage of 1 to 7");
}

}  // namespace
}  // namespace hivq
