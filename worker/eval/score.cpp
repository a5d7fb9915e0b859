#include "worker/eval/score.h"

#include <torch/torch.h>

#include <set>

#include "worker/model/forward.h"
#include "worker/model/pot.h"

namespace hivq {

Scored score(const Model& model, const EvalSpec& spec, const at::Tensor& h0, const at::Tensor& labels) {
  const at::NoGradGuard no_gradients;
  const at::Tensor predicted = classify(model, h0).argmax(1);
  const at::Tensor chosen = model.spec.switch_by == "label" ? at::where(labels.ge(0), labels, predicted) : predicted;
  Dropout none;
  const Forward out = forward(model, h0, chosen, none);
  at::Tensor map = anomaly_map(h0, out.reconstruction);
  if (spec.pot > 0) {
    std::vector<int64_t> levels = spec.pot_levels;
    if (levels.empty()) levels.push_back(model.levels() - 1);
    for (const int64_t level : levels) {
      const auto at = static_cast<size_t>(level);
      map = map + spec.pot * pot_score(model.codebooks.at(at), out.levels[at], chosen).view_as(map);
    }
  }
  const MapScoring scoring = make_map_scoring(model.input.grid, map.options());
  const at::Tensor large = upsampled(scoring, map);
  return {large, image_scores(scoring, map, large), predicted, chosen, out.reconstruction, out.levels};
}

const at::Tensor& chosen_scores(const ImageScores& scores, const EvalSpec& spec) {
  return spec.score == "max" ? scores.max : spec.score == "mean" ? scores.mean : scores.std;
}

Status check_eval(const EvalSpec& spec, int64_t levels) {
  if (spec.score != "max" && spec.score != "mean" && spec.score != "std") {
    return error("eval.score is `{}`; it must be max, mean or std", spec.score);
  }
  std::set<int64_t> seen;
  for (const int64_t level : spec.pot_levels) {
    if (level < 0 || level >= levels) {
      return error("eval.pot_levels holds {}, but the model's levels are 0 (the top) to {}", level, levels - 1);
    }
    if (!seen.insert(level).second) return error("eval.pot_levels holds level {} twice; name each level once", level);
  }
  return {};
}

}  // namespace hivq
