#include "worker/figures/figures.h"

#include <filesystem>

#include "tests/worker/model_fixture.h"
#include "worker/data/image_file.h"
#include "worker/figures/heat.h"
#include "worker/figures/image_decoder.h"

namespace hivq {
namespace {

at::Tensor plain(int64_t size, int red, int green, int blue) {
  return at::tensor({red, green, blue}, at::kInt).to(at::kByte).expand({size, size, 3}).contiguous();
}

/// How many pixels have nearly this colour.
int64_t count(const at::Tensor& pixels, int red, int green, int blue, int within = 12) {
  const at::Tensor wanted = at::tensor({red, green, blue}, at::kInt);
  return (pixels.to(at::kInt) - wanted).abs().amax(2).le(within).sum().item<int64_t>();
}

class Figures : public testing::Test {
 protected:
  std::string path = testing::TempDir() + fmt::format("/hivq_figure_{}.png", ::getpid());
  void TearDown() override { std::filesystem::remove(path); }
};

TEST_F(Figures, Figure1sBarsAreAsHighAsTheirErrors) {
  const std::vector<ClassError> classes = {{"nut", 1.0, 2.0}, {"pill", std::nullopt, 4.0}};
  ASSERT_TRUE(draw_figure1(path, "errors", classes));
  const at::Tensor page = read_image(path).value();
  const int64_t blue = count(page, 31, 120, 181), red = count(page, 214, 38, 41);
  // The keys' squares beside: 12 × 12 pixels each.
  EXPECT_NEAR(static_cast<double>(red - 144) / static_cast<double>(blue - 144), 6, 0.2);
}

TEST_F(Figures, Figure1TakesManyClassesAndNone) {
  std::vector<ClassError> many;
  for (int i = 0; i < 40; ++i) many.push_back({fmt::format("a class with a long name {}", i), 0.1 * i, 1e-3});
  EXPECT_TRUE(draw_figure1(path, "many", many));
  EXPECT_TRUE(draw_figure1(path, "none", {}));
  const std::vector<ClassError> zero = {{"zero", 0.0, 0.0}};
  EXPECT_TRUE(draw_figure1(path, "zero", zero));
}

TEST_F(Figures, Figure2ShowsEveryCellOfARow) {
  at::Tensor truth = at::zeros({64, 64}, at::kByte), map = at::zeros({64, 64});
  truth.narrow(0, 0, 32).fill_(1), map.narrow(1, 0, 16).fill_(5);
  const ExampleRow row{
      "nut", "scratch/000.png", plain(64, 10, 200, 10), plain(64, 128, 128, 128), plain(64, 250, 10, 250), truth, map};
  ASSERT_TRUE(draw_figure2(path, "examples", std::vector<ExampleRow>{row}));
  const at::Tensor page = read_image(path).value();
  const double cell = 160 * 160;
  EXPECT_NEAR(static_cast<double>(count(page, 10, 200, 10)), cell, 700);
  EXPECT_NEAR(static_cast<double>(count(page, 128, 128, 128)), cell, 700);
  EXPECT_NEAR(static_cast<double>(count(page, 250, 10, 250)), cell, 700);
  EXPECT_NEAR(static_cast<double>(count(page, 0, 0, 0, 2)), cell / 2, 2000) << "the normal half of the ground truth";
  // Half the image, half the colour of the map's ends: dark blue and dark red.
  EXPECT_NEAR(static_cast<double>(count(page, 64, 64, 128)), cell * 0.75, 2500);
  EXPECT_NEAR(static_cast<double>(count(page, 128, 64, 64)), cell * 0.25, 2500);
}

TEST_F(Figures, AFolderThatIsNotThereIsAnError) {
  EXPECT_EQ(draw_figure1("/nowhere/figure.png", "", {}).error().message.find("cannot write /nowhere/figure.png"), 0u);
}

TEST(Heat, RunsFromBlueOverGreenToRed) {
  const at::Tensor colours = heat(at::tensor({-1.0f, 0.0f, 0.5f, 1.0f, 9.0f}).view({1, 5}), {0, 1})[0];
  const at::Tensor expected =
      at::tensor({0, 0, 128, 0, 0, 128, 128, 255, 128, 128, 0, 0, 128, 0, 0}, at::kInt).view({5, 3});
  EXPECT_LE((colours.to(at::kInt) - expected).abs().max().item<int>(), 1) << colours;
}

TEST(ImageDecoder, LearnsToPaintFromFeatures) {
  FeatureSet features;
  torch::manual_seed(2);
  features.train = at::randn({24, 6, 2, 2});
  features.train_image = [&](int64_t i) -> Result<at::Tensor> {  // the first three channels are the colours
    const at::Tensor colours = features.train[i].narrow(0, 0, 3).sigmoid().mul(255).to(at::kByte);
    return colours.permute({1, 2, 0}).repeat_interleave(16, 0).repeat_interleave(16, 1).contiguous();
  };
  DecoderOptions options;
  options.steps = 150;
  int64_t told = 0;
  const auto decoder = ImageDecoder::train(features, 32, options, [&](int64_t done, int64_t) { told = done; });
  ASSERT_TRUE(decoder);
  EXPECT_EQ(told, 150);
  EXPECT_LT(decoder->loss(), 0.02);  // of a grey picture: 0.045
  const at::Tensor painted = decoder->paint(features.train.narrow(0, 0, 2));
  ASSERT_EQ(painted.sizes(), (std::vector<int64_t>{2, 32, 32, 3}));
  const at::Tensor truth = features.train_image(1).value();
  EXPECT_LT((painted[1].to(at::kFloat) - truth.to(at::kFloat)).abs().mean().item<double>(), 40);
}

}  // namespace
}  // namespace hivq
