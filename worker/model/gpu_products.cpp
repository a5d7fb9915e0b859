#include "worker/model/gpu_products.h"

#include <torch/torch.h>

namespace hivq {

void multiply_into(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  at::Tensor to = out;
  const bool wider = out.scalar_type() != a.scalar_type();
  if (wider && !out.is_cuda()) {  // in a test without a GPU
    to.copy_(at::bmm(a.to(out.scalar_type()), b.to(out.scalar_type())));
  } else if (a.size(0) == 1) {
    at::Tensor one = to[0];
    wider ? at::mm_out(one, a[0], b[0], out.scalar_type()) : at::mm_out(one, a[0], b[0]);
  } else {
    wider ? at::bmm_out(to, a, b, out.scalar_type()) : at::bmm_out(to, a, b);
  }
}

}  // namespace hivq
