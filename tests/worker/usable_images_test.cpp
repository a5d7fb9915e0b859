#include "worker/data/usable_images.h"

#include "tests/worker/data_fixture.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;

/// A small set in MVTec's layout whose second training image and first test image are damaged, and its features.
class DamagedImages : public DataFolder {
 protected:
  FeaturePlaces places{HIVQ_DEPS_DIR "/weights", folder + "/cache"};

  void SetUp() override {
    DataFolder::SetUp();
    data.name = "mvtec";
    data.image_size = 32;
    for (int i = 0; i < 5; ++i) write_image(fmt::format("nut/train/good/{}.png", i), 40 * i, 20, 30);
    for (int i = 0; i < 3; ++i) write_image(fmt::format("nut/test/bent/{}.png", i), 50 * i, 20, 30);
    for (int i = 0; i < 3; ++i) write_image(fmt::format("nut/ground_truth/bent/{}_mask.png", i), 50 * i, 20, 30);
    write_image("nut/test/good/0.png", 77, 20, 30);
  }
  void damage() const {
    write("nut/train/good/1.png", "no image");
    write("nut/test/bent/0.png", "");
  }
  Result<FeatureSet> features() const { return load_features(data, BackboneSpec{}, places, nullptr); }
  std::string failure() const {
    const auto set = features();
    return set ? "no error" : set.error().message;
  }
};

TEST_F(DamagedImages, TheFeatureSetGivesNamesImagesAndMasks) {
  const FeatureSet set = features().value();
  EXPECT_EQ(set.protocol, Protocol::defects);
  EXPECT_TRUE(set.warnings.empty());
  EXPECT_EQ(set.test_name,
            (Names{"nut/test/bent/0.png", "nut/test/bent/1.png", "nut/test/bent/2.png", "nut/test/good/0.png"}));
  EXPECT_TRUE(at::equal(set.train_image(2).value(), at::full({20, 30, 3}, 80, at::kByte)));
  EXPECT_TRUE(at::equal(set.test_image(3).value(), at::full({20, 30, 3}, 77, at::kByte)));
  EXPECT_TRUE(at::equal(set.test_mask(0).value(), at::zeros({32, 32}, at::kByte)));
  EXPECT_TRUE(at::equal(set.test_mask(1).value(), at::ones({32, 32}, at::kByte)));
  EXPECT_TRUE(at::equal(set.test_mask(3).value(), at::zeros({32, 32}, at::kByte)));
}

TEST_F(DamagedImages, MasksAreTheNearestPixelsAndDecodedOnce) {
  torch::manual_seed(1);
  const at::Tensor mask = at::randint(0, 2, {20, 30}, at::kByte);
  write("nut/ground_truth/bent/1_mask.png", encode_png(mask * 255));
  const FeatureSet set = features().value();
  at::Tensor expected = at::empty({32, 32}, at::kByte);
  for (int64_t y = 0; y < 32; ++y) {  // the pixel that holds the centre
    for (int64_t x = 0; x < 32; ++x) expected[y][x] = mask[(2 * y + 1) * 20 / 64][(2 * x + 1) * 30 / 64];
  }
  EXPECT_TRUE(at::equal(set.test_mask(1).value(), expected));
  fs::remove(folder + "/nut/ground_truth/bent/1_mask.png");
  EXPECT_TRUE(at::equal(set.test_mask(1).value(), expected));
}

TEST_F(DamagedImages, ADamagedImageEndsTheLoadByDefault) {
  damage();
  EXPECT_EQ(failure(), folder +
                           "/nut/train/good/1.png is no PNG, JPEG, TIFF or BMP image: it starts with 6e6f2069; mend or "
                           "remove the image, or set data.damaged to skip");
}

TEST_F(DamagedImages, SkippedImagesAreNamedAndLeaveNoTrace) {
  const FeatureSet whole = features().value();
  damage();
  data.damaged = "skip";
  const FeatureSet set = features().value();
  EXPECT_EQ(set.warnings, (Names{"left out: " + folder +
                                     "/nut/train/good/1.png is no PNG, JPEG, TIFF or BMP image: it starts with "
                                     "6e6f2069",
                                 "left out: " + folder + "/nut/test/bent/0.png is empty"}));
  EXPECT_TRUE(at::allclose(set.train, whole.train.index_select(0, at::tensor({0, 2, 3, 4})), 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(set.test, whole.test.narrow(0, 1, 3), 1e-5, 1e-5));
  EXPECT_EQ(set.train_class.size(), 4u);
  EXPECT_EQ(set.test_class.size(), 3u);
  EXPECT_EQ(set.test_anomalous, (std::vector<bool>{true, true, false}));
  EXPECT_EQ(set.test_name.at(0), "nut/test/bent/1.png");
  EXPECT_TRUE(at::equal(set.train_image(1).value(), at::full({20, 30, 3}, 80, at::kByte)));
  EXPECT_TRUE(at::equal(set.test_image(2).value(), at::full({20, 30, 3}, 77, at::kByte)));
  EXPECT_TRUE(at::equal(set.test_mask(0).value(), at::ones({32, 32}, at::kByte)));
}

TEST_F(DamagedImages, ACacheThatSkippedImagesIsRefusedWhereTheyAreFatal) {
  damage();
  data.damaged = "skip";
  ASSERT_EQ(failure(), "no error");
  data.damaged = "fail";
  EXPECT_NE(failure().find("nut/train/good/1.png is no PNG"), std::string::npos) << failure();
}

TEST_F(DamagedImages, AClassThatLosesAllItsTrainingImagesIsAnError) {
  data.damaged = "skip";
  for (int i = 0; i < 5; ++i) write(fmt::format("nut/train/good/{}.png", i), "no image");
  EXPECT_TRUE(failure().starts_with("class nut has no training image that can be used: left out: " + folder))
      << failure();
}

TEST_F(DamagedImages, FeaturesThatAreNotFiniteMarkTheirImage) {
  at::Tensor features = at::ones({4, 2, 3, 3});
  features[2][1][0][2] = std::numeric_limits<float>::infinity();
  mark_damaged(features, {0});
  const ImageSet images = load();
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(features[i].isnan().all().item<bool>(), i == 0 || i == 2) << i;
    EXPECT_EQ(features[i].isnan().any().item<bool>(), i == 0 || i == 2) << i;
  }
  const auto refused = find_usable(images, at::ones({5, 2, 3, 3}), features, /*fail=*/true);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(
      refused.error().message.starts_with("the features of nut/test/bent/0.png in the cache are not finite numbers"));
  EXPECT_EQ(find_usable(images, at::ones({5, 2, 3, 3}), features, /*fail=*/false).value().test,
            (std::vector<int64_t>{1, 3}));
}

}  // namespace
}  // namespace hivq
