#include "worker/model/pot.h"

#include <torch/torch.h>

#include "worker/model/grouped.h"

namespace hivq {
namespace {

struct Transport {
  at::Tensor cost;   // [b, N, K]
  at::Tensor logit;  // [b, N, K] h·e / K
};

Transport transport(const Codebook& codebook, const at::Tensor& tokens, const at::Tensor& group) {
  constexpr double kTiny = 1e-12;  // a norm of 0 has no direction: its cosine is 0
  const at::Tensor dot = grouped_matmul(tokens, codebook.embed.detach(), group);
  const at::Tensor token_norm = at::linalg_vector_norm(tokens, 2, {2}, /*keepdim=*/true).clamp_min(kTiny);
  const at::Tensor inverse = codebook.squared_norm.detach().sqrt().clamp_min(kTiny).reciprocal();
  const at::Tensor own = (codebook.codebooks() == 1 ? inverse : inverse.index_select(0, group)).unsqueeze(1);
  return {1 - dot / token_norm * own, dot / static_cast<double>(codebook.prototypes())};
}

}  // namespace

at::Tensor pot_score(const Codebook& codebook, const at::Tensor& tokens, const at::Tensor& group) {
  const Transport t = transport(codebook, tokens, group);
  return (t.cost * t.logit.softmax(2)).sum(2);
}

at::Tensor pot_loss_sum(const Codebook& codebook, const at::Tensor& tokens, const at::Tensor& group) {
  const Transport t = transport(codebook, tokens, group);
  const at::Tensor to_prototypes = (t.cost * t.logit.softmax(2)).sum() / tokens.size(1);
  const at::Tensor to_tokens = (t.cost * t.logit.softmax(1)).sum() / codebook.prototypes();
  return to_prototypes + to_tokens;
}

}  // namespace hivq
