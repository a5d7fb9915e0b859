#pragma once

// What lies between an attention's projections, on GPUs: softmax(q kᵀ / √d + mask) v of each head, with dropout on the
// softmax. In bfloat16, where the GPU multiplies it (compute capability 8.0) and heads are 16, 32 or 64 wide, in tiles,
// so that no weight is ever in memory; otherwise by cuBLAS' products around kernels of our own.

#include <vector>

#include "worker/gpu/kernels.h"
#include "worker/model/dropout.h"

namespace hivq {

struct GpuAttention {
  int64_t heads = 1;
  at::Tensor mask;  // [N, N] or undefined
  GpuTypes types;
};

/// q, k, v [b, N, D], whose rows may lie apart → [b, N, D]. `saved`: what backward needs.
at::Tensor gpu_attend(const GpuAttention& how, const Dropout& dropout, const at::Tensor& q, const at::Tensor& k,
                      const at::Tensor& v, std::vector<at::Tensor>& saved);

/// From the gradient g of the result those of q, k and v, into tensors [b, N, D] whose rows may lie apart.
void gpu_attend_backward(const GpuAttention& how, const Dropout& dropout, const std::vector<at::Tensor>& saved,
                         const at::Tensor& g, const std::vector<at::Tensor>& to);

/// For tests: from now on by products only.
void without_attention_tiles(bool without);

}  // namespace hivq
