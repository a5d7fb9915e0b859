#include "worker/model/quantizer.h"

#include <torch/torch.h>

#include "worker/model/grouped.h"

namespace hivq {
namespace {

constexpr double kEpsilon = 1e-5;  // ε of the moving average

/// Forward: the prototypes. Backward: the gradient goes to the tokens as it is.
struct StraightThrough : torch::autograd::Function<StraightThrough> {
  static at::Tensor forward(torch::autograd::AutogradContext*, const at::Tensor& tokens, const at::Tensor& nearest) {
    return nearest.view_as(tokens);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                 const torch::autograd::variable_list& gradients) {
    return {gradients[0], at::Tensor()};
  }
};

/// Index of each token's prototype among the rows of all codebooks: [b·N].
at::Tensor flat_index(const at::Tensor& code, const at::Tensor& row, int64_t prototypes) {
  return (code + row.unsqueeze(1) * prototypes).view(-1);
}

}  // namespace

void refresh(Codebook& codebook) { codebook.squared_norm = codebook.embed.square().sum(2); }

Codebook make_codebook(at::Tensor embed, double size) {
  const at::NoGradGuard no_grad;
  Codebook codebook;
  codebook.embed = embed.contiguous();
  codebook.cluster_size = at::full({embed.size(0), embed.size(1)}, size, embed.options());
  codebook.embed_avg = size == 0 ? codebook.embed.clone() : codebook.embed * size;
  refresh(codebook);
  return codebook;
}

Quantized quantize(const Codebook& codebook, const at::Tensor& tokens, const at::Tensor& group) {
  Quantized level;
  level.tokens = tokens;
  {
    const at::NoGradGuard no_grad;
    // ‖h − e‖² without ‖h‖², which is the same for every prototype.
    const at::Tensor distance = grouped_matmul(tokens.detach(), codebook.embed, group, codebook.squared_norm, -2);
    level.code = distance.argmin(2);
    const at::Tensor shared = at::zeros_like(group);
    const at::Tensor index = flat_index(level.code, codebook.codebooks() == 1 ? shared : group, codebook.prototypes());
    level.nearest = codebook.embed.view({-1, codebook.width()}).index_select(0, index).view_as(tokens);
  }
  level.output = tokens.requires_grad() ? StraightThrough::apply(tokens, level.nearest) : level.nearest;
  return level;
}

void add_statistics(const CodebookStatistics& statistics, const Quantized& level, const at::Tensor& row) {
  const at::NoGradGuard no_grad;
  const at::Tensor index = flat_index(level.code, row, statistics.counts.size(1));
  const int64_t width = level.tokens.size(2);
  statistics.counts.view(-1).index_add_(0, index, at::ones({index.numel()}, statistics.counts.options()));
  statistics.sums.view({-1, width}).index_add_(0, index, level.tokens.detach().reshape({-1, width}));
}

void ema_update(Codebook& codebook, const CodebookStatistics& statistics, const at::Tensor& rows, double decay) {
  const at::NoGradGuard no_grad;
  const bool all = rows.numel() == codebook.codebooks();
  at::Tensor n = all ? codebook.cluster_size : codebook.cluster_size.index_select(0, rows);
  at::Tensor m = all ? codebook.embed_avg : codebook.embed_avg.index_select(0, rows);
  n.mul_(decay).add_(statistics.counts, 1 - decay);
  m.mul_(decay).add_(statistics.sums, 1 - decay);
  const at::Tensor total = n.sum(1, /*keepdim=*/true);
  const double smoothing = static_cast<double>(codebook.prototypes()) * kEpsilon;
  const at::Tensor size = (n + kEpsilon) / (total + smoothing) * total;
  const at::Tensor e = m / size.unsqueeze(2);
  if (all) {
    codebook.embed.copy_(e);
    codebook.squared_norm = e.square().sum(2);
  } else {
    codebook.cluster_size.index_copy_(0, rows, n);
    codebook.embed_avg.index_copy_(0, rows, m);
    codebook.embed.index_copy_(0, rows, e);
    codebook.squared_norm.index_copy_(0, rows, e.square().sum(2));
  }
}

CodebookHealth codebook_health(const at::Tensor& use) {
  const at::Tensor used = use.to(at::kDouble);
  const at::Tensor total = used.sum(1, true);
  const at::Tensor seen = total.squeeze(1).gt(0);
  if (!seen.any().item<bool>()) return {};
  const at::Tensor share = used / total.clamp_min(1);
  const at::Tensor entropy = -at::special_xlogy(share, share).sum(1);
  const at::Tensor live = used.gt(0).to(at::kDouble).mean(1);
  return {entropy.exp().masked_select(seen).mean().item<double>(), live.masked_select(seen).mean().item<double>()};
}

}  // namespace hivq
