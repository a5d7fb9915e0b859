#include "worker/train/optimizer.h"

#include <torch/torch.h>

namespace hivq {

AdamW make_adamw(const at::Tensor& values) { return {at::zeros_like(values), at::zeros_like(values)}; }

double clip_gradient(at::Tensor& gradient, double max_norm) {
  const double norm = at::linalg_vector_norm(gradient).item<double>();
  const double factor = max_norm / (norm + 1e-6);  // 1e-6 as PyTorch has it
  if (max_norm > 0 && factor < 1) gradient.mul_(factor);
  return norm;
}

void adamw_step(at::Tensor& values, const at::Tensor& gradient, AdamW& state, int64_t step, double lr,
                double weight_decay) {
  const at::NoGradGuard no_grad;
  const at::Tensor steps = at::full({}, static_cast<double>(step), values.options().dtype(at::kFloat));
  at::_fused_adamw_({values}, {gradient}, {state.exp_avg}, {state.exp_avg_sq}, /*max_exp_avg_sqs=*/{}, {steps}, lr,
                    /*beta1=*/0.9, /*beta2=*/0.999, weight_decay, /*eps=*/1e-8, /*amsgrad=*/false, /*maximize=*/false);
}

}  // namespace hivq
