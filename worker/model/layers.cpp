#include "worker/model/layers.h"

#include <torch/torch.h>

#include <cmath>
#include <limits>

#include "worker/model/cpu_kernels.h"
#include "worker/model/fused_attention.h"
#include "worker/model/fused_layers.h"
#include "worker/model/precision.h"

namespace hivq {
namespace {

at::Tensor feed_forward(const Linear& linear1, const Linear& linear2, const at::Tensor& x, LayerSetting& how) {
  if (!cpu_kernels_take(x))
    return linear(linear2, how.dropout(at::relu(linear(linear1, x, how.bfloat16))), how.bfloat16);
  const at::Tensor hidden = fused_relu_dropout(linear(linear1, x.flatten(0, 1), how.bfloat16), x.size(0), how.dropout);
  return linear(linear2, hidden, how.bfloat16).view_as(x);
}

at::Tensor residual_norm(const LayerNorm& norm, const at::Tensor& x, const at::Tensor& y, Dropout& dropout) {
  return cpu_kernels_take(x) ? fused_residual_norm(x, y, dropout, norm) : layer_norm(norm, x + dropout(y));
}

}  // namespace

/// [b, N, D] → [b, heads, N, D/heads]
static at::Tensor split_heads(const at::Tensor& x, int64_t heads) {
  return x.view({-1, x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}

at::Tensor attend(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, LayerSetting& how) {
  const at::Tensor q = split_heads(queries, how.heads), k = split_heads(keys, how.heads),
                   v = split_heads(values, how.heads);
  const bool bf = how.bfloat16;
  at::Tensor out;
  if (!how.dropout.active()) {
    const auto mask = how.mask.defined() ? std::optional<at::Tensor>(factor(how.mask, bf)) : std::nullopt;
    out = at::scaled_dot_product_attention(factor(q, bf), factor(k, bf), factor(v, bf), mask);
  } else {
    const double scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
    at::Tensor logits = at::matmul(factor(q * scale, bf), factor(k, bf).transpose(2, 3)).to(q.scalar_type());
    if (how.mask.defined()) logits = logits + how.mask;
    out = at::matmul(factor(how.dropout(at::softmax(logits, -1)), bf), factor(v, bf));
  }
  return out.to(q.scalar_type()).transpose(1, 2).flatten(2);
}

at::Tensor linear(const Linear& layer, const at::Tensor& x, bool bfloat16) {
  if (bfloat16) {
    const Linear rounded{factor(layer.weight, true), factor(layer.bias, true)};
    return linear(rounded, factor(x, true)).to(x.scalar_type());
  }
  if (layer.weight.dim() == 2) return at::linear(x, layer.weight, layer.bias);
  const at::Tensor rows = x.reshape({layer.weight.size(0), -1, x.size(-1)});
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = layer.weight.size(1);
  return at::baddbmm(layer.bias.unsqueeze(1), rows, layer.weight.transpose(1, 2)).view(shape);
}

at::Tensor layer_norm(const LayerNorm& layer, const at::Tensor& x) {
  if (layer.weight.dim() == 1) return at::layer_norm(x, {x.size(-1)}, layer.weight, layer.bias);
  const at::Tensor rows = at::layer_norm(x, {x.size(-1)}).view({layer.weight.size(0), -1, x.size(-1)});
  return at::addcmul(layer.bias.unsqueeze(1), rows, layer.weight.unsqueeze(1)).view(x.sizes());
}

at::Tensor neighbour_mask(int64_t grid, int64_t size, const at::TensorOptions& options) {
  const at::Tensor place = at::arange(grid, at::kLong);
  const at::Tensor near = (place.unsqueeze(0) - place.unsqueeze(1)).abs().le(size / 2);  // [G, G] along one axis
  const at::Tensor both = near.view({grid, 1, grid, 1}).logical_and(near.view({1, grid, 1, grid}));
  at::Tensor mask = at::zeros({grid * grid, grid * grid});
  mask.masked_fill_(both.reshape(mask.sizes()), -std::numeric_limits<double>::infinity());
  return mask.to(options);
}

at::Tensor attention(const Attention& layer, LayerSetting& how, const at::Tensor& queries, const at::Tensor& keys,
                     const at::Tensor& values) {
  const int64_t width = queries.size(2);
  const auto project = [&](const at::Tensor& x, int64_t first, int64_t count) {
    return linear({layer.in_proj_weight.narrow(-2, first * width, count * width),
                   layer.in_proj_bias.narrow(-1, first * width, count * width)},
                  x, how.bfloat16);
  };
  at::Tensor q, k;
  if (queries.is_same(keys)) {
    const at::Tensor both = project(queries, 0, 2);
    q = both.narrow(2, 0, width), k = both.narrow(2, width, width);
  } else {
    q = project(queries, 0, 1), k = project(keys, 1, 1);
  }
  const at::Tensor v = project(values, 2, 1);
  return linear(layer.out_proj, cpu_kernels_take(q) ? fused_attention(q, k, v, how) : attend(q, k, v, how),
                how.bfloat16);
}

at::Tensor encoder_layer(const EncoderLayer& layer, LayerSetting& how, at::Tensor x, const at::Tensor& position) {
  Dropout& dropout = how.dropout;
  const at::Tensor placed = x + position;
  x = residual_norm(layer.norm1, x, attention(layer.self_attn, how, placed, placed, x), dropout);
  return residual_norm(layer.norm2, x, feed_forward(layer.linear1, layer.linear2, x, how), dropout);
}

at::Tensor decoder_layer(const DecoderLayer& layer, LayerSetting& how, at::Tensor x, const at::Tensor& memory,
                         const at::Tensor& position) {
  Dropout& dropout = how.dropout;
  const at::Tensor placed = x + position;
  x = residual_norm(layer.norm1, x, attention(layer.self_attn, how, placed, placed, x), dropout);
  x = residual_norm(layer.norm2, x, attention(layer.multihead_attn, how, x + position, memory + position, memory),
                    dropout);
  return residual_norm(layer.norm3, x, feed_forward(layer.linear1, layer.linear2, x, how), dropout);
}

}  // namespace hivq
