#pragma once

// The layers of the transformer: post-norm, DETR style (MODEL.md, "Encoder and decoder"). Tokens are [b, N, D].
// Parameters of T trials side by side (model.h) have a first dimension T; tokens then are [T·b, N, D].

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "worker/model/dropout.h"

namespace hivq {

struct Linear {
  at::Tensor weight, bias;  // [out, in], [out]
};

struct LayerNorm {
  at::Tensor weight, bias;  // [D], [D]
};

/// Multi-head attention, parameters as torch.nn.MultiheadAttention's.
struct Attention {
  at::Tensor in_proj_weight, in_proj_bias;  // [3D, D], [3D]: of queries, keys and values
  Linear out_proj;                          // [D, D]
};

struct EncoderLayer {
  Attention self_attn;
  Linear linear1, linear2;  // [F, D], [D, F]
  LayerNorm norm1, norm2;
};

struct DecoderLayer {
  Attention self_attn, multihead_attn;
  Linear linear1, linear2;
  LayerNorm norm1, norm2, norm3;
};

/// x Wᵀ + b. `bfloat16`: of the factors and the bias rounded to bfloat16, rounded to it; the result has x's type.
at::Tensor linear(const Linear& layer, const at::Tensor& x, bool bfloat16 = false);
at::Tensor layer_norm(const LayerNorm& layer, const at::Tensor& x);

/// How every layer computes.
struct LayerSetting {
  int64_t heads = 1;
  at::Tensor mask;  // [N, N] added to the logits, −∞ where a token must not attend; undefined: to all
  Dropout& dropout;
  bool bfloat16 = false;  // what is multiplied is rounded to it; the rest stays as it is
};

/// UniAD's neighbour mask [G·G, G·G] for LayerSetting: no token attends to the square of `size` (odd) tokens around it,
/// itself among them, so that it cannot copy its own features to the output.
at::Tensor neighbour_mask(int64_t grid, int64_t size, const at::TensorOptions& options);

/// softmax(q kᵀ / √d + mask) v per head, d = D / heads, with dropout on the softmax: [b, N, D] each, heads side by
/// side. In tensor operations, for any device; on CPUs the layers take fused_attention.h.
at::Tensor attend(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, LayerSetting& how);

/// Each query [b, N, D] gathers from the values [b, M, D] by its likeness to the keys [b, M, D]; dropout falls on the
/// attention weights. Queries and keys that are one tensor are projected together.
at::Tensor attention(const Attention& layer, LayerSetting& how, const at::Tensor& queries, const at::Tensor& keys,
                     const at::Tensor& values);

/// x [b, N, D]; position [N, D] or [T·b, N, D], added to queries and keys.
at::Tensor encoder_layer(const EncoderLayer& layer, LayerSetting& how, at::Tensor x, const at::Tensor& position);

/// Self-attention over x [b, N, D], then attention to the memory [b, N, D].
at::Tensor decoder_layer(const DecoderLayer& layer, LayerSetting& how, at::Tensor x, const at::Tensor& memory,
                         const at::Tensor& position);

}  // namespace hivq
