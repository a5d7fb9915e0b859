#include "worker/model/gpu_layers.h"

#include <torch/torch.h>

#include "worker/gpu/branch.h"
#include "worker/gpu/kernels.h"
#include "worker/model/gpu_attention.h"
#include "worker/model/gpu_dropout.h"
#include "worker/model/gpu_products.h"

namespace hivq {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A parameter's gradient: the leaf's own memory, or a tensor of its own.
class ParameterGradient {
 public:
  explicit ParameterGradient(const at::Tensor& parameter) {
    own_ = !parameter.is_leaf() || !parameter.grad().defined();
    place_ = own_ ? at::empty(parameter.sizes(), parameter.options().requires_grad(false)) : parameter.grad();
  }
  at::Tensor& place() { return place_; }
  bool own() const { return own_; }
  /// What backward returns, once the place is filled.
  at::Tensor filled() const {
    return own_ ? place_ : at::Tensor();  // the parameter's hooks are called for an undefined one, too
  }

 private:
  at::Tensor place_;
  bool own_ = false;
};

/// Computes gradients of parameters: beside the rest where they are the leaves' own, for which nobody waits.
void beside_unless_own(const ParameterGradient& weight, const ParameterGradient& bias, const at::Tensor& on,
                       const std::vector<at::Tensor>& uses, const std::function<void()>& work) {
  weight.own() || bias.own() ? work() : beside(on.device(), uses, work);
}

/// The trials of a parameter of one trial's shape with so many dimensions.
int64_t trials_of(const at::Tensor& parameter, int64_t dimensions) {
  return parameter.dim() == dimensions ? 1 : parameter.size(0);
}

/// [T, …] of a parameter [T, …] or […].
at::Tensor by_trial(const at::Tensor& parameter, int64_t dimensions) {
  return parameter.dim() == dimensions ? parameter.unsqueeze(0) : parameter;
}

/// A leaf in the type that is multiplied: its part of the rounded values.
at::Tensor low_of(const at::Tensor& leaf, const at::Tensor& rounded, const at::Tensor& values) {
  if (!rounded.defined()) return leaf.detach();
  return rounded.as_strided(leaf.sizes(), leaf.strides(), leaf.storage_offset() - values.storage_offset());
}

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  return a.size(0) == 1 ? at::mm(a[0], b[0]).unsqueeze(0) : at::bmm(a, b);
}

/// to [T, width] ← the sums of g [rows, width] over each trial's rows.
void sum_columns(const at::Tensor& g, const at::Tensor& to) {
  const int64_t width = to.size(1), trials = to.size(0), rows = g.numel() / width / trials, stride = to.stride(0);
  start_gpu_kernel("column_sums", {to.scalar_type(), g.scalar_type()}, g.device(),
                   {static_cast<unsigned>((width + 31) / 32), static_cast<unsigned>(trials)}, {32, kBlockHeight},
                   g.const_data_ptr(), to.data_ptr(), rows, width, stride);
}

/// Parts [first, first + count) of the rows of a linear layer's weight and bias.
struct Part {
  int64_t first, count;
};

/// x [b, N, in] in the weight's type → [b, N, count].
at::Tensor project(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, Part part) {
  const at::Tensor w = by_trial(weight, 2).narrow(1, part.first, part.count);
  const at::Tensor b = by_trial(bias, 1).narrow(1, part.first, part.count);
  const at::Tensor rows = x.reshape({w.size(0), -1, w.size(2)}), wt = w.transpose(1, 2);
  at::Tensor out = at::empty({x.size(0), x.size(1), part.count}, x.options().requires_grad(false));
  at::Tensor to = out.view({w.size(0), -1, part.count});
  if (w.size(0) == 1) {
    at::Tensor one = to[0];
    at::addmm_out(one, b[0], rows[0], wt[0]);
  } else {
    at::baddbmm_out(to, b.unsqueeze(1), rows, wt);
  }
  return out;
}

/// From the gradient g of project()'s result: those of the weight's and bias' part, and of x.
at::Tensor project_backward(const at::Tensor& g, const at::Tensor& x, const at::Tensor& weight, Part part,
                            ParameterGradient& to_weight, ParameterGradient& to_bias, bool wants_x) {
  const at::Tensor w = by_trial(weight, 2).narrow(1, part.first, part.count);
  const at::Tensor given = g.reshape({w.size(0), -1, part.count}), rows = x.reshape({w.size(0), -1, w.size(2)});
  beside_unless_own(to_weight, to_bias, given, {given, rows}, [&] {
    multiply_into(by_trial(to_weight.place(), 2).narrow(1, part.first, part.count), given.transpose(1, 2), rows);
    sum_columns(given, by_trial(to_bias.place(), 1).narrow(1, part.first, part.count));
  });
  return wants_x ? product(given, w).view_as(x) : at::Tensor();
}

struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, const GpuSetting& how) {
    const at::Tensor low = x.to(how.low()), w = low_of(weight, how.rounded, how.values);
    context->save_for_backward({low, w, weight, bias});
    context->saved_data["type"] = static_cast<int64_t>(x.scalar_type());
    return project(low, w, low_of(bias, how.rounded, how.values), {0, by_trial(weight, 2).size(1)});
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    ParameterGradient weight(saved[2]), bias(saved[3]);
    at::Tensor to_x = project_backward(gradients[0].contiguous(), saved[0], saved[1],
                                       {0, by_trial(saved[2], 2).size(1)}, weight, bias, context->needs_input_grad(0));
    if (to_x.defined()) to_x = to_x.to(static_cast<at::ScalarType>(context->saved_data["type"].toInt()));
    return {to_x, weight.filled(), bias.filled(), at::Tensor()};
  }
};

struct ReluDropoutFunction : torch::autograd::Function<ReluDropoutFunction> {
  static at::Tensor forward(AutogradContext* context, at::Tensor x, const Dropout& dropout, at::ScalarType values) {
    const int64_t images = x.size(0), count = x.numel() / std::max<int64_t>(1, images);
    const int64_t blocks = (count + 255) / 256 * 32;
    const GpuMasks masks = gpu_masks(dropout, images);
    start_gpu_kernel("relu_dropout", {values, x.scalar_type()}, x.device(), gpu_threads(images * blocks), {kGpuThreads},
                     x.const_data_ptr(), x.mutable_data_ptr(), count, blocks, images, masks.streams, masks.step);
    context->mark_dirty({x});
    context->save_for_backward({x});
    context->saved_data["dropout"] = to_value(dropout);
    context->saved_data["type"] = static_cast<int64_t>(values);
    return x;
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const at::Tensor out = context->get_saved_variables()[0], g = gradients[0].contiguous();
    const auto values = static_cast<at::ScalarType>(context->saved_data["type"].toInt());
    const GpuMasks masks = gpu_masks(dropout_of(context->saved_data["dropout"]), out.size(0));
    at::Tensor to = at::empty_like(g);
    const int64_t trials = std::max<int64_t>(1, out.size(0) / masks.streams.images), of_trial = out.numel() / trials;
    GpuExtent grid = gpu_threads((of_trial + 3) / 4);
    grid.y = static_cast<unsigned>(trials);
    start_gpu_kernel("relu_dropout_backward", {values, g.scalar_type()}, g.device(), grid, {kGpuThreads},
                     g.const_data_ptr(), out.const_data_ptr(), to.mutable_data_ptr(), of_trial, masks.streams);
    return {to, at::Tensor(), at::Tensor()};
  }
};

/// Where a result [b, N, D] is used; the first is always made.
struct Uses {
  bool low, placed;
};

/// The gradient [N, D] or [T, N, D] of a position that was added to all images.
at::Tensor position_gradient(const at::Tensor& g_placed, const at::Tensor& position) {
  if (!g_placed.defined()) return {};
  const int64_t trials = trials_of(position, 2);
  const at::Tensor by = g_placed.view({trials, -1, position.size(-2), position.size(-1)});
  return at::sum(by, {1}, false, position.scalar_type()).view(position.sizes());
}

struct PlaceFunction : torch::autograd::Function<PlaceFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& position,
                               at::ScalarType low) {
    const at::Tensor from = x.contiguous(), where = position.contiguous();
    const auto options = from.options().requires_grad(false).dtype(low);
    const bool rounds = low != from.scalar_type();
    at::Tensor rounded = rounds ? at::empty(from.sizes(), options) : at::Tensor();
    at::Tensor placed = at::empty(from.sizes(), options);
    const int64_t tokens = from.size(1), rows = from.size(0) * tokens;
    start_gpu_kernel("place", {from.scalar_type(), low}, from.device(), gpu_warps(rows), {kGpuThreads},
                     from.const_data_ptr(), where.const_data_ptr(), rounds ? rounded.mutable_data_ptr() : nullptr,
                     placed.mutable_data_ptr(), rows, from.size(2), tokens,
                     std::max<int64_t>(1, rows / trials_of(where, 2)));
    context->set_materialize_grads(false);
    context->save_for_backward({where});
    context->saved_data["low"] = static_cast<int64_t>(low);
    return rounds ? variable_list{placed, rounded} : variable_list{placed};
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const at::Tensor position = context->get_saved_variables()[0];
    const auto low = static_cast<at::ScalarType>(context->saved_data["low"].toInt());
    const at::Tensor g_placed = gradients[0].defined() ? gradients[0].contiguous() : at::Tensor();
    const at::Tensor g_low = gradients.size() > 1 && gradients[1].defined() ? gradients[1].contiguous() : at::Tensor();
    if (!g_placed.defined() && !g_low.defined()) return {at::Tensor(), at::Tensor(), at::Tensor()};
    const at::Tensor& any = g_placed.defined() ? g_placed : g_low;
    at::Tensor to = at::empty(any.sizes(), position.options());
    start_gpu_kernel("place_backward", {position.scalar_type(), low}, to.device(), gpu_threads(to.numel()),
                     {kGpuThreads}, gpu_data(g_low), gpu_data(g_placed), to.mutable_data_ptr(), to.numel());
    return {to, position_gradient(g_placed, position), at::Tensor()};
  }
};

struct ResidualNormFunction : torch::autograd::Function<ResidualNormFunction> {
  /// {result} and, as they are wanted, {placed} and {low}.
  static variable_list forward(AutogradContext* context, const at::Tensor& residual, const at::Tensor& branch,
                               const at::Tensor& weights, const at::Tensor& biases, const at::Tensor& position,
                               const Dropout& dropout, Uses uses) {
    const at::Tensor x = residual.contiguous(), y = branch.contiguous();
    const at::Tensor weight = weights.contiguous(), bias = biases.contiguous(), where = position.contiguous();
    const int64_t width = x.size(2), tokens = x.size(1), rows = x.size(0) * tokens;
    const int64_t trial_rows = std::max<int64_t>(1, rows / trials_of(weight, 1));
    const auto options = x.options().requires_grad(false);
    at::Tensor s = at::empty(x.sizes(), options), out = at::empty(x.sizes(), options), low, placed;
    at::Tensor inverse = at::empty({rows}, options);
    variable_list results = {out};
    if (uses.placed) results.push_back(placed = at::empty(x.sizes(), options.dtype(y.scalar_type())));
    if (uses.low) results.push_back(low = at::empty(x.sizes(), options.dtype(y.scalar_type())));
    const GpuMasks masks = gpu_masks(dropout, x.size(0));
    start_gpu_kernel("residual_norm", GpuTypes{x.scalar_type(), y.scalar_type()}.holding(width), x.device(),
                     gpu_warps(rows), {kGpuThreads}, x.const_data_ptr(), y.const_data_ptr(), weight.const_data_ptr(),
                     bias.const_data_ptr(), where.const_data_ptr(), s.mutable_data_ptr(), out.mutable_data_ptr(),
                     gpu_data(low), gpu_data(placed), inverse.mutable_data_ptr(), rows, width, tokens, trial_rows,
                     masks.streams, masks.step);
    context->save_for_backward({s, inverse, weights, biases, where});
    context->saved_data["dropout"] = to_value(dropout);
    context->saved_data["low"] = static_cast<int64_t>(y.scalar_type());
    context->saved_data["placed"] = uses.placed;
    context->set_materialize_grads(false);
    return results;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &s = saved[0], &inverse = saved[1], &position = saved[4], weight = saved[2].contiguous();
    const auto low = static_cast<at::ScalarType>(context->saved_data["low"].toInt());
    const auto given = [&](size_t i) {
      return i < gradients.size() && gradients[i].defined() ? gradients[i].contiguous() : at::Tensor();
    };
    const bool places = context->saved_data["placed"].toBool();
    const at::Tensor g = given(0), g_placed = places ? given(1) : at::Tensor(), g_low = given(places ? 2 : 1);
    const Dropout dropout = dropout_of(context->saved_data["dropout"]);
    const int64_t width = s.size(2), tokens = s.size(1), rows = s.size(0) * tokens, trials = trials_of(weight, 1);
    const int64_t trial_rows = std::max<int64_t>(1, rows / trials);
    at::Tensor total = at::empty_like(s), to_x = at::empty_like(s), to_y = at::empty(s.sizes(), s.options().dtype(low));
    const GpuMasks masks = gpu_masks(dropout, s.size(0));
    start_gpu_kernel("residual_norm_backward", GpuTypes{s.scalar_type(), low}.holding(width), s.device(),
                     gpu_warps(rows), {kGpuThreads}, gpu_data(g), gpu_data(g_low), gpu_data(g_placed),
                     s.const_data_ptr(), inverse.const_data_ptr(), weight.const_data_ptr(), total.mutable_data_ptr(),
                     to_x.mutable_data_ptr(), to_y.mutable_data_ptr(), rows, width, tokens, trial_rows, masks.streams,
                     masks.step);
    ParameterGradient to_weight(saved[2]), to_bias(saved[3]);
    beside_unless_own(to_weight, to_bias, s, {total, s}, [&] {
      const at::Tensor w = by_trial(to_weight.place(), 1), b = by_trial(to_bias.place(), 1);
      start_gpu_kernel("norm_parameters", {s.scalar_type(), s.scalar_type()}, s.device(),
                       {static_cast<unsigned>((width + 31) / 32), static_cast<unsigned>(trials)}, {32, kBlockHeight},
                       total.const_data_ptr(), s.const_data_ptr(), w.data_ptr(), b.data_ptr(), trial_rows, width,
                       w.stride(0), b.stride(0));
    });
    return {to_x,         to_y,        to_weight.filled(), to_bias.filled(), position_gradient(g_placed, position),
            at::Tensor(), at::Tensor()};
  }
};

/// What an attention does up to the projection of its result. Queries and keys that are one tensor are projected
/// together.
struct AttentionFunction : torch::autograd::Function<AttentionFunction> {
  static std::vector<Part> parts_of(int64_t width, bool self) {
    if (self) return {{0, 2 * width}, {2 * width, width}};
    return {{0, width}, {width, width}, {2 * width, width}};
  }
  /// [b, N, D] of queries, keys and values, of what parts_of() projects to.
  static std::vector<at::Tensor> three(const std::vector<at::Tensor>& projected, int64_t width) {
    if (projected.size() == 3) return projected;
    return {projected[0].narrow(2, 0, width), projected[0].narrow(2, width, width), projected[1]};
  }

  static at::Tensor forward(AutogradContext* context, const at::Tensor& queries, const at::Tensor& keys,
                            const at::Tensor& values, const at::Tensor& weight, const at::Tensor& bias,
                            const GpuSetting& how) {
    const bool self = queries.is_same(keys);
    const int64_t width = queries.size(2);
    const at::Tensor w = low_of(weight, how.rounded, how.values), b = low_of(bias, how.rounded, how.values);
    const std::vector<Part> parts = parts_of(width, self);
    std::vector<at::Tensor> projected;
    if (!self) projected.push_back(project(queries, w, b, parts[0]));
    projected.push_back(project(keys, w, b, parts[parts.size() - 2]));
    projected.push_back(project(values, w, b, parts.back()));
    const std::vector<at::Tensor> qkv = three(projected, width);
    std::vector<at::Tensor> saved;
    const at::Tensor out = gpu_attend(how_of(how), how.dropout, qkv[0], qkv[1], qkv[2], saved);
    variable_list kept = {queries, keys, values, weight, bias, w, how.mask};
    kept.insert(kept.end(), saved.begin(), saved.end());
    context->save_for_backward(std::move(kept));
    context->saved_data["heads"] = how.heads;
    context->saved_data["type"] = static_cast<int64_t>(how.values.scalar_type());
    context->saved_data["dropout"] = to_value(how.dropout);
    context->saved_data["self"] = self;
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &queries = saved[0], &keys = saved[1], &values = saved[2], &w = saved[5];
    const bool self = context->saved_data["self"].toBool();
    const int64_t width = queries.size(2);
    const auto type = static_cast<at::ScalarType>(context->saved_data["type"].toInt());
    const GpuAttention how{context->saved_data["heads"].toInt(), saved[6], {type, w.scalar_type()}};
    const std::vector<Part> parts = parts_of(width, self);
    std::vector<at::Tensor> to_projected;
    for (const Part& part : parts) {
      to_projected.push_back(at::empty({queries.size(0), queries.size(1), part.count}, queries.options()));
    }
    gpu_attend_backward(how, dropout_of(context->saved_data["dropout"]), {saved.begin() + 7, saved.end()},
                        gradients[0].contiguous(), three(to_projected, width));
    ParameterGradient to_weight(saved[3]), to_bias(saved[4]);
    const auto back = [&](size_t i, const at::Tensor& x) {
      return project_backward(to_projected[i], x, w, parts[i], to_weight, to_bias, true);
    };
    const at::Tensor to_queries = back(0, queries), to_keys = self ? at::Tensor() : back(1, keys);
    const at::Tensor to_values = back(parts.size() - 1, values);
    return {to_queries, to_keys, to_values, to_weight.filled(), to_bias.filled(), at::Tensor()};
  }

  static GpuAttention how_of(const GpuSetting& how) {
    return {how.heads, how.mask, {how.values.scalar_type(), how.low()}};
  }
};

at::Tensor attend(const Attention& layer, GpuSetting& how, const at::Tensor& queries, const at::Tensor& keys,
                  const at::Tensor& values) {
  const at::Tensor out = AttentionFunction::apply(queries, keys, values, layer.in_proj_weight, layer.in_proj_bias, how);
  if (how.dropout.active()) ++how.dropout.site;
  return gpu_linear(how, layer.out_proj, out);
}

at::Tensor feed_forward(const Linear& linear1, const Linear& linear2, GpuSetting& how, const at::Tensor& x) {
  const at::Tensor hidden =
      ReluDropoutFunction::apply(gpu_linear(how, linear1, x), how.dropout, how.values.scalar_type());
  if (how.dropout.active()) ++how.dropout.site;
  return gpu_linear(how, linear2, hidden);
}

GpuTokens residual_norm(const LayerNorm& norm, GpuSetting& how, const at::Tensor& x, const at::Tensor& y, Uses uses) {
  const bool rounds = how.low() != x.scalar_type();
  uses.low = uses.low && rounds;
  const variable_list results =
      ResidualNormFunction::apply(x, y, norm.weight, norm.bias, how.position, how.dropout, uses);
  if (how.dropout.active()) ++how.dropout.site;
  return {results[0], rounds ? uses.low ? results.back() : at::Tensor() : results[0],
          uses.placed ? results[1] : at::Tensor()};
}

struct HeadsFunction : torch::autograd::Function<HeadsFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, const at::Tensor& place, at::ScalarType low) {
    const at::Tensor rows = x.to(low), own = weight.to(low).index_select(0, place);
    context->save_for_backward({rows, own, weight, bias, place});
    context->saved_data["type"] = static_cast<int64_t>(x.scalar_type());
    at::Tensor out = at::empty({x.size(0), x.size(1), weight.size(1)}, weight.options().requires_grad(false));
    multiply_into(out, rows, own.transpose(1, 2));
    return out.add_(bias.index_select(0, place).unsqueeze(1));
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &own = saved[1], &place = saved[4], g = gradients[0].contiguous();
    const at::Tensor low = g.to(x.scalar_type());
    ParameterGradient to_weight(saved[2]), to_bias(saved[3]);
    beside_unless_own(to_weight, to_bias, g, {g, low, x, place}, [&] {
      at::Tensor of_images = at::empty(own.sizes(), g.options());
      multiply_into(of_images, low.transpose(1, 2), x);
      at::Tensor bias_of_images = at::empty({own.size(0), own.size(1)}, g.options());
      sum_columns(g, bias_of_images);
      by_group(of_images, place, to_weight.place());
      by_group(bias_of_images, place, to_bias.place());
    });
    const at::Tensor to_x = at::bmm(low, own).to(static_cast<at::ScalarType>(context->saved_data["type"].toInt()));
    return {to_x, to_weight.filled(), to_bias.filled(), at::Tensor(), at::Tensor()};
  }

  /// to [S, …], without gaps ← the sums of values [b, …] over the images of each place.
  static void by_group(const at::Tensor& values, const at::Tensor& place, const at::Tensor& to) {
    const int64_t groups = to.size(0), size = to.numel() / groups;
    GpuExtent grid = gpu_threads(size);
    grid.y = static_cast<unsigned>(groups);
    start_gpu_kernel("sum_by_group", {values.scalar_type(), values.scalar_type()}, values.device(), grid, {kGpuThreads},
                     values.const_data_ptr(), place.const_data_ptr(), to.data_ptr(), values.size(0), size);
  }
};

}  // namespace

GpuTokens gpu_tokens(const GpuSetting& how, const at::Tensor& x) {
  const variable_list forms = PlaceFunction::apply(x, how.position, how.low());
  return {x, forms.size() > 1 ? forms[1] : x, forms[0]};
}

at::Tensor gpu_linear(const GpuSetting& how, const Linear& layer, const at::Tensor& x) {
  return LinearFunction::apply(x, layer.weight, layer.bias, how);
}

GpuTokens gpu_encoder_layer(const EncoderLayer& layer, GpuSetting& how, const GpuTokens& in) {
  const at::Tensor attended = attend(layer.self_attn, how, in.placed, in.placed, in.low);
  const GpuTokens x = residual_norm(layer.norm1, how, in.x, attended, {.low = true, .placed = false});
  return residual_norm(layer.norm2, how, x.x, feed_forward(layer.linear1, layer.linear2, how, x.low),
                       {.low = true, .placed = true});
}

GpuTokens gpu_decoder_layer(const DecoderLayer& layer, GpuSetting& how, const GpuTokens& in, const GpuTokens& memory) {
  const at::Tensor own = attend(layer.self_attn, how, in.placed, in.placed, in.low);
  GpuTokens x = residual_norm(layer.norm1, how, in.x, own, {.low = false, .placed = true});
  const at::Tensor found = attend(layer.multihead_attn, how, x.placed, memory.placed, memory.low);
  x = residual_norm(layer.norm2, how, x.x, found, {.low = true, .placed = false});
  return residual_norm(layer.norm3, how, x.x, feed_forward(layer.linear1, layer.linear2, how, x.low),
                       {.low = true, .placed = true});
}

at::Tensor gpu_heads(const GpuSetting& how, const Linear& heads, const at::Tensor& x, const at::Tensor& place) {
  if (heads.weight.size(0) == 1) return gpu_linear(how, {heads.weight[0], heads.bias[0]}, x).to(x.scalar_type());
  return HeadsFunction::apply(x, heads.weight, heads.bias, place, how.low());
}

}  // namespace hivq
