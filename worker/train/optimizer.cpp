#include "worker/train/optimizer.h"

#include <torch/torch.h>

#include <algorithm>

#include "worker/gpu/kernels.h"

namespace hivq {

AdamW make_adamw(const at::Tensor& values) { return {at::zeros_like(values), at::zeros_like(values)}; }

Clip clip_of(const at::Tensor& gradients, const at::Tensor& max_norm) {
  const at::Tensor norms = at::linalg_vector_norm(gradients, 2, {1}), most = max_norm.to(gradients.scalar_type());
  const at::Tensor shorter = (most / (norms + 1e-6)).clamp_max(1);  // 1e-6 as PyTorch has it
  return {norms, at::where(most.gt(0), shorter, 1).to(gradients.scalar_type())};
}

namespace {

void adamw_on_gpu(at::Tensor& values, const at::Tensor& gradients, AdamW& state, const at::Tensor& step,
                  const at::Tensor& lr, const at::Tensor& applied, const at::Tensor& weight_decay,
                  const at::Tensor& factors) {
  const at::Tensor steps = step.to(at::kDouble), rates = lr.contiguous(), decays = weight_decay.contiguous();
  const int64_t size = values.size(1);
  const GpuExtent grid{std::min(gpu_threads(size).x, 2048u), static_cast<unsigned>(values.size(0))};
  start_gpu_kernel("adamw", {values.scalar_type(), values.scalar_type()}, values.device(), grid, {256},
                   values.mutable_data_ptr(), gradients.const_data_ptr(), state.exp_avg.mutable_data_ptr(),
                   state.exp_avg_sq.mutable_data_ptr(), steps.const_data_ptr(), factors.const_data_ptr(),
                   rates.const_data_ptr(), decays.const_data_ptr(), applied.const_data_ptr(), size);
}

}  // namespace

void adamw_step(at::Tensor& values, at::Tensor& gradients, AdamW& state, const at::Tensor& step, const at::Tensor& lr,
                const at::Tensor& applied, const at::Tensor& weight_decay, const at::Tensor& factors) {
  const at::NoGradGuard no_grad;
  if (gpu_kernels_take(values)) return adamw_on_gpu(values, gradients, state, step, lr, applied, weight_decay, factors);
  gradients.mul_(factors.unsqueeze(1));
  const at::Tensor steps = step.to(at::kFloat);
  const at::Tensor decays = weight_decay.contiguous();
  const at::Tensor stays = applied.logical_not().to(at::kFloat);  // what the operation calls infinities
  for (int64_t trial = 0; trial < values.size(0); ++trial) {
    at::_fused_adamw_({values[trial]}, {gradients[trial]}, {state.exp_avg[trial]}, {state.exp_avg_sq[trial]},
                      /*max_exp_avg_sqs=*/{}, {steps}, lr[trial], /*beta1=*/0.9, /*beta2=*/0.999,
                      decays.const_data_ptr<double>()[trial], /*eps=*/1e-8, /*amsgrad=*/false, /*maximize=*/false,
                      /*grad_scale=*/{}, /*found_inf=*/stays[trial]);
  }
}

}  // namespace hivq
