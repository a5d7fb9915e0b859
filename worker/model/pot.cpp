#include "worker/model/pot.h"

#include <torch/torch.h>

#include "worker/gpu/kernels.h"
#include "worker/model/cpu_kernels.h"
#include "worker/model/fused_pot.h"
#include "worker/model/gpu_codebooks.h"

namespace hivq {
namespace {

constexpr double kTiny = 1e-12;  // a norm of 0 has no direction: its cosine is 0

/// 1/‖h‖ [b, N, 1] and 1/‖e‖ [b, 1, K].
struct Inverse {
  at::Tensor token, prototype;
};
Inverse inverse_norms(const Codebook& codebook, const Quantized& level, const at::Tensor& group) {
  const at::Tensor of_codebook = codebook.squared_norm.detach().sqrt().clamp_min(kTiny).reciprocal();
  const at::Tensor own =
      codebook.codebooks() == 1 ? of_codebook.expand({level.tokens.size(0), -1}) : of_codebook.index_select(0, group);
  return {at::linalg_vector_norm(level.tokens, 2, {2}, /*keepdim=*/true).clamp_min(kTiny).reciprocal(),
          own.unsqueeze(1)};
}

at::Tensor cost_of(const Quantized& level, const Inverse& inverse) {
  return 1 - level.product * inverse.token * inverse.prototype;  // [b, N, K]
}

at::Tensor logits_of(const Codebook& codebook, const Quantized& level) {
  return level.product / static_cast<double>(codebook.prototypes());
}

}  // namespace

at::Tensor pot_score(const Codebook& codebook, const Quantized& level, const at::Tensor& group) {
  const at::Tensor cost = cost_of(level, inverse_norms(codebook, level, group));
  return (cost * logits_of(codebook, level).softmax(2)).sum(2);
}

at::Tensor pot_loss(const Codebook& codebook, const Quantized& level, const at::Tensor& group) {
  if (gpu_kernels_take(level.product)) return gpu_pot_loss(codebook, level, group);
  const Inverse inverse = inverse_norms(codebook, level, group);
  if (cpu_kernels_take(level.product))
    return fused_pot_loss(level.product, inverse.token.squeeze(2), inverse.prototype.squeeze(1));
  return plain_pot_loss(codebook, level, group);
}

at::Tensor plain_pot_loss(const Codebook& codebook, const Quantized& level, const at::Tensor& group) {
  const at::Tensor cost = cost_of(level, inverse_norms(codebook, level, group)), logits = logits_of(codebook, level);
  const at::Tensor to_prototypes = (cost * logits.softmax(2)).sum({1, 2}) / level.tokens.size(1);
  const at::Tensor to_tokens = (cost * logits.softmax(1)).sum({1, 2}) / codebook.prototypes();
  return to_prototypes + to_tokens;
}

}  // namespace hivq
