#pragma once

// EfficientNets b0 to b7 and Lite0 to Lite4, frozen: the features that the model reconstructs. Reference: the PyPI
// packages efficientnet_pytorch and efficientnet_lite_pytorch, with TensorFlow's SAME padding computed from the size of
// the input, as in the authors' backbone.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "jobs/spec.h"
#include "worker/backbone/weights.h"
#include "worker/data/safetensors.h"

namespace hivq {

enum class Activation { none, relu6, swish };

/// A convolution with its batch norm folded in, and what follows it.
struct FoldedConvolution {
  at::Tensor weight;  // [out, in / groups, k, k]
  at::Tensor bias;    // [out]
  int64_t stride = 1;
  int64_t groups = 1;
  Activation activation = Activation::none;
  bool same_padding = true;  // TensorFlow's; otherwise (k − 1) / 2 on every side
};

/// Scales each channel by sigmoid(excite(swish(squeeze(mean of the channel)))).
struct SqueezeExcitation {
  at::Tensor squeeze, squeeze_bias;  // [S, C], [S]
  at::Tensor excite, excite_bias;    // [C, S], [C]
};

struct InvertedBottleneck {
  std::optional<FoldedConvolution> expand;
  FoldedConvolution depthwise;
  std::optional<SqueezeExcitation> attention;
  FoldedConvolution project;
  bool residual = false;  // plus the input
};

struct EfficientNet {
  FoldedConvolution stem;
  std::vector<InvertedBottleneck> blocks;  // up to the highest tap
  std::vector<int64_t> taps;               // 0-based blocks, ascending
  int64_t channels = 0;                    // C, of all taps together
  std::string settings;                    // what the features depend on beside the weights' values and the image
};

/// Builds the network up to its highest tap. `path` names the weights' file in errors, and tells timm's trainings
/// apart. Errors: a name, stage or block that does not exist; a tensor that is missing or has another shape.
Result<EfficientNet> make_efficientnet(const BackboneSpec& spec, const SafeTensors& weights, std::string_view path);

/// The outputs of the tapped blocks, in network order: [B, 3, S, S] → [B, c, s, s] each.
std::vector<at::Tensor> tapped_outputs(const EfficientNet& network, const at::Tensor& images);

/// h0: each tap resized bilinearly (align_corners=True) to G×G, G = S / 16, and concatenated. [B, 3, S, S] → [B, C, G,
/// G], contiguous float32.
at::Tensor extract_features(const EfficientNet& network, const at::Tensor& images);

}  // namespace hivq
