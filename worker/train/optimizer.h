#pragma once

// AdamW and the clip of the gradient, each one pass over flat tensors [T, P]: of T trials side by side, each by itself.

#include <ATen/core/Tensor.h>

namespace hivq {

/// Moments of AdamW, [T, P] each.
struct AdamW {
  at::Tensor exp_avg, exp_avg_sq;
};

AdamW make_adamw(const at::Tensor& values);

/// How torch.nn.utils.clip_grad_norm_ would scale each trial's gradient to an L2 norm of at most `max_norm` [T] (0:
/// any).
struct Clip {
  at::Tensor norms;    // [T] before
  at::Tensor factors;  // [T]
};
Clip clip_of(const at::Tensor& gradients, const at::Tensor& max_norm);

/// One step of torch.optim.AdamW with betas .9 and .999 and ε 1e-8, with the gradients times `factors` [T]. `step` []
/// counts from 1; `lr` and `weight_decay` [T] float64; only the trials with true in `applied` [T] move. On GPUs one
/// kernel of our own, which leaves the gradients as they are; on CPUs they are multiplied in place.
void adamw_step(at::Tensor& values, at::Tensor& gradients, AdamW& state, const at::Tensor& step, const at::Tensor& lr,
                const at::Tensor& applied, const at::Tensor& weight_decay, const at::Tensor& factors);

}  // namespace hivq
