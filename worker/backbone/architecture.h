#pragma once

// The EfficientNet family as plain numbers: one table of seven stages, scaled in width and depth. Sources: Tan and Le,
// "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", tables 1 and 2 of the released TensorFlow
// code (b0 to b7); its folder lite/ (Lite0 to Lite4: no squeeze-and-excitation, ReLU6, and a stem, a head and numbers
// of blocks in the first and last stage that are not scaled).

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "jobs/spec.h"

namespace hivq {

/// An inverted bottleneck: expansion (none where `expansion` is 1), depthwise convolution, squeeze-and-excitation
/// (`squeezed` channels within; 0: none), projection; plus the input where the shapes allow it.
struct BlockShape {
  int64_t index = 0;           // 0-based, in the network
  int64_t stage = 1;           // 1-based
  int64_t index_in_stage = 0;  // 0-based
  int64_t kernel = 3, stride = 1, expansion = 1, in = 0, out = 0, squeezed = 0;
  int64_t wide() const { return in * expansion; }
  bool residual() const { return stride == 1 && in == out; }
};

struct Architecture {
  std::string name;
  bool lite = false;  // ReLU6 in place of swish
  int64_t stem = 0;   // channels
  std::vector<BlockShape> blocks;
};

/// The network of that name. Error: lists the names that there are.
Result<Architecture> architecture_of(std::string_view name);

/// The 0-based blocks that are tapped, ascending: `backbone.blocks`, or the last of each of `backbone.stages`. Errors:
/// a block or stage that does not exist (with the range) or is named twice, none at all.
Result<std::vector<int64_t>> tapped_blocks(const Architecture& architecture, const BackboneSpec& spec);

}  // namespace hivq
