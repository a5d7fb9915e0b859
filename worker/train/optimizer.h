#pragma once

// AdamW and the clip of the gradient, each one pass over flat tensors [T, P]: of T trials side by side, each by itself.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace hivq {

/// Moments of AdamW, [T, P] each.
struct AdamW {
  at::Tensor exp_avg, exp_avg_sq;
};

AdamW make_adamw(const at::Tensor& values);

/// Scales each trial's gradient to an L2 norm of at most `max_norm` [T] (0: any), as torch.nn.utils.clip_grad_norm_
/// does. Returns the norms before, [T].
at::Tensor clip_gradients(at::Tensor& gradients, const at::Tensor& max_norm);

/// One step of torch.optim.AdamW with betas .9 and .999 and ε 1e-8. `step` [] counts from 1; `lr` [T]; only the trials
/// with true in `applied` [T] move.
void adamw_step(at::Tensor& values, const at::Tensor& gradients, AdamW& state, const at::Tensor& step,
                const at::Tensor& lr, const at::Tensor& applied, const std::vector<double>& weight_decay);

}  // namespace hivq
