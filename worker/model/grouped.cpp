#include "worker/model/grouped.h"

#include <torch/torch.h>

namespace hivq {

at::Tensor grouped_matmul(const at::Tensor& x, const at::Tensor& matrices, const at::Tensor& group,
                          const at::Tensor& bias) {
  if (matrices.size(0) == 1) {
    const at::Tensor rows = x.reshape({-1, x.size(2)}), shared = matrices[0].t();
    const at::Tensor out = bias.defined() ? at::addmm(bias[0], rows, shared) : at::mm(rows, shared);
    return out.view({-1, x.size(1), matrices.size(1)});
  }
  const at::Tensor own = matrices.index_select(0, group).transpose(1, 2);
  return bias.defined() ? at::baddbmm(bias.index_select(0, group).unsqueeze(1), x, own) : at::bmm(x, own);
}

}  // namespace hivq
