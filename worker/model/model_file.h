#pragma once

// A trained model on disk: a safetensors file that tells how to use itself. A checkpoint is one too, with the
// optimiser's state besides.

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "worker/model/model.h"

namespace hivq {

/// A model with all that using it on an image needs.
struct TrainedModel {
  TrialSpec spec;                    // backbone, size of the images, switches, score
  std::vector<std::string> classes;  // names of the trained classes, in the model's order
  Model model;

  /// Whether the classifier was trained, and so may choose codebook and head.
  bool has_classifier() const { return spec.loss.classification > 0; }
};

/// Where a file's metadata has the specification of its model.
inline constexpr const char* kTrialKey = "trial";

/// What a file's metadata says of its model: for whoever writes one.
std::map<std::string, std::string> describe_model(const TrialSpec& spec, const std::vector<std::string>& classes);

Status save_model(const std::string& path, const TrainedModel& model);

/// Reads a model, or a checkpoint. `origin` names it in errors. Errors: no model of hivq, tensors missing or of another
/// shape than the specification says.
Result<TrainedModel> read_model(const SafeTensors& file, std::string_view origin, const at::TensorOptions& options);
Result<TrainedModel> load_model(const std::string& path, const at::TensorOptions& options);

/// Copies tensors into the model's by name. Errors: one is missing, or has another shape; `origin` names where they are
/// from.
Status fill_model(Model& model, const std::map<std::string, at::Tensor>& tensors, std::string_view origin);

}  // namespace hivq
