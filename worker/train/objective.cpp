#include "worker/train/objective.h"

#include <torch/torch.h>

#include <cmath>

#include "worker/model/pot.h"

namespace hivq {

namespace {

/// Sums of [T·b, …] over each trial's images: [T].
at::Tensor by_trial(const at::Tensor& values, int64_t trials) { return values.view({trials, -1}).sum(1); }

}  // namespace

LossWeights loss_weights(std::span<const LossSpec> trials, const at::TensorOptions& options) {
  const auto each = [&](double LossSpec::*which) {
    std::vector<double> values;
    for (const LossSpec& trial : trials) values.push_back(trial.*which);
    return at::tensor(values, at::kDouble).to(options);
  };
  return {each(&LossSpec::commitment), each(&LossSpec::pot), each(&LossSpec::classification), trials[0].pot > 0,
          trials[0].classification > 0};
}

ObjectiveValue objective(const Model& model, const LossWeights& weights, const Batch& batch, const Forward& out) {
  const auto images = static_cast<double>(batch.global_images());
  const double tokens = images * static_cast<double>(model.tokens());
  const auto options = out.reconstruction.options().requires_grad(false);
  const auto mean_square = [&](const at::Tensor& a, const at::Tensor& b) {
    return by_trial(at::mse_loss(a, b, at::Reduction::None), batch.trials) / (tokens * static_cast<double>(a.size(2)));
  };

  const at::Tensor reconstruction = mean_square(out.reconstruction, batch.h0);  // ‖h0 − h̃0‖², mean over elements
  at::Tensor transport = at::zeros({batch.trials}, options), cross_entropy = transport;
  std::vector<at::Tensor> commitments;
  for (size_t level = 0; level < out.levels.size(); ++level) {
    const Quantized& q = out.levels[level];
    commitments.push_back(mean_square(q.tokens, q.nearest));  // ‖h − sg(e)‖²; ‖sg(h) − e‖² is the EMA update
    if (!weights.transports) continue;
    transport = transport + by_trial(pot_loss(model.codebooks[level], q, out.place), batch.trials) / images;
  }
  at::Tensor total = reconstruction + weights.commitment.to(options) * at::stack(commitments).sum(0);
  if (weights.transports) total = total + weights.pot.to(options) * transport;
  if (weights.classifies) {
    const at::Tensor each = at::cross_entropy_loss(classify(model, batch.h0), batch.classes, {}, at::Reduction::None);
    cross_entropy = by_trial(each, batch.trials) / images;
    total = total + weights.classification.to(options) * cross_entropy;
  }
  std::vector<at::Tensor> terms = {reconstruction, transport, cross_entropy};
  terms.insert(terms.end(), commitments.begin(), commitments.end());
  return {total.sum(), at::stack(terms, 1).detach()};
}

Losses losses_of(const at::Tensor& terms, const LossSpec& weights) {
  const at::Tensor values = terms.to(at::kDouble);
  const auto value = values.accessor<double, 1>();
  Losses losses;
  losses.reconstruction = value[0], losses.pot = value[1], losses.classification = value[2];
  for (int64_t i = ObjectiveValue::kTerms; i < values.size(0); ++i) losses.commitment += value[i];
  losses.total = losses.reconstruction + weights.commitment * losses.commitment + weights.pot * losses.pot +
                 weights.classification * losses.classification;
  return losses;
}

std::string Losses::not_finite() const {
  if (!std::isfinite(reconstruction)) return "the reconstruction loss";
  if (!std::isfinite(commitment)) return "the commitment loss";
  if (!std::isfinite(pot)) return "the POT loss";
  if (!std::isfinite(classification)) return "the classification loss";
  if (!std::isfinite(total)) return "the loss";
  if (!std::isfinite(gradient_norm)) return "the norm of the gradient";
  return {};
}

}  // namespace hivq
