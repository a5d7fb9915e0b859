#include "worker/train/objective.h"

#include <torch/torch.h>

#include <cmath>

#include "worker/model/pot.h"

namespace hivq {

Objective objective(const Model& model, const LossSpec& weights, const Batch& batch, const Forward& out) {
  const auto images = static_cast<double>(batch.global_images());
  const double tokens = images * static_cast<double>(model.tokens());

  // ‖h0 − h̃0‖², mean over elements
  const at::Tensor reconstruction = at::mse_loss(out.reconstruction, batch.h0, at::Reduction::Sum) /
                                    (tokens * static_cast<double>(model.input.channels));
  at::Tensor total = reconstruction;
  at::Tensor transport = at::zeros_like(reconstruction), cross_entropy = at::zeros_like(reconstruction);
  std::vector<at::Tensor> commitments;
  for (size_t level = 0; level < out.levels.size(); ++level) {
    const Quantized& q = out.levels[level];
    // β‖h − sg(e)‖², mean over elements; ‖sg(h) − e‖² is the EMA update
    commitments.push_back(at::mse_loss(q.tokens, q.nearest, at::Reduction::Sum) /
                          (tokens * static_cast<double>(q.tokens.size(2))));
    total = total + weights.commitment * commitments.back();
    if (weights.pot > 0) {  // α·POT
      transport = transport + pot_loss_sum(model.codebooks[level], q.tokens, batch.classes) / images;
    }
  }
  if (weights.pot > 0) total = total + weights.pot * transport;
  if (weights.classification > 0) {  // cross-entropy of the class
    cross_entropy = at::cross_entropy_loss(classify(model, batch.h0), batch.classes, {}, at::Reduction::Sum) / images;
    total = total + weights.classification * cross_entropy;
  }
  std::vector<at::Tensor> terms = {reconstruction, transport, cross_entropy};
  terms.insert(terms.end(), commitments.begin(), commitments.end());
  return {total, at::stack(terms).detach()};
}

Losses losses_of(const at::Tensor& terms, const LossSpec& weights) {
  const at::Tensor values = terms.to(at::kCPU, at::kDouble);
  const auto value = values.accessor<double, 1>();
  Losses losses;
  losses.reconstruction = value[0], losses.pot = value[1], losses.classification = value[2];
  for (int64_t i = Objective::kTerms; i < values.size(0); ++i) losses.commitment += value[i];
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
