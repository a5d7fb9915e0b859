#include "worker/backbone/efficientnet.h"

#include <torch/torch.h>

#include <algorithm>

#include "worker/backbone/architecture.h"

namespace hivq {
namespace {

constexpr int64_t kFeatureStride = 16;  // pixels of the image per cell of the feature grid

/// Takes tensors out of the weights by name and checks their shapes. The first mistake sticks in `problem`, so that the
/// architecture below reads without a check per line.
struct WeightReader {
  const SafeTensors& weights;
  const Naming& naming;
  const Architecture& architecture;
  std::string_view path;
  std::string problem = {};

  at::Tensor take(const std::string& name, const std::vector<int64_t>& shape) {
    const auto found = weights.tensors.find(name);
    if (found == weights.tensors.end()) {
      fail(fmt::format("tensor `{}` is missing", name));
    } else if (found->second.sizes() != at::IntArrayRef(shape) || !found->second.is_floating_point()) {
      fail(fmt::format("tensor `{}` is {} [{}], but {} needs floats [{}]", name,
                       c10::toString(found->second.scalar_type()), fmt::join(found->second.sizes().vec(), ", "),
                       architecture.name, fmt::join(shape, ", ")));
    } else {
      return found->second.to(at::kDouble);
    }
    return at::ones(shape, at::kDouble);
  }

  void fail(const std::string& what) {
    if (problem.empty())
      problem = fmt::format("{}: {}; set backbone.weights to weights of {}", path, what, architecture.name);
  }
};

struct Shape {
  int64_t in, out, kernel, stride = 1, groups = 1;
};

/// Folds y = gamma (W x − mean) / sqrt(var + eps) + beta into one convolution; in double, so that folding adds no
/// error.
FoldedConvolution fold(WeightReader& reader, const LayerNames& names, const Shape& shape, Activation activation) {
  const at::Tensor weight =
      reader.take(names.convolution + ".weight", {shape.out, shape.in / shape.groups, shape.kernel, shape.kernel});
  const at::Tensor gamma = reader.take(names.norm + ".weight", {shape.out});
  const at::Tensor beta = reader.take(names.norm + ".bias", {shape.out});
  const at::Tensor mean = reader.take(names.norm + ".running_mean", {shape.out});
  const at::Tensor variance = reader.take(names.norm + ".running_var", {shape.out});
  const at::Tensor scale = gamma / (variance + reader.naming.norm_epsilon).sqrt();

  FoldedConvolution folded;
  folded.weight = (weight * scale.view({-1, 1, 1, 1})).to(at::kFloat).contiguous(at::MemoryFormat::ChannelsLast);
  folded.bias = (beta - mean * scale).to(at::kFloat);
  folded.stride = shape.stride;
  folded.groups = shape.groups;
  folded.activation = activation;
  folded.same_padding = reader.naming.same_padding;
  return folded;
}

SqueezeExcitation read_attention(WeightReader& reader, const BlockShape& shape) {
  const std::string squeeze = reader.naming.of(shape, Layer::squeeze).convolution;
  const std::string excite = reader.naming.of(shape, Layer::excite).convolution;
  const int64_t wide = shape.wide(), narrow = shape.squeezed;
  return {reader.take(squeeze + ".weight", {narrow, wide, 1, 1}).to(at::kFloat).view({narrow, wide}),
          reader.take(squeeze + ".bias", {narrow}).to(at::kFloat),
          reader.take(excite + ".weight", {wide, narrow, 1, 1}).to(at::kFloat).view({wide, narrow}),
          reader.take(excite + ".bias", {wide}).to(at::kFloat)};
}

InvertedBottleneck read_block(WeightReader& reader, const BlockShape& shape) {
  const Activation activation = reader.architecture.lite ? Activation::relu6 : Activation::swish;
  const int64_t wide = shape.wide();
  const auto names = [&](Layer layer) { return reader.naming.of(shape, layer); };
  InvertedBottleneck block;
  if (shape.expansion != 1) block.expand = fold(reader, names(Layer::expand), {shape.in, wide, 1}, activation);
  block.depthwise = fold(reader, names(Layer::depthwise), {wide, wide, shape.kernel, shape.stride, wide}, activation);
  if (shape.squeezed > 0) block.attention = read_attention(reader, shape);
  block.project = fold(reader, names(Layer::project), {wide, shape.out, 1}, Activation::none);
  block.residual = shape.residual();
  return block;
}

at::Tensor activate(at::Tensor x, Activation activation) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu6:
      return x.clamp_(0, 6);
    case Activation::swish:
      return at::silu_(x);
  }
  panic("an activation that is none");
}

/// TensorFlow's SAME: as many outputs as ceil(size / stride), and the odd pixel of padding goes to the right and
/// bottom. PyTorch's padding gives as many outputs.
at::Tensor convolve(const FoldedConvolution& c, const at::Tensor& x) {
  const int64_t kernel = c.weight.size(2);
  const auto padding = [&](int64_t size) {
    if (!c.same_padding) return kernel - 1;
    const int64_t out = (size + c.stride - 1) / c.stride;
    return std::max<int64_t>((out - 1) * c.stride + kernel - size, 0);
  };
  const int64_t rows = padding(x.size(2)), columns = padding(x.size(3));
  std::vector<int64_t> border = {rows / 2, columns / 2};
  at::Tensor padded = x;
  if (rows % 2 != 0 || columns % 2 != 0) {  // conv2d pads both sides alike, which saves a copy elsewhere
    padded = at::constant_pad_nd(x, {columns / 2, columns - columns / 2, rows / 2, rows - rows / 2});
    border = {0, 0};
  }
  const std::vector<int64_t> stride = {c.stride, c.stride}, dilation = {1, 1};
  return activate(at::conv2d(padded, c.weight, c.bias, at::IntArrayRef(stride), at::IntArrayRef(border),
                             at::IntArrayRef(dilation), c.groups),
                  c.activation);
}

/// Changes x, which the depthwise convolution has just made.
at::Tensor attend(const SqueezeExcitation& attention, at::Tensor x) {
  const at::Tensor mean = x.mean({2, 3});
  const at::Tensor squeezed = activate(at::linear(mean, attention.squeeze, attention.squeeze_bias), Activation::swish);
  const at::Tensor scale = at::linear(squeezed, attention.excite, attention.excite_bias).sigmoid_();
  return x.mul_(scale.unsqueeze(2).unsqueeze(3));
}

at::Tensor apply(const InvertedBottleneck& block, const at::Tensor& x) {
  at::Tensor y = convolve(block.depthwise, block.expand ? convolve(*block.expand, x) : x);
  if (block.attention) y = attend(*block.attention, y);
  y = convolve(block.project, y);
  return block.residual ? y.add_(x) : y;
}

}  // namespace

Result<EfficientNet> make_efficientnet(const BackboneSpec& spec, const SafeTensors& weights, std::string_view path) {
  const Result<Architecture> architecture = architecture_of(spec.name);
  if (!architecture) return architecture.error();
  Result<std::vector<int64_t>> taps = tapped_blocks(*architecture, spec);
  if (!taps) return taps.error();
  const Result<Naming> naming = recognise_naming(weights, *architecture, path);
  if (!naming) return naming.error();

  const at::NoGradGuard no_gradient;
  WeightReader reader{weights, *naming, *architecture, path};
  EfficientNet network;
  network.stem = fold(reader, naming->stem(), {3, architecture->stem, 3, 2},
                      architecture->lite ? Activation::relu6 : Activation::swish);
  for (int64_t block = 0; block <= taps->back(); ++block) {
    network.blocks.push_back(read_block(reader, architecture->blocks[static_cast<size_t>(block)]));
  }
  for (const int64_t tap : *taps) network.channels += architecture->blocks[static_cast<size_t>(tap)].out;
  network.taps = std::move(*taps);
  network.settings = fmt::format("{} blocks {} {} padding, epsilon {}", spec.name, fmt::join(network.taps, ","),
                                 naming->same_padding ? "SAME" : "symmetric", naming->norm_epsilon);
  if (!reader.problem.empty()) return Error{reader.problem};
  return network;
}

std::vector<at::Tensor> tapped_outputs(const EfficientNet& network, const at::Tensor& images) {
  const at::NoGradGuard no_gradient;
  std::vector<at::Tensor> taps;
  at::Tensor x = convolve(network.stem, images.contiguous(at::MemoryFormat::ChannelsLast));
  for (size_t i = 0; i < network.blocks.size(); ++i) {
    x = apply(network.blocks[i], x);
    if (std::ranges::binary_search(network.taps, static_cast<int64_t>(i))) taps.push_back(x);
  }
  return taps;
}

at::Tensor extract_features(const EfficientNet& network, const at::Tensor& images) {
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
