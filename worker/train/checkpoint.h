#pragma once

// The state of training as the bytes of a safetensors file.

#include <string>
#include <string_view>

#include "common/result.h"
#include "worker/train/step.h"

namespace hivq {

/// Parameters, codebooks (both under the names of MODEL.md), moments of the optimiser, the position in training and the
/// epoch's metrics so far; and what makes it a model that can be used (model_file.h). The number of training images
/// identifies the data to restore_checkpoint.
std::string save_checkpoint(const Training& training, const TrialSpec& spec, const FeatureSet& features);

/// Puts the state into `training`, which must be made from the same trial; what follows is then bit-identical to a run
/// that was never interrupted. On an Error `training` is partly changed. Any bytes are safe to pass.
/// Errors: damaged bytes; tensors missing, unknown or of another shape; another number of training images.
Status restore_checkpoint(Training& training, std::string_view bytes, int64_t train_images);

}  // namespace hivq
