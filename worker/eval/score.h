#pragma once

// What a model says of images: reconstruction, anomaly map, scores, class. The same for evaluation, figures,
// prediction.

#include <ATen/core/Tensor.h>

#include <vector>

#include "common/result.h"
#include "jobs/spec.h"
#include "worker/eval/anomaly_map.h"
#include "worker/model/model.h"

namespace hivq {

struct Scored {
  at::Tensor map;             // [b, 16G, 16G], the POT scores of EvalSpec in it
  ImageScores scores;         // of the map
  at::Tensor predicted;       // [b] int64 the classifier's class, an index among the trained classes
  at::Tensor chosen;          // [b] int64 the class whose codebooks and head were used
  at::Tensor reconstruction;  // [b, N, C] h̃0
  std::vector<Quantized> levels;
};

/// h0 [b, N, C]; labels [b] (int64) index the trained classes, −1 where the class is none of them or not known: such an
/// image, and every one with `switch: predicted`, is switched by the classifier. Without gradients. The levels must
/// pass check_eval().
Scored score(const Model& model, const EvalSpec& spec, const at::Tensor& h0, const at::Tensor& labels);

/// The scores [b] that EvalSpec::score names.
const at::Tensor& chosen_scores(const ImageScores& scores, const EvalSpec& spec);

/// Errors: a score that does not exist; a level in eval.pot_levels that the model, of `levels` levels, lacks, or twice.
Status check_eval(const EvalSpec& spec, int64_t levels);

}  // namespace hivq
