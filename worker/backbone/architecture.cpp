#include "worker/backbone/architecture.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace hivq {
namespace {

struct Stage {
  int64_t repeats, kernel, stride, expansion, in, out;  // stride and input channels: of its first block
};
constexpr Stage kStages[] = {{1, 3, 1, 1, 32, 16},  {2, 3, 2, 6, 16, 24},   {2, 5, 2, 6, 24, 40},  {3, 3, 2, 6, 40, 80},
                             {3, 5, 1, 6, 80, 112}, {4, 5, 2, 6, 112, 192}, {1, 3, 1, 6, 192, 320}};
constexpr auto kStageCount = static_cast<int64_t>(std::size(kStages));
constexpr int64_t kStem = 32;    // channels
constexpr int64_t kSqueeze = 4;  // squeeze-and-excitation: input channels of the block per channel within
constexpr int64_t kDivisor = 8;  // channels come in multiples of it

struct Scale {
  std::string_view name;
  double width, depth;
  bool lite = false;
};
constexpr Scale kScales[] = {{"efficientnet-b0", 1.0, 1.0},          {"efficientnet-b1", 1.0, 1.1},
                             {"efficientnet-b2", 1.1, 1.2},          {"efficientnet-b3", 1.2, 1.4},
                             {"efficientnet-b4", 1.4, 1.8},          {"efficientnet-b5", 1.6, 2.2},
                             {"efficientnet-b6", 1.8, 2.6},          {"efficientnet-b7", 2.0, 3.1},
                             {"efficientnet-lite0", 1.0, 1.0, true}, {"efficientnet-lite1", 1.0, 1.1, true},
                             {"efficientnet-lite2", 1.1, 1.2, true}, {"efficientnet-lite3", 1.2, 1.4, true},
                             {"efficientnet-lite4", 1.4, 1.8, true}};

/// The nearest multiple of 8, but never more than 10 % below.
int64_t scaled_channels(int64_t channels, double width) {
  const double wanted = static_cast<double>(channels) * width;
  const int64_t rounded = static_cast<int64_t>(wanted + kDivisor / 2.0) / kDivisor * kDivisor;
  const int64_t nearest = std::max(kDivisor, rounded);
  return static_cast<double>(nearest) < 0.9 * wanted ? nearest + kDivisor : nearest;
}

int64_t scaled_repeats(int64_t stage, const Scale& scale) {
  const int64_t repeats = kStages[stage - 1].repeats;
  if (scale.lite && (stage == 1 || stage == kStageCount)) return repeats;
  return static_cast<int64_t>(std::ceil(static_cast<double>(repeats) * scale.depth));
}

Architecture scaled(const Scale& scale) {
  Architecture network{
      std::string(scale.name), scale.lite, scale.lite ? kStem : scaled_channels(kStem, scale.width), {}};
  int64_t in = network.stem;
  for (int64_t number = 1; number <= kStageCount; ++number) {
    const Stage& stage = kStages[number - 1];
    const int64_t repeats = scaled_repeats(number, scale);
    for (int64_t i = 0; i < repeats; ++i) {
      BlockShape block;
      block.index = static_cast<int64_t>(network.blocks.size());
      block.stage = number;
      block.index_in_stage = i;
      block.kernel = stage.kernel;
      block.stride = i == 0 ? stage.stride : 1;
      block.expansion = stage.expansion;
      block.in = in;
      block.out = scaled_channels(stage.out, scale.width);
      block.squeezed = scale.lite ? 0 : in / kSqueeze;
      network.blocks.push_back(block);
      in = block.out;
    }
  }
  return network;
}

/// Sorts the taps; each is to be one of first … last, and named once. `what`: "stage" or "block".
Status check_taps(std::vector<int64_t>& taps, std::string_view what, int64_t first, int64_t last,
                  std::string_view name) {
  if (taps.empty()) return error("backbone.{0}s is empty; name at least one {0} of {1} to {2}", what, first, last);
  std::ranges::sort(taps);
  for (size_t i = 0; i < taps.size(); ++i) {
    if (taps[i] < first || taps[i] > last) {
      return error("backbone.{0}s names {0} {1}, but {2} has the {0}s {3} to {4}", what, taps[i], name, first, last);
    }
    if (i > 0 && taps[i] == taps[i - 1]) return error("backbone.{0}s names {0} {1} twice", what, taps[i]);
  }
  return {};
}

}  // namespace

Result<Architecture> architecture_of(std::string_view name) {
  const auto scale = std::ranges::find(kScales, name, &Scale::name);
  if (scale != std::end(kScales)) return scaled(*scale);
  std::string known;
  for (const Scale& each : kScales) known += fmt::format("{}{}", known.empty() ? "" : ", ", each.name);
  return error("backbone.name is `{}`; the known backbones are: {}", name, known);
}

Result<std::vector<int64_t>> tapped_blocks(const Architecture& architecture, const BackboneSpec& spec) {
  std::vector<int64_t> blocks = spec.blocks;
  if (!blocks.empty()) {
    const int64_t last = std::ssize(architecture.blocks) - 1;
    if (Status good = check_taps(blocks, "block", 0, last, architecture.name); !good) return good.error();
    return blocks;
  }
  std::vector<int64_t> stages = spec.stages;
  if (Status good = check_taps(stages, "stage", 1, kStageCount, architecture.name); !good) return good.error();
  for (const int64_t stage : stages) {
    const auto beyond = std::ranges::upper_bound(architecture.blocks, stage, {}, &BlockShape::stage);
    blocks.push_back(beyond - architecture.blocks.begin() - 1);
  }
  return blocks;
}

}  // namespace hivq
