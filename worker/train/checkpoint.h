#pragma once

// The state of training as the bytes of a safetensors file.

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "worker/train/step.h"

namespace hivq {

/// A trial's state at a step boundary, copied from the device, so that training goes on while it is written.
struct TrainingSnapshot {
  int64_t step = 0;
  std::vector<NamedTensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Of a training of one trial (trial_of): parameters, codebooks (both under the names of MODEL.md), moments of the
/// optimiser, the position in training and the epoch's metrics so far; and what makes it a model that can be used
/// (model_file.h). The number of training images identifies the data to restore_checkpoint.
TrainingSnapshot take_snapshot(const Training& training, const TrialSpec& spec, const FeatureSet& features);

/// The bytes of a checkpoint. Touches nothing but the snapshot.
std::string write_checkpoint(const TrainingSnapshot& snapshot);

/// Puts the state into `training`, which must be made from the same trial; what follows is then bit-identical to a run
/// that was never interrupted. On an Error `training` is partly changed. Any bytes are safe to pass.
/// Errors: damaged bytes; tensors missing, unknown or of another shape; another number of training images.
Status restore_checkpoint(Training& training, std::string_view bytes, int64_t train_images);

/// Puts the model and the codebooks of another trial's checkpoint into an untrained model of the same shape.
/// Errors: damaged bytes; tensors missing or of another shape.
Status warm_start(Model& model, std::string_view bytes);

}  // namespace hivq
