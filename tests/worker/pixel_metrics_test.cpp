#include "worker/eval/pixel_metrics.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <random>

#include "worker/data/safetensors.h"

namespace hivq {
namespace {

struct Image {
  std::vector<float> map;
  std::vector<uint8_t> mask;  // empty: normal
};

std::vector<Image> made_up(int64_t images, int64_t size, int levels, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Image> made(static_cast<size_t>(images));
  for (size_t i = 0; i < made.size(); ++i) {
    for (int64_t pixel = 0; pixel < size * size; ++pixel) {
      const bool defective = i % 3 != 0 && random() % 6 == 0;
      if (i % 3 != 0) made[i].mask.push_back(defective ? 255 : 0);
      const auto level = static_cast<float>(random() % static_cast<uint64_t>(levels));
      made[i].map.push_back(level / 7 + (defective ? 1.0f : 0.0f) - 2);
    }
  }
  return made;
}

PixelMetrics metrics_of(const std::vector<Image>& images, int64_t size, size_t memory) {
  PixelScores scores(memory);
  for (const Image& image : images) EXPECT_TRUE(scores.add(image.map, image.mask, size, size));
  return scores.compute().value().value();
}

TEST(PixelScores, EqualScikitLearnAndTheDefinitionOfAuPro) {
  const SafeTensors golden = load_safetensors(HIVQ_SOURCE_DIR "/tests/worker/golden/metrics.safetensors").value();
  size_t cases = 0;
  for (const auto& [key, expected] : golden.tensors) {
    if (!key.ends_with(".expected")) continue;
    const std::string name = key.substr(0, key.size() - std::string(".expected").size());
    const at::Tensor scores = golden.tensors.at(name + ".scores"), mask = golden.tensors.at(name + ".mask");
    const int64_t height = scores.size(1), width = scores.size(2);
    const auto area = static_cast<size_t>(height * width);
    PixelScores pixels;
    for (int64_t i = 0; i < scores.size(0); ++i) {
      const at::Tensor map = scores[i].contiguous(), flags = mask[i].contiguous();
      ASSERT_TRUE(
          pixels.add({map.const_data_ptr<float>(), area}, {flags.const_data_ptr<uint8_t>(), area}, height, width));
    }
    const PixelMetrics found = pixels.compute().value().value();
    EXPECT_NEAR(found.ranking.auroc, expected[0].item<double>(), 1e-10) << name;
    EXPECT_NEAR(found.ranking.average_precision, expected[1].item<double>(), 1e-10) << name;
    EXPECT_NEAR(found.ranking.f1_max, expected[2].item<double>(), 1e-10) << name;
    EXPECT_NEAR(found.area_under_pro, expected[3].item<double>(), 1e-10) << name;
    // An image's score takes the same path but for the sorting.
    const at::Tensor flat = scores.contiguous(), labels = mask.contiguous();
    const auto all = static_cast<size_t>(flat.numel());
    const Ranking whole = ranking({flat.const_data_ptr<float>(), all}, {labels.const_data_ptr<uint8_t>(), all}).value();
    EXPECT_EQ(whole.auroc, found.ranking.auroc) << name;
    EXPECT_EQ(whole.average_precision, found.ranking.average_precision) << name;
    EXPECT_EQ(whole.f1_max, found.ranking.f1_max) << name;
    ++cases;
  }
  EXPECT_EQ(cases, 22u);
}

TEST(PixelScores, AreTheSameBitsWithAnyMemory) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  for (const int levels : {1, 4, 1'000'000}) {
    const std::vector<Image> images = made_up(7, 20, levels, seed);
    const PixelMetrics expected = metrics_of(images, 20, PixelScores::kMemory);
    for (const size_t memory : {0, 200, 1600, 12'345, 30'000}) {
      const PixelMetrics found = metrics_of(images, 20, memory);
      EXPECT_EQ(found.ranking.auroc, expected.ranking.auroc) << memory;
      EXPECT_EQ(found.ranking.average_precision, expected.ranking.average_precision) << memory;
      EXPECT_EQ(found.ranking.f1_max, expected.ranking.f1_max) << memory;
      EXPECT_EQ(found.area_under_pro, expected.area_under_pro) << memory;
    }
  }
}

TEST(PixelScores, WithoutAMaskArePixelsThatAreNormal) {
  const std::vector<Image> images = made_up(6, 12, 30, 3);
  std::vector<Image> explicit_masks = images;
  for (Image& image : explicit_masks) {
    if (image.mask.empty()) image.mask.assign(image.map.size(), 0);
  }
  const PixelMetrics found = metrics_of(images, 12, 1 << 20), expected = metrics_of(explicit_masks, 12, 1 << 20);
  EXPECT_EQ(found.ranking.auroc, expected.ranking.auroc);
  EXPECT_EQ(found.area_under_pro, expected.area_under_pro);
}

TEST(PixelScores, GiveEachRegionTheSameWeight) {
  // A region of 9 pixels is found, one of 1 pixel is missed: half of the regions, nine tenths of the pixels.
  std::vector<float> map(100, 0.0f);
  std::vector<uint8_t> mask(100, 0);
  for (size_t row = 0; row < 3; ++row) {
    for (size_t column = 0; column < 3; ++column) map[row * 10 + column] = 1, mask[row * 10 + column] = 1;
  }
  mask[99] = 1, map[99] = -1;
  PixelScores pixels;
  ASSERT_TRUE(pixels.add(map, mask, 10, 10));
  const PixelMetrics found = pixels.compute().value().value();
  EXPECT_DOUBLE_EQ(found.area_under_pro, 0.5);
  EXPECT_DOUBLE_EQ(found.ranking.auroc, 0.9);
}

TEST(PixelScores, AreNothingWithoutBothKindsOfPixels) {
  const std::vector<float> map(4, 1.0f);
  PixelScores none, normal, defective;
  EXPECT_FALSE(none.compute().value());
  ASSERT_TRUE(normal.add(map, std::vector<uint8_t>(4, 0), 2, 2));
  EXPECT_FALSE(normal.compute().value());
  ASSERT_TRUE(defective.add(map, std::vector<uint8_t>(4, 1), 2, 2));
  EXPECT_FALSE(defective.compute().value());
}

TEST(PixelScores, RefuseNaN) {
  PixelScores pixels;
  const Status added = pixels.add(std::vector<float>{1, std::nanf(""), 3, 4}, {}, 2, 2);
  ASSERT_FALSE(added);
  EXPECT_NE(added.error().message.find("NaN"), std::string::npos);
}

}  // namespace
}  // namespace hivq
