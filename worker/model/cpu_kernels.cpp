#include "worker/model/cpu_kernels.h"

#include <torch/csrc/jit/frontend/tracer.h>

#include <utility>

namespace hivq {

static thread_local bool without = false;

bool cpu_kernels_take(const at::Tensor& x) {
  const bool type = x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble;
  return x.is_cpu() && type && !without && !torch::jit::tracer::isTracing();
}

WithoutCpuKernels::WithoutCpuKernels() : before_(std::exchange(without, true)) {}
WithoutCpuKernels::~WithoutCpuKernels() { without = before_; }

}  // namespace hivq
