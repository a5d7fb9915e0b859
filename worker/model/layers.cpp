#include "worker/model/layers.h"

#include <torch/torch.h>

#include <cmath>
#include <limits>

namespace hivq {
namespace {

/// [b, N, D] → [b, heads, N, D/heads]
at::Tensor split_heads(const at::Tensor& x, int64_t heads) {
  return x.view({-1, x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}

/// softmax(q kᵀ / √d + mask) v with dropout on the weights; q, k, v [b, heads, N, d].
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, Attending& how) {
  if (how.dropout.rate == 0) {
    return at::scaled_dot_product_attention(q, k, v,
                                            how.mask.defined() ? std::optional<at::Tensor>(how.mask) : std::nullopt);
  }
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
  at::Tensor logits = at::matmul(q * scale, k.transpose(2, 3));
  if (how.mask.defined()) logits = logits + how.mask;
  return at::matmul(how.dropout(at::softmax(logits, -1)), v);
}

at::Tensor feed_forward(const Linear& linear1, const Linear& linear2, const at::Tensor& x, Dropout& dropout) {
  return linear(linear2, dropout(at::relu(linear(linear1, x))));
}

}  // namespace

at::Tensor linear(const Linear& layer, const at::Tensor& x) { return at::linear(x, layer.weight, layer.bias); }

at::Tensor layer_norm(const LayerNorm& layer, const at::Tensor& x) {
  return at::layer_norm(x, {x.size(-1)}, layer.weight, layer.bias);
}

at::Tensor neighbour_mask(int64_t grid, int64_t size, const at::TensorOptions& options) {
  const at::Tensor place = at::arange(grid, at::kLong);
  const at::Tensor near = (place.unsqueeze(0) - place.unsqueeze(1)).abs().le(size / 2);  // [G, G] along one axis
  const at::Tensor both = near.view({grid, 1, grid, 1}).logical_and(near.view({1, grid, 1, grid}));
  at::Tensor mask = at::zeros({grid * grid, grid * grid});
  mask.masked_fill_(both.reshape(mask.sizes()), -std::numeric_limits<double>::infinity());
  return mask.to(options);
}

at::Tensor attention(const Attention& layer, Attending& how, const at::Tensor& queries, const at::Tensor& keys,
                     const at::Tensor& values) {
  const int64_t width = queries.size(2);
  const auto project = [&](const at::Tensor& x, int64_t first, int64_t count) {
    return at::linear(x, layer.in_proj_weight.narrow(0, first * width, count * width),
                      layer.in_proj_bias.narrow(0, first * width, count * width));
  };
  at::Tensor q, k;
  if (queries.is_same(keys)) {
    const at::Tensor both = project(queries, 0, 2);
    q = both.narrow(2, 0, width), k = both.narrow(2, width, width);
  } else {
    q = project(queries, 0, 1), k = project(keys, 1, 1);
  }
  const at::Tensor v = project(values, 2, 1);
  const at::Tensor out = attend(split_heads(q, how.heads), split_heads(k, how.heads), split_heads(v, how.heads), how);
  return linear(layer.out_proj, out.transpose(1, 2).flatten(2));
}

at::Tensor encoder_layer(const EncoderLayer& layer, Attending& how, at::Tensor x, const at::Tensor& position) {
  Dropout& dropout = how.dropout;
  const at::Tensor placed = x + position;
  x = layer_norm(layer.norm1, x + dropout(attention(layer.self_attn, how, placed, placed, x)));
  return layer_norm(layer.norm2, x + dropout(feed_forward(layer.linear1, layer.linear2, x, dropout)));
}

at::Tensor decoder_layer(const DecoderLayer& layer, Attending& how, at::Tensor x, const at::Tensor& memory,
                         const at::Tensor& position) {
  Dropout& dropout = how.dropout;
  const at::Tensor placed = x + position;
  x = layer_norm(layer.norm1, x + dropout(attention(layer.self_attn, how, placed, placed, x)));
  x = layer_norm(layer.norm2,
                 x + dropout(attention(layer.multihead_attn, how, x + position, memory + position, memory)));
  return layer_norm(layer.norm3, x + dropout(feed_forward(layer.linear1, layer.linear2, x, dropout)));
}

}  // namespace hivq
