#include "worker/backbone/efficientnet.h"

#include <gtest/gtest.h>
#include <torch/script.h>
#include <torch/torch.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <sstream>

#include "worker/commands/torchscript.h"
#include "worker/data/fashion_mnist.h"
#include "worker/data/file.h"
#include "worker/data/preprocess.h"
#include "worker/eval/score.h"

namespace hivq {
namespace {

const std::string kWeightsFolder = HIVQ_DEPS_DIR "/weights";
const std::string kGolden = HIVQ_SOURCE_DIR "/tests/worker/golden/backbone.safetensors";

const SafeTensors& golden_file() {
  static const SafeTensors file = load_safetensors(kGolden).value();
  return file;
}

BackboneSpec spec_of(const std::string& name, std::vector<int64_t> stages, std::vector<int64_t> blocks = {}) {
  BackboneSpec spec;
  spec.name = name;
  spec.stages = std::move(stages);
  spec.blocks = std::move(blocks);
  return spec;
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

  std::string key(const std::string& what) const { return fmt::format("{}.{}.{}", name, size, what); }
  at::Tensor pixels() const { return preprocess(image, size).unsqueeze(0); }

  /// Compares the samples, and the mean and deviation, to 1e-4 of a value or of the deviation, whichever is larger.
  void expect(const std::string& what, const at::Tensor& got, bool with_moments = true) const {
    const at::Tensor expected = golden_file().tensors.at(key(what)),
                     flat = got[0].contiguous().flatten().to(at::kDouble);
    const at::Tensor samples = flat.index({at::arange(expected.numel()).mul(7919).remainder(flat.numel())});
    const double deviation = flat.std(/*unbiased=*/false).item<double>();
    const at::Tensor allowed = expected.to(at::kDouble).abs().clamp_min(deviation).mul(1e-4);
    EXPECT_TRUE(((samples - expected).abs() <= allowed).all().item<bool>())
        << key(what) << ": off by " << (samples - expected).abs().max().item<double>() << ", deviation " << deviation;
    if (!with_moments) return;
    const at::Tensor moments = golden_file().tensors.at(key(what + ".moments"));
    EXPECT_NEAR(flat.mean().item<double>(), moments[0].item<double>(), 1e-4 * deviation) << key(what);
    EXPECT_NEAR(deviation, moments[1].item<double>(), 1e-4 * deviation) << key(what);
  }

  void expect_stages(const EfficientNet& every_stage) const {
    const auto taps = tapped_outputs(every_stage, pixels());
    ASSERT_EQ(taps.size(), 7u);
    for (size_t i = 0; i < taps.size(); ++i) expect(fmt::format("stage{}", i + 1), taps[i]);
  }
};

const std::vector<int64_t> kEveryStage = {1, 2, 3, 4, 5, 6, 7};

// Lite0, with its real weights.

const Result<BackboneWeights>& lite0() {
  static const Result<BackboneWeights> weights = load_backbone_weights(BackboneSpec{}, kWeightsFolder);
  return weights;
}

/// Without the weights every test fails, with a sentence.
class EfficientNetLite0 : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(lite0()) << lite0().error().message; }
};

EfficientNet lite0_network(const std::vector<int64_t>& stages) {
  return make_efficientnet(spec_of("efficientnet-lite0", stages), lite0()->file, lite0()->path).value();
}

std::vector<Golden> lite0_goldens() {
  return {{"synthetic", 48, synthetic()},
          {"synthetic", 112, synthetic()},
          {"synthetic", 224, synthetic()},
          {"fashion0", 112, fashion(0)},
          {"fashion1", 112, fashion(1)}};
}

TEST_F(EfficientNetLite0, EveryStageEqualsTheReference) {
  const EfficientNet all = lite0_network(kEveryStage);
  for (const Golden& golden : lite0_goldens()) golden.expect_stages(all);
}

TEST_F(EfficientNetLite0, FeaturesEqualTheReference) {
  const EfficientNet tapped = lite0_network({1, 2, 3, 5});
  EXPECT_EQ(tapped.channels, 16 + 24 + 40 + 112);
  for (const Golden& golden : lite0_goldens()) {
    const at::Tensor features = extract_features(tapped, golden.pixels());
    EXPECT_EQ(features.sizes(), (std::vector<int64_t>{1, 192, golden.size / 16, golden.size / 16}));
    golden.expect("features", features);
  }
}

TEST_F(EfficientNetLite0, PreprocessingEqualsTheReference) {
  for (const Golden& golden : lite0_goldens()) golden.expect("pixels", golden.pixels(), /*with_moments=*/false);
}

TEST_F(EfficientNetLite0, ComputesOnlyUpToTheHighestTap) {
  EXPECT_EQ(lite0_network({2, 1}).blocks.size(), 3u);
  EXPECT_EQ(lite0_network({7}).blocks.size(), 16u);
}

TEST_F(EfficientNetLite0, NamesTheTensorThatIsMissingOrMisshapen) {
  const auto message = [](const SafeTensors& file) {
    const auto made = make_efficientnet(spec_of("efficientnet-lite0", {1, 2}), file, "w.safetensors");
    return made ? "no error" : made.error().message;
  };
  SafeTensors damaged = lite0()->file;
  damaged.tensors.erase("_blocks.1._bn2.running_var");
  EXPECT_EQ(message(damaged),
            "w.safetensors: tensor `_blocks.1._bn2.running_var` is missing; set backbone.weights to weights of "
            "efficientnet-lite0");
  damaged = lite0()->file;
  damaged.tensors["_conv_stem.weight"] = at::zeros({32, 1, 3, 3});
  EXPECT_TRUE(
      message(damaged).starts_with("w.safetensors: tensor `_conv_stem.weight` is Float [32, 1, 3, 3], but "
                                   "efficientnet-lite0 needs floats [32, 3, 3, 3]"))
      << message(damaged);
  damaged = lite0()->file;
  damaged.tensors.erase("_blocks.15._bn2.running_var");  // beyond the taps
  EXPECT_EQ(message(damaged), "no error");
}

// The others, with weights by a formula.

/// splitmix64 of (ordinal · 2^32 + i), its upper 53 bits as a number in [0, 1).
double uniform(uint64_t ordinal, uint64_t i) {
  uint64_t z = ((ordinal << 32) + i + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) / 9007199254740992.0;
}

/// seeded() of make_backbone_golden.py.
at::Tensor seeded(uint64_t ordinal, const std::string& name, const std::vector<int64_t>& shape) {
  const at::Tensor tensor = at::empty(shape);
  const double fan_in = static_cast<double>(tensor.numel()) / static_cast<double>(shape[0]);
  const bool centred = shape.size() > 1 || name.ends_with(".running_mean") || name.ends_with(".bias");
  const double scale = shape.size() > 1 ? std::sqrt(3 / fan_in) : 0.2;
  float* values = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    const double u = uniform(ordinal, static_cast<uint64_t>(i));
    values[i] = static_cast<float>(centred ? (2 * u - 1) * scale : 0.5 + u);
  }
  return tensor;
}

/// A library's state dict: its own names and shapes, as the golden file lists them.
SafeTensors seeded_weights(const std::string& model, const std::string& prefix = "") {
  SafeTensors weights;
  std::istringstream lines(golden_file().metadata.at(model));
  std::string name, sizes;
  for (uint64_t ordinal = 0; lines >> name >> sizes; ++ordinal) {
    std::vector<int64_t> shape;
    std::istringstream numbers(sizes);
    for (std::string size; std::getline(numbers, size, 'x');) shape.push_back(std::stoll(size));
    weights.tensors[prefix + name] = seeded(ordinal, name, shape);
  }
  return weights;
}

const BackboneSpec kB0 = spec_of("efficientnet-b0", {1, 2, 3, 5});

TEST(EfficientNet, B0EqualsEfficientNetPyTorch) {
  const SafeTensors weights = seeded_weights("efficientnet_pytorch.b0");
  for (const int64_t size : {48, 112}) {
    const Golden golden{"efficientnet_pytorch.b0", size, synthetic()};
    golden.expect_stages(make_efficientnet(spec_of("efficientnet-b0", kEveryStage), weights, "w.pth").value());
    golden.expect("features", extract_features(make_efficientnet(kB0, weights, "w.pth").value(), golden.pixels()));
  }
}

/// Squeeze-and-excitation among it, for a batch that was not traced.
TEST(EfficientNet, B0InATorchScriptProgramGivesTheSameMap) {
  const auto backbone = make_efficientnet(kB0, seeded_weights("efficientnet_pytorch.b0"), "w.pth").value();
  TrainedModel trained;
  trained.spec.data.image_size = 64;
  trained.spec.model.width = 16, trained.spec.model.heads = 2, trained.spec.model.feed_forward = 24;
  trained.spec.model.layers = 2, trained.spec.model.quantizer.prototypes = 6;
  trained.spec.model.switch_by = "label";
  trained.spec.loss.classification = 0;
  trained.classes = {"nut", "pill"};
  trained.model = make_model(trained.spec.model, {backbone.channels, 4, 2}, 5, at::kFloat);
  freeze(trained.model);
  const std::string path = testing::TempDir() + fmt::format("/hivq_b0_{}.pt", ::getpid());
  ASSERT_TRUE(save_torchscript(trained, backbone, path));
  torch::jit::Module program = torch::jit::load(path);
  std::filesystem::remove(path);
  const c10::NoGradGuard no_gradients;
  for (const int64_t batch : {1, 3}) {
    const at::Tensor images = at::rand({batch, 3, 64, 64}), label = at::ones({batch}, at::kLong);
    const at::Tensor map = program.forward({images, label}).toTuple()->elements()[0].toTensor();
    const at::Tensor h0 = extract_features(backbone, normalised(images)).flatten(2).transpose(1, 2);
    const at::Tensor expected = score(trained.model, trained.spec.eval, h0, label).map;
    EXPECT_LT((map - expected).abs().max().item<double>(), 1e-4 * expected.abs().max().item<double>()) << batch;
  }
}

TEST(EfficientNet, B4EqualsEfficientNetPyTorch) {
  const SafeTensors weights = seeded_weights("efficientnet_pytorch.b4");
  const Golden golden{"efficientnet_pytorch.b4", 224, synthetic()};
  golden.expect_stages(make_efficientnet(spec_of("efficientnet-b4", kEveryStage), weights, "w.pth").value());

  const auto by_block = make_efficientnet(spec_of("efficientnet-b4", {}, {1, 5, 9, 21, 31}), weights, "w.pth").value();
  EXPECT_EQ(by_block.channels, 720);
  const at::Tensor features = extract_features(by_block, golden.pixels());
  EXPECT_EQ(features.sizes(), (std::vector<int64_t>{1, 720, 14, 14}));
  golden.expect("features", features);
  const auto by_stage = make_efficientnet(spec_of("efficientnet-b4", {1, 2, 3, 5, 7}), weights, "w.pth").value();
  EXPECT_TRUE(at::equal(extract_features(by_stage, golden.pixels()), features));
  EXPECT_EQ(by_stage.settings, by_block.settings);
}

TEST(EfficientNet, Lite2EqualsEfficientNetLitePyTorch) {
  const SafeTensors weights = seeded_weights("efficientnet_pytorch.lite2");
  const Golden golden{"efficientnet_pytorch.lite2", 112, synthetic()};
  golden.expect_stages(make_efficientnet(spec_of("efficientnet-lite2", kEveryStage), weights, "w.pth").value());
}

TEST(EfficientNet, TimmsNamesGiveTimmsFeaturesOfEitherTraining) {
  for (const std::string model : {"tf_efficientnet_b0", "efficientnet_b0"}) {
    const SafeTensors weights = seeded_weights("timm." + model);
    const Golden golden{"timm." + model, 112, synthetic()};
    const std::string path = "/folder/" + model + ".safetensors";
    golden.expect_stages(make_efficientnet(spec_of("efficientnet-b0", kEveryStage), weights, path).value());
    golden.expect("features", extract_features(make_efficientnet(kB0, weights, path).value(), golden.pixels()));
  }
}

TEST(EfficientNet, TorchvisionsNamesGiveTorchvisionsFeatures) {
  const struct {
    std::string model;
    int64_t size;
  } cases[] = {{"b0", 112}, {"b5", 48}};  // its b5 has another epsilon than its b0
  for (const auto& [model, size] : cases) {
    const SafeTensors weights = seeded_weights("torchvision." + model);
    const Golden golden{"torchvision." + model, size, synthetic()};
    golden.expect_stages(make_efficientnet(spec_of("efficientnet-" + model, kEveryStage), weights, "w.pth").value());
  }
}

TEST(EfficientNet, TheSameWeightsUnderAnotherNamingGiveTheSameFeatures) {
  const at::Tensor images = at::randn({2, 3, 64, 64});
  const auto features = [&](const std::string& model, const std::string& path, const std::string& prefix = "") {
    return extract_features(make_efficientnet(kB0, seeded_weights(model, prefix), path).value(), images);
  };
  const at::Tensor same = features("efficientnet_pytorch.b0", "w.pth");
  EXPECT_TRUE(at::equal(features("efficientnet_pytorch.b0", "w.pth", "enc."), same));
  EXPECT_TRUE(at::equal(features("efficientnet_pytorch.b0", "w.pth", "backbone."), same));
  EXPECT_TRUE(at::equal(features("timm.tf_efficientnet_b0", "tf_efficientnet_b0.ns_jft_in1k.safetensors"), same));
  const at::Tensor symmetric = features("torchvision.b0", "efficientnet_b0_rwightman-7f5810bc.pth");
  EXPECT_TRUE(at::equal(features("timm.efficientnet_b0", "efficientnet_b0.ra_in1k.safetensors"), symmetric));
  EXPECT_FALSE(at::allclose(symmetric, same, 0.1, 0.1));  // the padding that they were trained with
}

TEST(EfficientNet, TheSettingsTellThePaddingAndTheTaps) {
  const auto settings = [](const BackboneSpec& spec, const std::string& model) {
    return make_efficientnet(spec, seeded_weights(model), "w.pth").value().settings;
  };
  EXPECT_EQ(settings(kB0, "efficientnet_pytorch.b0"), "efficientnet-b0 blocks 0,2,4,10 SAME padding, epsilon 0.001");
  EXPECT_EQ(settings(kB0, "torchvision.b0"), "efficientnet-b0 blocks 0,2,4,10 symmetric padding, epsilon 1e-05");
}

TEST(EfficientNet, ImagesOfABatchDoNotMix) {
  const EfficientNet tapped = make_efficientnet(kB0, seeded_weights("efficientnet_pytorch.b0"), "w.pth").value();
  const at::Tensor images = at::randn({5, 3, 64, 64});
  const at::Tensor together = extract_features(tapped, images);
  EXPECT_TRUE(together.is_contiguous());
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_TRUE(at::allclose(together[i], extract_features(tapped, images.narrow(0, i, 1))[0], 1e-4, 1e-4)) << i;
  }
}

TEST(EfficientNet, SaysWhichWeightsItCannotTell) {
  const auto message = [](const BackboneSpec& spec, const SafeTensors& weights, const std::string& path) {
    const auto made = make_efficientnet(spec, weights, path);
    return made ? "no error" : made.error().message;
  };
  const std::string unclear = message(kB0, seeded_weights("timm.efficientnet_b0"), "/efficientnet_x/model.safetensors");
  EXPECT_TRUE(unclear.starts_with("/efficientnet_x/model.safetensors: its tensors are named as timm's")) << unclear;
  SafeTensors resnet;
  resnet.tensors["conv1.weight"] = at::ones(1);
  resnet.tensors["other_conv_stem.weight"] = at::ones(1);
  EXPECT_TRUE(message(kB0, resnet, "r.pth").starts_with("r.pth: it holds no EfficientNet: "))
      << message(kB0, resnet, "r");
  // Weights of another member of the family.
  const std::string other =
      message(spec_of("efficientnet-b4", {1}), seeded_weights("efficientnet_pytorch.b0"), "b0.pth");
  EXPECT_EQ(other,
            "b0.pth: tensor `_conv_stem.weight` is Float [32, 3, 3, 3], but efficientnet-b4 needs floats [48, 3, 3, "
            "3]; set backbone.weights to weights of efficientnet-b4");
}

class BackboneFiles : public testing::Test {
 protected:
  std::string folder = testing::TempDir() + fmt::format("/hivq_backbone_{}", ::getpid());
  void SetUp() override { std::filesystem::create_directories(folder); }
  void TearDown() override { std::filesystem::remove_all(folder); }
  std::string path_or_error(const BackboneSpec& spec) const {
    const auto weights = load_backbone_weights(spec, folder);
    return weights ? weights->path : weights.error().message;
  }
};

TEST_F(BackboneFiles, AreSoughtByNameAndEitherEnding) {
  BackboneSpec spec = spec_of("efficientnet-b4", {1});
  const std::string stem = folder + "/efficientnet-b4";
  EXPECT_EQ(path_or_error(spec),
            fmt::format("cannot read {0}.safetensors: No such file or directory; put the weights there, or as {0}.pth, "
                        "or set backbone.weights",
                        stem));
  std::filesystem::copy_file(HIVQ_SOURCE_DIR "/tests/worker/golden/torch_legacy.pth", stem + ".pth");
  EXPECT_EQ(path_or_error(spec), stem + ".pth");
  ASSERT_TRUE(save_safetensors(stem + ".safetensors", std::vector<NamedTensor>{{"a", at::ones(1)}}));
  EXPECT_EQ(path_or_error(spec), stem + ".safetensors");
  spec.weights = stem + ".pth";
  EXPECT_EQ(path_or_error(spec), stem + ".pth");
  spec.weights = folder + "/nothing.pth";
  EXPECT_EQ(path_or_error(spec), fmt::format("cannot read {}/nothing.pth: No such file or directory; set "
                                             "backbone.weights to a .safetensors or .pth file",
                                             folder));
  EXPECT_TRUE(path_or_error(spec_of("efficientnet-lite0", {1}))
                  .ends_with("run cmake/setup.sh, which puts the weights "
                             "there, or set backbone.weights"));
}

TEST_F(BackboneFiles, DamageIsNamed) {
  ASSERT_TRUE(write_file(folder + "/efficientnet-b4.pth", "PK\3\4"));
  EXPECT_EQ(path_or_error(spec_of("efficientnet-b4", {1})),
            folder +
                "/efficientnet-b4.pth: it is a zip archive without its end: it is truncated; fetch the file again, "
                "or set backbone.weights to another");
}

}  // namespace
}  // namespace hivq
