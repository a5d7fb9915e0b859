#pragma once

// A backbone's pre-trained weights: where they lie, and how their file names them. Each naming comes from one training
// code, and with it come that code's padding and the constant of its batch norms:
//
//   efficientnet_pytorch   _blocks.0._depthwise_conv.weight    TensorFlow's SAME (ported from TensorFlow), 1e-3
//   torchvision            features.1.0.block.0.0.weight       PyTorch's, (k − 1) / 2 on every side; 1e-5, but
//                                                              1e-3 for b5 to b7 (torchvision's efficientnet.py)
//   timm                   blocks.0.0.conv_dw.weight           tf_efficientnet_*: TensorFlow's SAME, 1e-3;
//                                                              efficientnet_*: PyTorch's, 1e-5
//
// The two paddings differ where the stride is 2: SAME puts the odd pixel to the right and bottom, so that the samples
// lie one pixel further; weights give what they were trained to give with their own padding only.

#include <string>
#include <string_view>

#include "common/result.h"
#include "jobs/spec.h"
#include "worker/backbone/architecture.h"
#include "worker/data/safetensors.h"

namespace hivq {

struct BackboneWeights {
  std::string path;
  std::string digest;  // SHA-256 of the file
  SafeTensors file;
};

/// Reads the file that `backbone.weights` names, or else <name>.safetensors or <name>.pth in `folder`. Errors: an
/// unknown backbone, no such file (with the remedy), damage.
Result<BackboneWeights> load_backbone_weights(const BackboneSpec& spec, const std::string& folder);

/// A layer's names without `.weight`, `.bias` and so on. No norm: the layer has a bias of its own.
struct LayerNames {
  std::string convolution, norm;
};

enum class Layer { expand, depthwise, squeeze, excite, project };

struct Naming {
  enum class Code { efficientnet_pytorch, torchvision, timm };
  Code code = Code::efficientnet_pytorch;
  std::string prefix;        // before every name, with its dot: `enc.` in the authors' checkpoints
  bool same_padding = true;  // TensorFlow's SAME; otherwise PyTorch's
  double norm_epsilon = 1e-3;

  LayerNames stem() const;
  LayerNames of(const BlockShape& block, Layer layer) const;
};

/// Recognises the naming by the stem's name. Errors: no naming that is known; timm's, where the file's name does not
/// say which of its trainings the weights are from.
Result<Naming> recognise_naming(const SafeTensors& weights, const Architecture& architecture, std::string_view path);

}  // namespace hivq
