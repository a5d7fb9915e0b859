#pragma once

// The transformer's layers on GPUs, by our kernels (gpu/kernels/) and cuBLAS; layers.h has what they compute. In
// bfloat16 what is multiplied is kept in it from one kernel to the next, sums are float32. Backward leaves a
// parameter's gradient in its .grad, over what was there, if it is a leaf that has one: so each parameter may be used
// once in a pass.

#include "worker/model/layers.h"

namespace hivq {

/// Tokens [b, N, D] as the next layers take them.
struct GpuTokens {
  at::Tensor x;       // float32 or float64
  at::Tensor low;     // the same, in the type that is multiplied; x itself where that is x's
  at::Tensor placed;  // with the position, in that type
};

/// How every layer computes.
struct GpuSetting {
  int64_t heads = 1;
  at::Tensor mask;      // as LayerSetting's
  at::Tensor position;  // [N, D] or [T, N, D]
  Dropout& dropout;
  // The parameters rounded to bfloat16 [T, P], and what they are rounded from; undefined: they multiply as they are.
  at::Tensor rounded, values;

  at::ScalarType low() const { return rounded.defined() ? at::kBFloat16 : values.scalar_type(); }
};

/// x [b, N, D] in every form.
GpuTokens gpu_tokens(const GpuSetting& how, const at::Tensor& x);

/// x Wᵀ + b, in the type that is multiplied. x of either type.
at::Tensor gpu_linear(const GpuSetting& how, const Linear& layer, const at::Tensor& x);

GpuTokens gpu_encoder_layer(const EncoderLayer& layer, GpuSetting& how, const GpuTokens& x);
GpuTokens gpu_decoder_layer(const DecoderLayer& layer, GpuSetting& how, const GpuTokens& x, const GpuTokens& memory);

/// Each image's x [b, N, D] through the head [S, C, D] of its `place` [b]: [b, N, C] in the heads' type.
at::Tensor gpu_heads(const GpuSetting& how, const Linear& heads, const at::Tensor& x, const at::Tensor& place);

}  // namespace hivq
