#include "worker/model/gpu_attention.h"

#include <torch/torch.h>

#include <atomic>
#include <cmath>

#include "worker/model/gpu_dropout.h"
#include "worker/model/gpu_products.h"

namespace hivq {
namespace {

std::atomic<bool> without_tiles = false;

HeadRows rows_of(const at::Tensor& tensor) { return {tensor.data_ptr(), tensor.stride(0), tensor.stride(1)}; }

/// For the products tokens are padded with zeros to a multiple of 8, as the units that multiply like.
struct Heads {
  int64_t images, heads, tokens, width;  // of a head
  Heads(const GpuAttention& how, const at::Tensor& q)
      : images(q.size(0)), heads(how.heads), tokens(q.size(1)), width(q.size(2) / how.heads) {}
  int64_t all() const { return images * heads; }
  int64_t padded() const { return (tokens + 7) / 8 * 8; }
  double scale() const { return 1 / std::sqrt(static_cast<double>(width)); }
};

// ---- by products

/// Tensors [b, N, D] with columns side by side → [tensors, b · heads, padded, D / heads].
at::Tensor split(const Heads& shape, GpuTypes types, const std::vector<at::Tensor>& tensors) {
  const auto count = static_cast<int64_t>(tensors.size());
  at::Tensor out = at::empty({count, shape.all(), shape.padded(), shape.width}, tensors[0].options());
  const auto rows = [&](size_t i) { return i < tensors.size() ? rows_of(tensors[i]) : HeadRows{}; };
  const GpuExtent grid{static_cast<unsigned>(shape.images * shape.padded()), static_cast<unsigned>(count)};
  start_gpu_kernel("split_heads", types, out.device(), grid, {128}, rows(0), rows(1), rows(2), out.mutable_data_ptr(),
                   shape.images, shape.heads, shape.tokens, shape.padded(), shape.width);
  return out;
}

/// The way back, into tensors that exist.
void merge(const Heads& shape, GpuTypes types, const at::Tensor& in, const std::vector<at::Tensor>& tensors) {
  const auto rows = [&](size_t i) { return i < tensors.size() ? rows_of(tensors[i]) : HeadRows{}; };
  const GpuExtent grid{static_cast<unsigned>(shape.images * shape.tokens), static_cast<unsigned>(tensors.size())};
  start_gpu_kernel("merge_heads", types, in.device(), grid, {128}, in.const_data_ptr(), rows(0), rows(1), rows(2),
                   shape.images, shape.heads, shape.tokens, shape.padded(), shape.width);
}

at::Tensor square(const Heads& shape, const at::TensorOptions& options) {
  return at::empty({shape.all(), shape.padded(), shape.padded()}, options);
}

at::Tensor attend_by_products(const GpuAttention& how, const Dropout& dropout, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v, std::vector<at::Tensor>& saved) {
  const Heads shape(how, q);
  const at::Tensor heads = split(shape, how.types, {q, k, v});
  const auto low = heads.options();
  const at::Tensor logits = square(shape, low.dtype(how.types.values)), weights = square(shape, low);
  const at::Tensor kept = dropout.active() ? square(shape, low) : weights;
  multiply_into(logits, heads[0], heads[1].transpose(1, 2));
  const GpuMasks masks = gpu_masks(dropout, shape.images);
  const int64_t rows = shape.all() * shape.padded();
  start_gpu_kernel("softmax_dropout", how.types.holding(shape.tokens + 31), heads.device(), gpu_warps(rows),
                   {kGpuThreads}, logits.const_data_ptr(), gpu_data(how.mask), weights.data_ptr(), kept.data_ptr(),
                   rows, shape.heads, shape.tokens, shape.padded(), shape.scale(), masks.streams, masks.step);
  at::Tensor out = at::empty(q.sizes(), low);
  merge(shape, how.types, at::bmm(kept, heads[2]), {out});
  saved = {heads, weights, kept};
  return out;
}

void attend_by_products_backward(const GpuAttention& how, const std::vector<at::Tensor>& saved, const at::Tensor& g,
                                 const std::vector<at::Tensor>& to) {
  const at::Tensor &heads = saved[0], &weights = saved[1], &kept = saved[2];
  const Heads shape(how, g);
  const at::Tensor given = split(shape, how.types, {g})[0], to_heads = at::empty_like(heads);
  const at::Tensor slope = square(shape, heads.options().dtype(how.types.values));
  const at::Tensor to_logits = how.types.low == how.types.values ? slope : square(shape, heads.options());
  multiply_into(to_heads[2], kept.transpose(1, 2), given);
  multiply_into(slope, given, heads[2].transpose(1, 2));
  const int64_t rows = shape.all() * shape.padded();
  start_gpu_kernel("softmax_dropout_backward", how.types.holding(shape.padded()), heads.device(), gpu_warps(rows),
                   {kGpuThreads}, weights.const_data_ptr(), kept.const_data_ptr(), slope.const_data_ptr(),
                   to_logits.data_ptr(), rows, shape.padded(), shape.scale());
  multiply_into(to_heads[0], to_logits, heads[1]);
  multiply_into(to_heads[1], to_logits.transpose(1, 2), heads[0]);
  merge(shape, how.types, to_heads, to);
}

// ---- in tiles

bool tiles_take(const GpuAttention& how, const at::Tensor& q) {
  const int64_t width = q.size(2) / how.heads;
  return !without_tiles && how.types.low == at::kBFloat16 && (width == 16 || width == 32 || width == 64) &&
         gpu_multiplies_bfloat16(q.device());
}

int64_t blocks_of(const Heads& shape) { return (shape.heads * shape.tokens * shape.tokens + 255) / 256; }

/// Which of an image's weights dropout leaves, a bit each; undefined: all.
at::Tensor dropout_bits(const Heads& shape, const Dropout& dropout, const at::Tensor& like) {
  if (!dropout.active()) return {};
  const int64_t blocks = blocks_of(shape);
  at::Tensor bits = at::empty({shape.images, blocks * 8}, like.options().dtype(at::kInt));
  const GpuMasks masks = gpu_masks(dropout, shape.images);
  start_gpu_kernel("dropout_bits", {at::kFloat, at::kFloat}, bits.device(), gpu_warps(shape.images * blocks),
                   {kGpuThreads}, bits.mutable_data_ptr(), blocks, shape.images, masks.streams, masks.step);
  return bits;
}

AttentionTiles tiles_of(const GpuAttention& how, const Heads& shape, const Dropout& dropout,
                        const std::vector<at::Tensor>& saved, const at::Tensor& deltas) {
  const GpuMasks masks = gpu_masks(dropout, shape.images);
  const at::Tensor &log_sums = saved[4], &bits = saved[5];
  AttentionTiles tiles{.q = rows_of(saved[0]),
                       .k = rows_of(saved[1]),
                       .v = rows_of(saved[2]),
                       .mask = static_cast<const float*>(gpu_data(how.mask)),
                       .log_sums = log_sums.data_ptr<float>(),
                       .deltas = deltas.defined() ? deltas.data_ptr<float>() : nullptr,
                       .bits = static_cast<const unsigned*>(gpu_data(bits)),
                       .image_bits = blocks_of(shape) * 8,
                       .heads = shape.heads,
                       .tokens = shape.tokens,
                       .trial_images = masks.streams.images,
                       .scale = shape.scale(),
                       .kept = {}};
  std::copy_n(masks.streams.scale, DropoutStreams::kMost, tiles.kept);
  return tiles;
}

GpuExtent grid_of(const Heads& shape) {
  return {static_cast<unsigned>(shape.all()), static_cast<unsigned>((shape.tokens + kTile - 1) / kTile)};
}

at::Tensor attend_in_tiles(const GpuAttention& how, const Dropout& dropout, const at::Tensor& q, const at::Tensor& k,
                           const at::Tensor& v, std::vector<at::Tensor>& saved) {
  const Heads shape(how, q);
  at::Tensor out = at::empty(q.sizes(), q.options());
  const at::Tensor log_sums = at::empty({shape.all(), shape.tokens}, q.options().dtype(at::kFloat));
  saved = {q, k, v, out, log_sums, dropout_bits(shape, dropout, q)};
  start_gpu_kernel("attend", how.types.with(shape.width), q.device(), grid_of(shape), {32, kTileWarps},
                   tiles_of(how, shape, dropout, saved, {}), rows_of(out));
  return out;
}

void attend_in_tiles_backward(const GpuAttention& how, const Dropout& dropout, const std::vector<at::Tensor>& saved,
                              const at::Tensor& g, const std::vector<at::Tensor>& to) {
  const Heads shape(how, g);
  const at::Tensor deltas = at::empty_like(saved[4]);
  const AttentionTiles tiles = tiles_of(how, shape, dropout, saved, deltas);
  const GpuTypes types = how.types.with(shape.width);
  start_gpu_kernel("attend_backward_queries", types, g.device(), grid_of(shape), {32, kTileWarps}, tiles,
                   rows_of(saved[3]), rows_of(g), rows_of(to[0]));
  start_gpu_kernel("attend_backward_keys", types, g.device(), grid_of(shape), {32, kTileWarps}, tiles, rows_of(g),
                   rows_of(to[1]), rows_of(to[2]));
}

}  // namespace

at::Tensor gpu_attend(const GpuAttention& how, const Dropout& dropout, const at::Tensor& q, const at::Tensor& k,
                      const at::Tensor& v, std::vector<at::Tensor>& saved) {
  return tiles_take(how, q) ? attend_in_tiles(how, dropout, q, k, v, saved)
                            : attend_by_products(how, dropout, q, k, v, saved);
}

void gpu_attend_backward(const GpuAttention& how, const Dropout& dropout, const std::vector<at::Tensor>& saved,
                         const at::Tensor& g, const std::vector<at::Tensor>& to) {
  const bool in_tiles = saved.size() == 6;
  in_tiles ? attend_in_tiles_backward(how, dropout, saved, g, to) : attend_by_products_backward(how, saved, g, to);
}

void without_attention_tiles(bool without) { without_tiles = without; }

}  // namespace hivq
