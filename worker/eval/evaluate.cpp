#include "worker/eval/evaluate.h"

#include <torch/torch.h>

#include <algorithm>

#include "worker/eval/anomaly_map.h"
#include "worker/eval/auroc.h"
#include "worker/model/forward.h"
#include "worker/model/pot.h"
#include "worker/train/sampler.h"
#include "worker/train/step.h"

namespace hivq {
namespace {

constexpr int64_t kBatch = 32;  // images

// What is known of each test image: the columns of the gathered table.
enum Column : int64_t { kMax, kMean, kStd, kError, kPredicted, kColumns };

/// [m] the index among the trained classes, −1 for the others.
at::Tensor trained_class(const FeatureSet& features) {
  std::vector<int64_t> index;
  for (const int64_t name : features.test_class) {
    const auto found = std::ranges::find(features.trained_classes, name);
    index.push_back(found == features.trained_classes.end() ? -1 : found - features.trained_classes.begin());
  }
  return at::tensor(index, at::kLong);
}

/// Rows of the table for one batch of test images.
at::Tensor score_batch(const Model& model, const TrialSpec& spec, const MapScoring& scoring, const at::Tensor& h0,
                       const at::Tensor& label) {
  const at::Tensor predicted = classify(model, h0).argmax(1);
  const at::Tensor chosen = spec.model.switch_by == "label" ? at::where(label.ge(0), label, predicted) : predicted;
  Dropout none;
  const Forward out = forward(model, h0, chosen, none);
  at::Tensor map = anomaly_map(h0, out.reconstruction);
  if (spec.eval.pot > 0) {  // of the finest level, or the only one
    map = map + spec.eval.pot * pot_score(model.codebooks.back(), out.levels.back().tokens, chosen).view_as(map);
  }
  const ImageScores scores = image_scores(scoring, map);
  const at::Tensor squared_error = (out.reconstruction - h0).square().mean({1, 2});
  return at::stack({scores.max, scores.mean, scores.std, squared_error, predicted.to(map.scalar_type())}, 1);
}

/// The table [m, kColumns] of all test images, each rank having scored its share.
Result<at::Tensor> score_images(const Model& model, const TrialSpec& spec, const FeatureSet& features,
                                const at::Tensor& labels, Collective& collective) {
  const at::Tensor& test = features.test;
  at::Tensor table = at::zeros({test.size(0), kColumns}, model.values.options());
  const MapScoring scoring = make_map_scoring(model.input.grid, model.values.options());
  const Range share = share_of(test.size(0), collective.rank(), collective.size());
  {
    const c10::InferenceMode inference;
    for (int64_t at = share.begin; at < share.end; at += kBatch) {
      const int64_t count = std::min(kBatch, share.end - at);
      const at::Tensor images = at::arange(at, at + count, at::TensorOptions(at::kLong).device(test.device()));
      const at::Tensor label = labels.narrow(0, at, count).to(test.device());
      table.narrow(0, at, count).copy_(score_batch(model, spec, scoring, tokens_of(test, images), label));
    }
  }
  if (Status gathered = collective.all_reduce_sum(table); !gathered) return gathered.error();
  return table.to(at::kCPU);
}

std::vector<float> column(const at::Tensor& table, Column which) {
  const at::Tensor values = table.select(1, which).to(at::kFloat).contiguous();
  return {values.const_data_ptr<float>(), values.const_data_ptr<float>() + values.numel()};
}

}  // namespace

Result<std::map<std::string, double>> evaluate(const Model& model, const TrialSpec& spec, const FeatureSet& features,
                                               Collective& collective) {
  const at::Tensor labels = trained_class(features);
  const Result<at::Tensor> table = score_images(model, spec, features, labels, collective);
  if (!table) return table.error();

  std::map<std::string, double> metrics;
  const std::vector<uint8_t> anomalous(features.test_anomalous.begin(), features.test_anomalous.end());
  const std::map<std::string, Column> kinds = {{"max", kMax}, {"mean", kMean}, {"std", kStd}};
  for (const auto& [kind, which] : kinds) {
    const auto value = auroc(column(*table, which), anomalous);
    if (!value) continue;
    metrics["auroc_" + kind] = *value;
    if (kind == spec.eval.score) metrics["auroc"] = *value;
  }
  const at::Tensor is_anomalous = at::tensor(std::vector<int64_t>(anomalous.begin(), anomalous.end()), at::kLong).ne(0);
  const auto mean_over = [&](const std::string& name, const at::Tensor& values, const at::Tensor& chosen) {
    const at::Tensor some = values.to(at::kDouble).masked_select(chosen);
    if (some.numel() > 0) metrics[name] = some.mean().item<double>();
  };
  mean_over("error_normal", table->select(1, kError), is_anomalous.logical_not());
  mean_over("error_anomalous", table->select(1, kError), is_anomalous);
  mean_over("classifier_accuracy", table->select(1, kPredicted).to(at::kLong).eq(labels),
            is_anomalous.logical_not().logical_and(labels.ge(0)));
  return metrics;
}

}  // namespace hivq
