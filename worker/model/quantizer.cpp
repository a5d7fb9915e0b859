#include "worker/model/quantizer.h"

#include <torch/torch.h>

#include "worker/gpu/kernels.h"
#include "worker/model/cpu_kernels.h"
#include "worker/model/gpu_codebooks.h"
#include "worker/model/grouped.h"
#include "worker/model/vector_clones.h"
#include "worker/model/vector_math.h"

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

Codebook make_codebook(at::Tensor embed, double size) {
  const at::NoGradGuard no_grad;
  Codebook codebook;
  codebook.embed = embed.contiguous();
  codebook.cluster_size = at::full({embed.size(0), embed.size(1)}, size, embed.options());
  codebook.embed_avg = size == 0 ? codebook.embed.clone() : codebook.embed * size;
  codebook.squared_norm = at::empty_like(codebook.cluster_size);
  refresh(codebook);
  return codebook;
}

Quantized quantize(const Codebook& codebook, const at::Tensor& tokens, const at::Tensor& group) {
  Quantized level;
  level.tokens = tokens;
  level.product = grouped_matmul(tokens, codebook.embed.detach(), group);
  if (gpu_kernels_take(tokens)) {
    gpu_nearest(codebook, group, level);
  } else {
    const at::NoGradGuard no_grad;
    // ‖h − e‖² without ‖h‖², which is the same for every prototype.
    const at::Tensor norm =
        codebook.codebooks() == 1 ? codebook.squared_norm : codebook.squared_norm.index_select(0, group);
    level.code = at::sub(norm.unsqueeze(1), level.product, 2).argmin(2);
    const at::Tensor shared = at::zeros_like(group);
    const at::Tensor index = flat_index(level.code, codebook.codebooks() == 1 ? shared : group, codebook.prototypes());
    level.nearest = codebook.embed.view({-1, codebook.width()}).index_select(0, index).view_as(tokens);
  }
  level.output = tokens.requires_grad() ? StraightThrough::apply(tokens, level.nearest) : level.nearest;
  return level;
}

void add_statistics(const CodebookStatistics& statistics, const Quantized& level, const at::Tensor& row) {
  const at::NoGradGuard no_grad;
  if (gpu_kernels_take(level.tokens)) return gpu_statistics(statistics, level, row);
  const at::Tensor index = flat_index(level.code, row, statistics.counts.size(1));
  const int64_t width = level.tokens.size(2);
  statistics.counts.view(-1).index_add_(0, index, at::ones({index.numel()}, statistics.counts.options()));
  statistics.sums.view({-1, width}).index_add_(0, index, level.tokens.detach().reshape({-1, width}));
}

namespace {

/// m ← γ m + (1 − γ) s, e = m / size of one prototype.
template <typename T>
[[gnu::always_inline]] inline void move_prototype(T* m, const T* s, T* e, T decay, T inverse_size, int64_t width) {
  for (int64_t j = 0; j < width; ++j) {
    m[j] = decay * m[j] + (1 - decay) * s[j];
    e[j] = m[j] * inverse_size;
  }
}

// target_clones does not take templates.
#define HIVQ_PROTOTYPE(T)                                                                            \
  HIVQ_VECTOR_CLONES void move_one(T* m, const T* s, T* e, T decay, T inverse_size, int64_t width) { \
    move_prototype(m, s, e, decay, inverse_size, width);                                             \
  }                                                                                                  \
  HIVQ_VECTOR_CLONES T norm_of_one(const T* e, int64_t width) {                                      \
    return lane_sum<T>(width, [&](int64_t j) { return e[j] * e[j]; });                               \
  }
HIVQ_PROTOTYPE(float)
HIVQ_PROTOTYPE(double)
#undef HIVQ_PROTOTYPE

/// ‖e‖² of every prototype [S, K], as the moving average gives it.
template <typename T>
void norm_all(const Codebook& codebook) {
  const at::Tensor embed = codebook.embed.contiguous();
  const T* e = embed.const_data_ptr<T>();
  T* norm = codebook.squared_norm.mutable_data_ptr<T>();
  const int64_t width = codebook.width();
  at::parallel_for(0, codebook.codebooks() * codebook.prototypes(), 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) norm[i] = norm_of_one(e + i * width, width);
  });
}

/// The codebooks' m, e and ‖e‖² in place, in one pass over them.
template <typename T>
void move_prototypes(Codebook& codebook, const CodebookStatistics& statistics, const at::Tensor& rows,
                     const at::Tensor& size, const at::Tensor& decay, const at::Tensor& moves) {
  const int64_t prototypes = codebook.prototypes(), width = codebook.width();
  T *m = codebook.embed_avg.mutable_data_ptr<T>(), *e = codebook.embed.mutable_data_ptr<T>();
  T* norm = codebook.squared_norm.mutable_data_ptr<T>();
  const T *sums = statistics.sums.const_data_ptr<T>(), *sizes = size.const_data_ptr<T>(),
          *gamma = decay.const_data_ptr<T>();
  const int64_t* codebooks = rows.const_data_ptr<int64_t>();
  const bool* moved = moves.const_data_ptr<bool>();
  at::parallel_for(0, rows.numel() * prototypes, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / prototypes, at = codebooks[row] * prototypes + i % prototypes;
      if (!moved[row]) continue;
      move_one(m + at * width, sums + i * width, e + at * width, gamma[row], 1 / sizes[i], width);
      norm[at] = norm_of_one(e + at * width, width);
    }
  });
}

}  // namespace

void refresh(Codebook& codebook) {
  if (gpu_kernels_take(codebook.embed)) {
    gpu_squared_norms(codebook);
  } else if (!cpu_kernels_take(codebook.embed)) {
    codebook.squared_norm.copy_(codebook.embed.square().sum(2));
  } else {
    codebook.embed.scalar_type() == at::kFloat ? norm_all<float>(codebook) : norm_all<double>(codebook);
  }
}

void ema_update(Codebook& codebook, const CodebookStatistics& statistics, const at::Tensor& rows,
                const at::Tensor& decay, const at::Tensor& moves) {
  const at::NoGradGuard no_grad;
  if (gpu_kernels_take(codebook.embed) && rows.numel() == codebook.codebooks())
    return gpu_ema_update(codebook, statistics, decay, moves);
  const at::Tensor gamma = decay.to(codebook.embed.scalar_type()).unsqueeze(1), moved = moves.unsqueeze(1);  // [R, 1]
  const at::Tensor before = codebook.cluster_size.index_select(0, rows);
  const at::Tensor n = at::where(moved, before * gamma + statistics.counts * (1 - gamma), before);
  const at::Tensor total = n.sum(1, /*keepdim=*/true);
  const double smoothing = static_cast<double>(codebook.prototypes()) * kEpsilon;
  const at::Tensor size = (n + kEpsilon) / (total + smoothing) * total;
  codebook.cluster_size.index_copy_(0, rows, n);
  if (cpu_kernels_take(codebook.embed)) {
    codebook.embed.scalar_type() == at::kFloat
        ? move_prototypes<float>(codebook, statistics, rows, size, gamma, moves)
        : move_prototypes<double>(codebook, statistics, rows, size, gamma, moves);
    return;
  }
  const at::Tensor wide = gamma.unsqueeze(2), both = moved.unsqueeze(2);
  const at::Tensor m = codebook.embed_avg.index_select(0, rows), e = codebook.embed.index_select(0, rows);
  const at::Tensor next = m * wide + statistics.sums * (1 - wide), moved_to = next / size.unsqueeze(2);
  codebook.embed_avg.index_copy_(0, rows, at::where(both, next, m));
  codebook.embed.index_copy_(0, rows, at::where(both, moved_to, e));
  codebook.squared_norm.index_copy_(
      0, rows, at::where(moved, moved_to.square().sum(2), codebook.squared_norm.index_select(0, rows)));
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
