#include "worker/train/optimizer.h"

#include <torch/torch.h>

namespace hivq {

AdamW make_adamw(const at::Tensor& values) { return {at::zeros_like(values), at::zeros_like(values)}; }

at::Tensor clip_gradients(at::Tensor& gradients, const std::vector<double>& max_norm) {
  const at::Tensor norms = at::linalg_vector_norm(gradients, 2, {1}).to(at::kCPU, at::kDouble);
  for (int64_t trial = 0; trial < gradients.size(0); ++trial) {
    const double most = max_norm[static_cast<size_t>(trial)];
    const double factor = most / (norms[trial].item<double>() + 1e-6);  // 1e-6 as PyTorch has it
    if (most > 0 && factor < 1) gradients[trial].mul_(factor);
  }
  return norms;
}

void adamw_step(at::Tensor& values, const at::Tensor& gradients, AdamW& state, int64_t trial, int64_t step, double lr,
                double weight_decay) {
  const at::NoGradGuard no_grad;
  const at::Tensor steps = at::full({}, static_cast<double>(step), values.options().dtype(at::kFloat));
  at::_fused_adamw_({values[trial]}, {gradients[trial]}, {state.exp_avg[trial]}, {state.exp_avg_sq[trial]},
                    /*max_exp_avg_sqs=*/{}, {steps}, lr, /*beta1=*/0.9, /*beta2=*/0.999, weight_decay, /*eps=*/1e-8,
                    /*amsgrad=*/false, /*maximize=*/false);
}

}  // namespace hivq
