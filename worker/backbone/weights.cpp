#include "worker/backbone/weights.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <optional>

#include "common/sha256.h"
#include "worker/data/file.h"
#include "worker/data/state_dict.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
using Code = Naming::Code;

constexpr double kTensorFlowEpsilon = 1e-3, kPyTorchEpsilon = 1e-5;
constexpr std::string_view kShipped = "efficientnet-lite0";  // by cmake/setup.sh

struct Stem {
  Code code;
  std::string_view name;
};
constexpr Stem kStems[] = {{Code::efficientnet_pytorch, "_conv_stem.weight"},
                           {Code::timm, "conv_stem.weight"},
                           {Code::torchvision, "features.0.0.weight"}};

/// What stands before the stem's name, where a tensor has it after nothing or after a dot.
std::optional<std::string> prefix_of(const SafeTensors& weights, std::string_view stem) {
  for (const auto& [name, tensor] : weights.tensors) {
    if (!name.ends_with(stem)) continue;
    const std::string prefix = name.substr(0, name.size() - stem.size());
    if (prefix.empty() || prefix.ends_with('.')) return prefix;
  }
  return std::nullopt;
}

bool ported_from_tensorflow(const Architecture& architecture) {  // torchvision's, from efficientnet_pytorch's
  return architecture.name == "efficientnet-b5" || architecture.name == "efficientnet-b6" ||
         architecture.name == "efficientnet-b7";
}

/// `features.4.2.block.<k>`: expansion (absent where 1), depthwise, squeeze-and-excitation, projection.
LayerNames torchvision_names(const std::string& prefix, const BlockShape& block, Layer layer) {
  const auto part = [&](int64_t k) {
    return fmt::format("{}features.{}.{}.block.{}.", prefix, block.stage, block.index_in_stage, k);
  };
  const int64_t depthwise = block.expansion == 1 ? 0 : 1;
  switch (layer) {
    case Layer::expand:
      return {part(0) + "0", part(0) + "1"};
    case Layer::depthwise:
      return {part(depthwise) + "0", part(depthwise) + "1"};
    case Layer::squeeze:
      return {part(depthwise + 1) + "fc1", ""};
    case Layer::excite:
      return {part(depthwise + 1) + "fc2", ""};
    case Layer::project:
      return {part(depthwise + 2) + "0", part(depthwise + 2) + "1"};
  }
  panic("a layer that has no name");
}

/// `blocks.3.2.conv_pw`; where nothing is expanded, conv_pw is the projection and the norms count from the depthwise.
LayerNames timm_names(const std::string& prefix, const BlockShape& block, Layer layer) {
  const std::string start = fmt::format("{}blocks.{}.{}.", prefix, block.stage - 1, block.index_in_stage);
  const bool expanded = block.expansion != 1;
  switch (layer) {
    case Layer::expand:
      return {start + "conv_pw", start + "bn1"};
    case Layer::depthwise:
      return {start + "conv_dw", start + (expanded ? "bn2" : "bn1")};
    case Layer::squeeze:
      return {start + "se.conv_reduce", ""};
    case Layer::excite:
      return {start + "se.conv_expand", ""};
    case Layer::project:
      return {start + (expanded ? "conv_pwl" : "conv_pw"), start + (expanded ? "bn3" : "bn2")};
  }
  panic("a layer that has no name");
}

LayerNames efficientnet_pytorch_names(const std::string& prefix, const BlockShape& block, Layer layer) {
  const std::string start = fmt::format("{}_blocks.{}.", prefix, block.index);
  switch (layer) {
    case Layer::expand:
      return {start + "_expand_conv", start + "_bn0"};
    case Layer::depthwise:
      return {start + "_depthwise_conv", start + "_bn1"};
    case Layer::squeeze:
      return {start + "_se_reduce", ""};
    case Layer::excite:
      return {start + "_se_expand", ""};
    case Layer::project:
      return {start + "_project_conv", start + "_bn2"};
  }
  panic("a layer that has no name");
}

std::string default_path(const std::string& name, const std::string& folder) {
  const std::string safetensors = folder + "/" + name + ".safetensors", pth = folder + "/" + name + ".pth";
  return !fs::exists(safetensors) && fs::exists(pth) ? pth : safetensors;
}

std::string remedy(const BackboneSpec& spec, const std::string& folder) {
  if (!spec.weights.empty()) return "set backbone.weights to a .safetensors or .pth file";
  if (spec.name == kShipped) return "run cmake/setup.sh, which puts the weights there, or set backbone.weights";
  return fmt::format("put the weights there, or as {}.pth, or set backbone.weights", folder + "/" + spec.name);
}

}  // namespace

Result<BackboneWeights> load_backbone_weights(const BackboneSpec& spec, const std::string& folder) {
  if (const auto known = architecture_of(spec.name); !known) return known.error();
  const std::string path = spec.weights.empty() ? default_path(spec.name, folder) : spec.weights;
  const Result<std::string> bytes = read_file(path);
  if (!bytes) return error("{}; {}", bytes.error().message, remedy(spec, folder));
  Result<SafeTensors> file = read_state_dict(*bytes, path);
  if (!file) return error("{}; fetch the file again, or set backbone.weights to another", file.error().message);
  return BackboneWeights{path, sha256_hex(*bytes), std::move(*file)};
}

LayerNames Naming::stem() const {
  switch (code) {
    case Code::efficientnet_pytorch:
      return {prefix + "_conv_stem", prefix + "_bn0"};
    case Code::torchvision:
      return {prefix + "features.0.0", prefix + "features.0.1"};
    case Code::timm:
      return {prefix + "conv_stem", prefix + "bn1"};
  }
  panic("a naming without a stem");
}

LayerNames Naming::of(const BlockShape& block, Layer layer) const {
  switch (code) {
    case Code::efficientnet_pytorch:
      return efficientnet_pytorch_names(prefix, block, layer);
    case Code::torchvision:
      return torchvision_names(prefix, block, layer);
    case Code::timm:
      return timm_names(prefix, block, layer);
  }
  panic("a naming without blocks");
}

Result<Naming> recognise_naming(const SafeTensors& weights, const Architecture& architecture, std::string_view path) {
  for (const Stem& stem : kStems) {
    const std::optional<std::string> prefix = prefix_of(weights, stem.name);
    if (!prefix) continue;
    if (stem.code == Code::efficientnet_pytorch) return Naming{stem.code, *prefix, true, kTensorFlowEpsilon};
    if (stem.code == Code::torchvision) {
      return Naming{stem.code, *prefix, false,
                    ported_from_tensorflow(architecture) ? kTensorFlowEpsilon : kPyTorchEpsilon};
    }
    const std::string file = fs::path(path).filename().string();
    if (file.find("tf_efficientnet_") != std::string::npos) return Naming{stem.code, *prefix, true, kTensorFlowEpsilon};
    if (file.find("efficientnet_") != std::string::npos) return Naming{stem.code, *prefix, false, kPyTorchEpsilon};
    return error(
        "{}: its tensors are named as timm's, whose tf_efficientnet_* pad as TensorFlow and whose efficientnet_* as "
        "PyTorch, which the tensors do not tell; begin the file's name with timm's name of the model",
        path);
  }
  return error(
      "{}: it holds no EfficientNet: there is no `_conv_stem.weight` (efficientnet_pytorch), `features.0.0.weight` "
      "(torchvision) or `conv_stem.weight` (timm); set backbone.weights",
      path);
}

}  // namespace hivq
