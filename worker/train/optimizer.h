#pragma once

// AdamW and the clip of the gradient, each one pass over flat tensors.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace hivq {

/// Moments of AdamW, [P] each.
struct AdamW {
  at::Tensor exp_avg, exp_avg_sq;
};

AdamW make_adamw(const at::Tensor& values);

/// Scales the gradient to an L2 norm of at most `max_norm` (0: any), as torch.nn.utils.clip_grad_norm_ does. Returns
/// the norm before.
double clip_gradient(at::Tensor& gradient, double max_norm);

/// One step of torch.optim.AdamW with betas .9 and .999 and ε 1e-8. `step` counts from 1.
void adamw_step(at::Tensor& values, const at::Tensor& gradient, AdamW& state, int64_t step, double lr,
                double weight_decay);

}  // namespace hivq
