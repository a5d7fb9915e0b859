#include "worker/backbone/efficientnet_lite.h"

#include <torch/torch.h>

#include <algorithm>
#include <string>

namespace hivq {
namespace {

constexpr double kBatchNormEpsilon = 1e-3;  // TensorFlow's for EfficientNet; PyTorch's default is 1e-5
constexpr int64_t kStemChannels = 32;
constexpr int64_t kFeatureStride = 16;  // pixels of the image per cell of the feature grid

struct Stage {
  int64_t repeats, kernel, stride, expansion, in, out;
};
// efficientnet_lite() in the reference's utils.py; stride and input channels are those of a stage's first block.
constexpr Stage kStages[] = {{1, 3, 1, 1, 32, 16},  {2, 3, 2, 6, 16, 24},   {2, 5, 2, 6, 24, 40},  {3, 3, 2, 6, 40, 80},
                             {3, 5, 1, 6, 80, 112}, {4, 5, 2, 6, 112, 192}, {1, 3, 1, 6, 192, 320}};
constexpr auto kStageCount = static_cast<int64_t>(std::size(kStages));

/// Takes tensors out of the weights by name and checks their shapes. The first mistake sticks in `problem`, so that the
/// architecture below reads without a check per line.
struct WeightReader {
  const SafeTensors& weights;
  std::string_view origin;
  std::string problem;

  at::Tensor take(const std::string& name, const std::vector<int64_t>& shape) {
    const auto found = weights.tensors.find(name);
    if (found == weights.tensors.end()) {
      fail(fmt::format("tensor `{}` is missing", name));
    } else if (found->second.sizes() != at::IntArrayRef(shape) || !found->second.is_floating_point()) {
      fail(fmt::format("tensor `{}` is {} [{}], but EfficientNet-Lite0 needs floats [{}]", name,
                       c10::toString(found->second.scalar_type()), fmt::join(found->second.sizes().vec(), ", "),
                       fmt::join(shape, ", ")));
    } else {
      return found->second.to(at::kDouble);
    }
    return at::ones(shape, at::kDouble);
  }

  void fail(const std::string& what) {
    if (problem.empty()) {
      problem =
          fmt::format("{}: {}; run cmake/setup.sh to convert the weights again, or set backbone.weights", origin, what);
    }
  }
};

struct Convolution {
  int64_t in, out, kernel, stride = 1, groups = 1;
  bool relu6 = true;
};

/// Folds y = gamma (W x − mean) / sqrt(var + eps) + beta into one convolution; in double, so that folding adds no
/// error.
FoldedConvolution fold(WeightReader& reader, const std::string& convolution, const std::string& norm,
                       const Convolution& c) {
  const at::Tensor weight = reader.take(convolution + ".weight", {c.out, c.in / c.groups, c.kernel, c.kernel});
  const at::Tensor gamma = reader.take(norm + ".weight", {c.out}), beta = reader.take(norm + ".bias", {c.out});
  const at::Tensor mean = reader.take(norm + ".running_mean", {c.out});
  const at::Tensor variance = reader.take(norm + ".running_var", {c.out});
  const at::Tensor scale = gamma / (variance + kBatchNormEpsilon).sqrt();

  FoldedConvolution folded;
  folded.weight = (weight * scale.view({-1, 1, 1, 1})).to(at::kFloat).contiguous(at::MemoryFormat::ChannelsLast);
  folded.bias = (beta - mean * scale).to(at::kFloat);
  folded.stride = c.stride;
  folded.groups = c.groups;
  folded.relu6 = c.relu6;
  return folded;
}

InvertedBottleneck read_block(WeightReader& reader, int64_t index, const Stage& stage, int64_t in, int64_t stride) {
  const std::string name = fmt::format("_blocks.{}.", index);
  const int64_t wide = in * stage.expansion;
  InvertedBottleneck block;
  if (stage.expansion != 1) {
    block.convolutions.push_back(fold(reader, name + "_expand_conv", name + "_bn0", {in, wide, 1}));
  }
  block.convolutions.push_back(
      fold(reader, name + "_depthwise_conv", name + "_bn1", {wide, wide, stage.kernel, stride, wide}));
  block.convolutions.push_back(
      fold(reader, name + "_project_conv", name + "_bn2", {wide, stage.out, 1, 1, 1, /*relu6=*/false}));
  block.residual = stride == 1 && in == stage.out;
  return block;
}

/// TensorFlow's SAME: as many outputs as ceil(size / stride), and the odd pixel of padding goes to the right and
/// bottom.
at::Tensor convolve(const FoldedConvolution& c, const at::Tensor& x) {
  const auto padding = [&](int64_t size) {
    const int64_t out = (size + c.stride - 1) / c.stride;
    return std::max<int64_t>((out - 1) * c.stride + c.weight.size(2) - size, 0);
  };
  const int64_t rows = padding(x.size(2)), columns = padding(x.size(3));
  std::vector<int64_t> border = {rows / 2, columns / 2};
  at::Tensor padded = x;
  if (rows % 2 != 0 || columns % 2 != 0) {  // conv2d pads both sides alike, which saves a copy elsewhere
    padded = at::constant_pad_nd(x, {columns / 2, columns - columns / 2, rows / 2, rows - rows / 2});
    border = {0, 0};
  }
  const std::vector<int64_t> stride = {c.stride, c.stride}, dilation = {1, 1};
  at::Tensor y = at::conv2d(padded, c.weight, c.bias, at::IntArrayRef(stride), at::IntArrayRef(border),
                            at::IntArrayRef(dilation), c.groups);
  return c.relu6 ? y.clamp_(0, 6) : y;
}

Status check_stages(std::vector<int64_t>& stages) {
  if (stages.empty()) return error("backbone.stages is empty; name at least one stage of 1 to {}", kStageCount);
  std::ranges::sort(stages);
  for (size_t i = 0; i < stages.size(); ++i) {
    if (stages[i] < 1 || stages[i] > kStageCount) {
      return error("backbone.stages names stage {}, but efficientnet-lite0 has the stages 1 to {}", stages[i],
                   kStageCount);
    }
    if (i > 0 && stages[i] == stages[i - 1]) return error("backbone.stages names stage {} twice", stages[i]);
  }
  return {};
}

}  // namespace

Result<EfficientNetLite> make_efficientnet_lite0(const SafeTensors& weights, std::vector<int64_t> stages,
                                                 std::string_view origin) {
  if (Status good = check_stages(stages); !good) return good.error();
  const at::NoGradGuard no_gradient;
  WeightReader reader{weights, origin, {}};
  EfficientNetLite network;
  network.stem = fold(reader, "_conv_stem", "_bn0", {3, kStemChannels, 3, 2});
  for (int64_t number = 1; number <= stages.back(); ++number) {
    const Stage& stage = kStages[number - 1];
    for (int64_t i = 0; i < stage.repeats; ++i) {
      const auto index = static_cast<int64_t>(network.blocks.size());
      network.blocks.push_back(
          read_block(reader, index, stage, i == 0 ? stage.in : stage.out, i == 0 ? stage.stride : 1));
    }
    network.blocks.back().last_of_stage = number;
  }
  for (const int64_t number : stages) network.channels += kStages[number - 1].out;
  network.stages = std::move(stages);
  if (!reader.problem.empty()) return Error{reader.problem};
  return network;
}

std::vector<at::Tensor> tapped_outputs(const EfficientNetLite& network, const at::Tensor& images) {
  const at::NoGradGuard no_gradient;
  std::vector<at::Tensor> taps;
  at::Tensor x = convolve(network.stem, images.contiguous(at::MemoryFormat::ChannelsLast));
  for (const InvertedBottleneck& block : network.blocks) {
    at::Tensor y = x;
    for (const FoldedConvolution& convolution : block.convolutions) y = convolve(convolution, y);
    x = block.residual ? y.add_(x) : y;
    if (std::ranges::binary_search(network.stages, block.last_of_stage)) taps.push_back(x);
  }
  return taps;
}

at::Tensor extract_features(const EfficientNetLite& network, const at::Tensor& images) {
  check(images.dim() == 4 && images.size(2) == images.size(3) && images.size(2) % kFeatureStride == 0,
        "extract_features: square images, a multiple of 16 pixels wide");
  const at::NoGradGuard no_gradient;
  const int64_t grid = images.size(2) / kFeatureStride;
  std::vector<at::Tensor> resized;
  for (const at::Tensor& tap : tapped_outputs(network, images)) {
    resized.push_back(at::upsample_bilinear2d(tap.contiguous(), {grid, grid}, /*align_corners=*/true));
  }
  return at::cat(resized, 1);
}

}  // namespace hivq
