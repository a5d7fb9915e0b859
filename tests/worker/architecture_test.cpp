#include "worker/backbone/architecture.h"

#include <gtest/gtest.h>

#include <set>

namespace hivq {
namespace {

std::string error_of(const std::string& name, std::vector<int64_t> stages, std::vector<int64_t> blocks = {}) {
  BackboneSpec spec;
  spec.stages = std::move(stages);
  spec.blocks = std::move(blocks);
  const auto taps = tapped_blocks(architecture_of(name).value(), spec);
  return taps ? "no error" : taps.error().message;
}

// Read off the modules of efficientnet_pytorch 0.7.1 and efficientnet_lite_pytorch 0.1.0.
TEST(Architecture, ScalesTheWholeFamilyAsTheReference) {
  const struct {
    std::string name;
    int64_t stem;
    std::vector<int64_t> last_blocks, channels;  // of each stage
  } family[] = {
      {"efficientnet-b0", 32, {0, 2, 4, 7, 10, 14, 15}, {16, 24, 40, 80, 112, 192, 320}},
      {"efficientnet-b1", 32, {1, 4, 7, 11, 15, 20, 22}, {16, 24, 40, 80, 112, 192, 320}},
      {"efficientnet-b2", 32, {1, 4, 7, 11, 15, 20, 22}, {16, 24, 48, 88, 120, 208, 352}},
      {"efficientnet-b3", 40, {1, 4, 7, 12, 17, 23, 25}, {24, 32, 48, 96, 136, 232, 384}},
      {"efficientnet-b4", 48, {1, 5, 9, 15, 21, 29, 31}, {24, 32, 56, 112, 160, 272, 448}},
      {"efficientnet-b5", 48, {2, 7, 12, 19, 26, 35, 38}, {24, 40, 64, 128, 176, 304, 512}},
      {"efficientnet-b6", 56, {2, 8, 14, 22, 30, 41, 44}, {32, 40, 72, 144, 200, 344, 576}},
      {"efficientnet-b7", 64, {3, 10, 17, 27, 37, 50, 54}, {32, 48, 80, 160, 224, 384, 640}},
      {"efficientnet-lite0", 32, {0, 2, 4, 7, 10, 14, 15}, {16, 24, 40, 80, 112, 192, 320}},
      {"efficientnet-lite1", 32, {0, 3, 6, 10, 14, 19, 20}, {16, 24, 40, 80, 112, 192, 320}},
      {"efficientnet-lite2", 32, {0, 3, 6, 10, 14, 19, 20}, {16, 24, 48, 88, 120, 208, 352}},
      {"efficientnet-lite3", 32, {0, 3, 6, 11, 16, 22, 23}, {24, 32, 48, 96, 136, 232, 384}},
      {"efficientnet-lite4", 32, {0, 4, 8, 14, 20, 28, 29}, {24, 32, 56, 112, 160, 272, 448}},
  };
  BackboneSpec every_stage;
  every_stage.stages = {1, 2, 3, 4, 5, 6, 7};
  for (const auto& expected : family) {
    const Architecture network = architecture_of(expected.name).value();
    EXPECT_EQ(network.stem, expected.stem) << expected.name;
    const std::vector<int64_t> last = tapped_blocks(network, every_stage).value();
    EXPECT_EQ(last, expected.last_blocks) << expected.name;
    std::vector<int64_t> channels;
    for (const int64_t block : last) channels.push_back(network.blocks.at(static_cast<size_t>(block)).out);
    EXPECT_EQ(channels, expected.channels) << expected.name;
    EXPECT_EQ(std::ssize(network.blocks), expected.last_blocks.back() + 1) << expected.name;
  }
}

TEST(Architecture, B4HasThePapersChannelsByBlockAndByStage) {
  const Architecture b4 = architecture_of("efficientnet-b4").value();
  const auto channels = [&](std::vector<int64_t> stages, std::vector<int64_t> blocks) {
    BackboneSpec spec;
    spec.stages = std::move(stages);
    spec.blocks = std::move(blocks);
    int64_t sum = 0;
    for (const int64_t tap : tapped_blocks(b4, spec).value()) sum += b4.blocks.at(static_cast<size_t>(tap)).out;
    return sum;
  };
  EXPECT_EQ(channels({}, {1, 5, 9, 21}), 272);
  EXPECT_EQ(channels({1, 2, 3, 5}, {}), 272);
  EXPECT_EQ(channels({}, {1, 5, 9, 21, 31}), 720);
  EXPECT_EQ(channels({1, 2, 3, 5, 7}, {}), 720);
  EXPECT_EQ(channels({7}, {21, 1}), 184);  // blocks go before stages
}

TEST(Architecture, NamesTheRangeOfStagesAndBlocks) {
  EXPECT_EQ(error_of("efficientnet-lite0", {1, 8}),
            "backbone.stages names stage 8, but efficientnet-lite0 has the stages 1 to 7");
  EXPECT_EQ(error_of("efficientnet-b4", {0}),
            "backbone.stages names stage 0, but efficientnet-b4 has the stages 1 to 7");
  EXPECT_EQ(error_of("efficientnet-b4", {3, 2, 3}), "backbone.stages names stage 3 twice");
  EXPECT_EQ(error_of("efficientnet-b4", {}), "backbone.stages is empty; name at least one stage of 1 to 7");
  EXPECT_EQ(error_of("efficientnet-b4", {1}, {1, 32}),
            "backbone.blocks names block 32, but efficientnet-b4 has the blocks 0 to 31");
  EXPECT_EQ(error_of("efficientnet-b0", {1}, {-1}),
            "backbone.blocks names block -1, but efficientnet-b0 has the blocks 0 to 15");
  EXPECT_EQ(error_of("efficientnet-b0", {1}, {0, 0}), "backbone.blocks names block 0 twice");
}

TEST(Architecture, ListsTheKnownNames) {
  const auto unknown = architecture_of("resnet");
  ASSERT_FALSE(unknown);
  EXPECT_TRUE(unknown.error().message.starts_with(
      "backbone.name is `resnet`; the known backbones are: efficientnet-b0, efficientnet-b1,"))
      << unknown.error().message;
}

}  // namespace
}  // namespace hivq
