#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>
#include <fstream>

#include "worker/backbone/efficientnet.h"
#include "worker/data/feature_set.h"
#include "worker/data/image_set.h"
#include "worker/data/preprocess.h"
#include "worker/data/safetensors.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
const std::string kWeightsFolder = HIVQ_DEPS_DIR "/weights";

class LoadFeatures : public testing::Test {
 protected:
  FeaturePlaces places{kWeightsFolder, testing::TempDir() + fmt::format("/hivq_features_{}", ::getpid())};
  DataSpec data;
  BackboneSpec backbone;
  int64_t computed = 0;  // images, as the progress tells; 0 where all came from the cache

  void SetUp() override {
    fs::remove_all(places.cache_dir);
    data.normal_classes = {7, 3};
    data.train_per_class = 20;
    data.test_per_class = 3;
    data.image_size = 32;
  }
  void TearDown() override { fs::remove_all(places.cache_dir); }

  Result<FeatureSet> load() {
    computed = 0;
    return load_features(data, backbone, places, [this](int64_t done, int64_t) { computed = done; });
  }
  int cached_files() const {
    int files = 0;
    for (const auto& entry : fs::directory_iterator(places.cache_dir)) files += entry.path().extension() == ".features";
    return files;
  }
};

TEST_F(LoadFeatures, HoldsWhatTheBackboneGivesInTheProtocolsOrder) {
  const auto set = load();
  ASSERT_TRUE(set) << set.error().message;
  EXPECT_EQ(set->train.sizes(), (std::vector<int64_t>{40, 192, 2, 2}));
  EXPECT_EQ(set->test.sizes(), (std::vector<int64_t>{30, 192, 2, 2}));
  EXPECT_EQ(set->trained_classes, (std::vector<int64_t>{7, 3}));

  const ImageSet images = load_images(data).value();
  const BackboneWeights weights = load_backbone_weights(backbone, kWeightsFolder).value();
  const EfficientNet network = make_efficientnet(backbone, weights.file, weights.path).value();
  for (int64_t i = 0; i < 70; ++i) {
    const at::Tensor expected = extract_features(network, preprocess(images.decode(i).value(), 32).unsqueeze(0))[0];
    EXPECT_TRUE(at::allclose(i < 40 ? set->train[i] : set->test[i - 40], expected, 1e-4, 1e-4)) << i;
  }
  for (size_t i = 0; i < 40; ++i) {
    EXPECT_EQ(set->trained_classes.at(static_cast<size_t>(set->train_class.at(i))), images.train[i].class_index);
  }
  for (size_t i = 0; i < 30; ++i) {
    EXPECT_EQ(set->test_class.at(i), images.test[i].class_index);
    EXPECT_EQ(set->test_anomalous.at(i), images.test[i].class_index != 3 && images.test[i].class_index != 7);
  }
}

TEST_F(LoadFeatures, CachedEqualsComputedBitForBit) {
  const auto computed_set = load();
  ASSERT_TRUE(computed_set) << computed_set.error().message;
  EXPECT_EQ(computed, 70);
  const at::Tensor train = computed_set->train.clone(), test = computed_set->test.clone();
  const auto cached = load();
  ASSERT_TRUE(cached);
  EXPECT_EQ(computed, 0);
  EXPECT_TRUE(at::equal(cached->train, train));
  EXPECT_TRUE(at::equal(cached->test, test));
  fs::remove_all(places.cache_dir);
  const auto again = load();
  ASSERT_TRUE(again);
  EXPECT_EQ(computed, 70);
  EXPECT_TRUE(at::equal(again->train, train));
  EXPECT_TRUE(at::equal(again->test, test));
}

TEST_F(LoadFeatures, TensorsOutliveTheFileAndTheSet) {
  at::Tensor test;
  {
    const auto set = load();
    ASSERT_TRUE(set) << set.error().message;
    test = set->test;
  }
  fs::remove_all(places.cache_dir);
  EXPECT_TRUE(test.isfinite().all().item<bool>());
}

TEST_F(LoadFeatures, AnotherSettingIsAnotherFile) {
  ASSERT_TRUE(load());
  const auto expect_new_file = [this](int files) {
    ASSERT_TRUE(load());
    EXPECT_GT(computed, 0);
    EXPECT_EQ(cached_files(), files);
  };
  data.image_size = 48;
  expect_new_file(2);
  backbone.stages = {1, 5};
  expect_new_file(3);
  data.test_per_class = 4;
  expect_new_file(4);
  data.normal_classes = {7, 4};
  expect_new_file(5);
  // Other weights under another name; the same weights under another name are the same features.
  BackboneWeights weights = load_backbone_weights(backbone, kWeightsFolder).value();
  backbone.weights = places.cache_dir + "/other.safetensors";
  fs::copy_file(weights.path, backbone.weights);
  ASSERT_TRUE(load());
  EXPECT_EQ(computed, 0);
  weights.file.tensors["_bn0.bias"][0] += 1;
  std::vector<NamedTensor> named;
  for (const auto& [name, tensor] : weights.file.tensors) named.push_back({name, tensor});
  ASSERT_TRUE(save_safetensors(backbone.weights, named));
  expect_new_file(6);
}

TEST_F(LoadFeatures, TheOrderOfStagesAndClassesDoesNotMatterToTheFile) {
  const auto set = load();
  ASSERT_TRUE(set);
  data.normal_classes = {3, 7};
  backbone.stages = {5, 3, 2, 1};
  const auto other = load();
  ASSERT_TRUE(other);
  EXPECT_EQ(computed, 0);
  EXPECT_TRUE(at::equal(set->train, other->train));
  EXPECT_EQ(set->train_class.at(0), 1 - other->train_class.at(0));
}

TEST_F(LoadFeatures, SaysWhatIsMissing) {
  const auto message = [this] {
    const auto set = load();
    return set ? "no error" : set.error().message;
  };
  data.image_size = 40;
  EXPECT_EQ(message(), "data.image_size is 40; it must be a multiple of 16, at least 16");
  data.image_size = 32;
  backbone.name = "resnet";
  EXPECT_TRUE(message().starts_with("backbone.name is `resnet`; the known backbones are: ")) << message();
  backbone.name = "efficientnet-lite0";
  places.weights_dir = "/nowhere";
  EXPECT_EQ(message(),
            "cannot read /nowhere/efficientnet-lite0.safetensors: No such file or directory; run cmake/setup.sh, "
            "which puts the weights there, or set backbone.weights");
  fs::create_directories(places.cache_dir);
  backbone.weights = places.cache_dir + "/cut";
  fs::copy_file(load_backbone_weights(BackboneSpec{}, kWeightsFolder)->path, backbone.weights);
  fs::resize_file(backbone.weights, 1'000'000);
  EXPECT_NE(message().find("/cut: "), std::string::npos) << message();
  EXPECT_NE(message().find("truncated"), std::string::npos) << message();
}

}  // namespace
}  // namespace hivq
