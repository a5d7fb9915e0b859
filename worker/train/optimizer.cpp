#include "worker/train/optimizer.h"

#include <torch/torch.h>

namespace hivq {

AdamW make_adamw(const at::Tensor& values) { return {at::zeros_like(values), at::zeros_like(values)}; }

at::Tensor clip_gradients(at::Tensor& gradients, const at::Tensor& max_norm) {
  const at::Tensor norms = at::linalg_vector_norm(gradients, 2, {1}), most = max_norm.to(gradients.scalar_type());
  const at::Tensor shorter = (most / (norms + 1e-6)).clamp_max(1);  // 1e-6 as PyTorch has it
  gradients.mul_(at::where(most.gt(0), shorter, 1).unsqueeze(1));
  return norms;
}

void adamw_step(at::Tensor& values, const at::Tensor& gradients, AdamW& state, const at::Tensor& step,
                const at::Tensor& lr, const at::Tensor& applied, const std::vector<double>& weight_decay) {
  const at::NoGradGuard no_grad;
  const at::Tensor steps = step.to(at::kFloat), rates = values.is_cpu() ? lr : lr.to(at::kFloat);
  const at::Tensor stays = applied.logical_not().to(at::kFloat);  // what the operation calls infinities
  for (int64_t trial = 0; trial < values.size(0); ++trial) {
    at::_fused_adamw_({values[trial]}, {gradients[trial]}, {state.exp_avg[trial]}, {state.exp_avg_sq[trial]},
                      /*max_exp_avg_sqs=*/{}, {steps}, rates[trial], /*beta1=*/0.9, /*beta2=*/0.999,
                      weight_decay[static_cast<size_t>(trial)], /*eps=*/1e-8, /*amsgrad=*/false, /*maximize=*/false,
                      /*grad_scale=*/{}, /*found_inf=*/stays[trial]);
  }
}

}  // namespace hivq
