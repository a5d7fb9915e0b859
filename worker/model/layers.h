#pragma once

// The layers of the transformer: post-norm, DETR style (MODEL.md, "Encoder and decoder"). Tokens are [b, N, D].

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

at::Tensor linear(const Linear& layer, const at::Tensor& x);
at::Tensor layer_norm(const LayerNorm& layer, const at::Tensor& x);

/// Each query [b, N, D] gathers from the values [b, M, D] by its likeness to the keys [b, M, D]; dropout falls on the
/// attention weights. Queries and keys that are one tensor are projected together.
at::Tensor attention(const Attention& layer, int64_t heads, const at::Tensor& queries, const at::Tensor& keys,
                     const at::Tensor& values, Dropout& dropout);

/// x [b, N, D]; position [N, D], added to queries and keys.
at::Tensor encoder_layer(const EncoderLayer& layer, int64_t heads, at::Tensor x, const at::Tensor& position,
                         Dropout& dropout);

/// Self-attention over x [b, N, D], then attention to the memory [b, N, D].
at::Tensor decoder_layer(const DecoderLayer& layer, int64_t heads, at::Tensor x, const at::Tensor& memory,
                         const at::Tensor& position, Dropout& dropout);

}  // namespace hivq
