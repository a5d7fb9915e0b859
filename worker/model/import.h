#pragma once

// State dicts of HVQ-Trans from elsewhere: the authors' (github.com/RuiyingLu/HVQ-Trans), under their names.

#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "worker/model/model_file.h"

namespace hivq {

struct ImportOptions {
  std::string preset = "hvq-trans-official";  // what a state dict does not tell: objective, scores, heads
  std::vector<std::string> classes;  // names in the order of their numbers; empty: MVTec-AD's for 15, else numbers
  int64_t heads = 8;                 // of attention
};

/// A model of the shape that the tensors have; a model or checkpoint of hivq (model_file.h) as it says itself. The
/// backbone (`enc.*`) and the authors' unused `input_proj` are left out; a state dict without a classifier gets one of
/// zeros and is switched by label. `origin` names it in errors. Errors: tensors that are missing, unknown, of another
/// type or shape; another number of class names than classes.
Result<TrainedModel> import_state_dict(const SafeTensors& state, const ImportOptions& options, std::string_view origin,
                                       const at::TensorOptions& type);

}  // namespace hivq
