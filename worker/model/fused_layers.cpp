#include "worker/model/fused_layers.h"

#include <torch/torch.h>

#include <cmath>

#include "worker/model/dealt.h"
#include "worker/model/vector_clones.h"
#include "worker/model/vector_math.h"

namespace hivq {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kEpsilon = 1e-5;   // torch.nn.LayerNorm's
constexpr int64_t kBlockRows = 32;  // of a block, which stays in a core's cache from one pass over it to the next

/// Rows of s ← (x + s − mean) / deviation, of out ← s w + bias; 1/deviation of each row.
template <typename T>
[[gnu::always_inline]] inline void norm_block(const T* x, T* s, const T* weight, const T* bias, T* out, T* inverse,
                                              int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row, x += width, s += width, out += width) {
    for (int64_t j = 0; j < width; ++j) s[j] += x[j];
    const T mean = lane_sum<T>(width, [&](int64_t j) { return s[j]; }) / static_cast<T>(width);
    for (int64_t j = 0; j < width; ++j) s[j] -= mean;
    const T variance = lane_sum<T>(width, [&](int64_t j) { return s[j] * s[j]; }) / static_cast<T>(width);
    const T scale = 1 / std::sqrt(variance + static_cast<T>(kEpsilon));
    inverse[row] = scale;
    for (int64_t j = 0; j < width; ++j) {
      s[j] *= scale;
      out[j] = s[j] * weight[j] + bias[j];
    }
  }
}

/// From g = ∂/∂out and the normalised s: to ← ∂/∂(x + dropout(y)); adds to the weight's and bias' gradients.
template <typename T>
[[gnu::always_inline]] inline void norm_gradient_block(const T* g, const T* s, const T* inverse, const T* weight, T* to,
                                                       T* to_weight, T* to_bias, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row, g += width, s += width, to += width) {
    for (int64_t j = 0; j < width; ++j) {
      to[j] = g[j] * weight[j];
      to_weight[j] += g[j] * s[j];
      to_bias[j] += g[j];
    }
    const T mean = lane_sum<T>(width, [&](int64_t j) { return to[j]; }) / static_cast<T>(width);
    const T along = lane_sum<T>(width, [&](int64_t j) { return to[j] * s[j]; }) / static_cast<T>(width);
    const T scale = inverse[row];
    for (int64_t j = 0; j < width; ++j) to[j] = scale * (to[j] - mean - s[j] * along);
  }
}

// target_clones does not take templates.
#define HIVQ_BLOCKS(T)                                                                                             \
  HIVQ_VECTOR_CLONES void norm(const T* x, T* s, const T* weight, const T* bias, T* out, T* inverse, int64_t rows, \
                               int64_t width) {                                                                    \
    norm_block(x, s, weight, bias, out, inverse, rows, width);                                                     \
  }                                                                                                                \
  HIVQ_VECTOR_CLONES void norm_gradient(const T* g, const T* s, const T* inverse, const T* weight, T* to,          \
                                        T* to_weight, T* to_bias, int64_t rows, int64_t width) {                   \
    norm_gradient_block(g, s, inverse, weight, to, to_weight, to_bias, rows, width);                               \
  }                                                                                                                \
  HIVQ_VECTOR_CLONES void relu(T* x, int64_t count) {                                                              \
    for (int64_t j = 0; j < count; ++j) x[j] = x[j] > 0 ? x[j] : 0;                                                \
  }                                                                                                                \
  HIVQ_VECTOR_CLONES void relu_gradient(const T* g, const T* out, T scale, T* to, int64_t count) {                 \
    for (int64_t j = 0; j < count; ++j) to[j] = out[j] > 0 ? g[j] * scale : 0;                                     \
  }
HIVQ_BLOCKS(float)
HIVQ_BLOCKS(double)
#undef HIVQ_BLOCKS

/// [b, N, D] cut into blocks of rows within an image.
struct Blocks {
  int64_t images, tokens, width;
  explicit Blocks(const at::Tensor& x) : images(x.size(0)), tokens(x.size(1)), width(x.size(2)) {}
  Blocks(const at::Tensor& x, int64_t of_images) : images(of_images), tokens(x.size(0) / of_images), width(x.size(1)) {}
  int64_t per_image() const { return (tokens + kBlockRows - 1) / kBlockRows; }
  int64_t count() const { return images * per_image(); }

  /// body(block, image, row within the image, rows)
  template <typename Body>
  void each(Body body) const {
    deal(count(), [&](int64_t block) {
      const int64_t row = block % per_image() * kBlockRows;
      body(block, block / per_image(), row, std::min(kBlockRows, tokens - row));
    });
  }
};

/// Calls body with a null pointer of the tensor's type, for its type alone.
template <typename Body>
auto by_type(const at::Tensor& tensor, Body body) {
  return tensor.scalar_type() == at::kFloat ? body(static_cast<float*>(nullptr)) : body(static_cast<double*>(nullptr));
}

/// The trial of an image, among as many side by side as the weight [D] or [T, D] has.
int64_t trials_of(const at::Tensor& weight) { return weight.dim() == 1 ? 1 : weight.size(0); }

struct ResidualNorm : torch::autograd::Function<ResidualNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& residual, const at::Tensor& branch,
                            const Dropout& dropout, const at::Tensor& weights, const at::Tensor& biases) {
    const at::Tensor x = residual.contiguous(), y = branch.contiguous();
    const at::Tensor weight = weights.contiguous(), bias = biases.contiguous();  // those of several trials lie apart
    const Blocks blocks(x);
    at::Tensor s = at::empty(x.sizes(), x.options().requires_grad(false)), out = at::empty_like(s);
    at::Tensor inverse = at::empty({blocks.images, blocks.tokens}, s.options());
    const auto masks = masks_of(dropout, blocks.images);
    const int64_t per_trial = std::max<int64_t>(1, blocks.images / trials_of(weight)), width = blocks.width;
    by_type(x, [&]<typename T>(T*) {
      const T *from = x.const_data_ptr<T>(), *added = y.const_data_ptr<T>();
      const T *w = weight.const_data_ptr<T>(), *b = bias.const_data_ptr<T>();
      T *sum = s.mutable_data_ptr<T>(), *to = out.mutable_data_ptr<T>(), *scales = inverse.mutable_data_ptr<T>();
      blocks.each([&](int64_t, int64_t image, int64_t row, int64_t rows) {
        const int64_t first = image * blocks.tokens + row, at = first * width, trial = image / per_trial;
        if (masks) {
          masks->apply(image, row * width, added + at, sum + at, rows * width);
        } else {
          std::copy_n(added + at, rows * width, sum + at);
        }
        norm(from + at, sum + at, w + trial * width, b + trial * width, to + at, scales + first, rows, width);
      });
    });
    context->save_for_backward({s, inverse, weight});
    context->saved_data["dropout"] = to_value(dropout);
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &s = saved[0], &inverse = saved[1], &weight = saved[2];
    const Dropout dropout = dropout_of(context->saved_data["dropout"]);
    const at::Tensor g = gradients[0].contiguous();
    const Blocks blocks(s);
    const auto masks = masks_of(dropout, blocks.images);
    const int64_t trials = trials_of(weight), per_trial = std::max<int64_t>(1, blocks.images / trials);
    const int64_t width = blocks.width;
    at::Tensor to_x = at::empty_like(s), to_y = masks ? at::empty_like(s) : to_x;
    at::Tensor of_blocks = at::zeros({blocks.count(), 2, width}, s.options());
    by_type(s, [&]<typename T>(T*) {
      const T *from = g.const_data_ptr<T>(), *normal = s.const_data_ptr<T>(), *scales = inverse.const_data_ptr<T>();
      const T* w = weight.const_data_ptr<T>();
      T *x = to_x.mutable_data_ptr<T>(), *y = to_y.mutable_data_ptr<T>(), *sums = of_blocks.mutable_data_ptr<T>();
      blocks.each([&](int64_t block, int64_t image, int64_t row, int64_t rows) {
        const int64_t first = image * blocks.tokens + row, at = first * width;
        T* own = sums + block * 2 * width;
        norm_gradient(from + at, normal + at, scales + first, w + image / per_trial * width, x + at, own, own + width,
                      rows, width);
        if (masks) masks->apply(image, row * width, x + at, y + at, rows * width);
      });
    });
    // Summed by block, so that the number of threads does not matter.
    const at::Tensor of_norm = of_blocks.view({trials, -1, 2, width}).sum(1);  // [T, 2, D]
    return {to_x, to_y, at::Tensor(), of_norm.select(1, 0).reshape(weight.sizes()),
            of_norm.select(1, 1).reshape(weight.sizes())};
  }
};

struct ReluDropout : torch::autograd::Function<ReluDropout> {
  static at::Tensor forward(AutogradContext* context, at::Tensor x, int64_t images, const Dropout& dropout) {
    const Blocks blocks(x, images);
    const auto masks = masks_of(dropout, blocks.images);
    by_type(x, [&]<typename T>(T*) {
      T* values = x.mutable_data_ptr<T>();
      blocks.each([&](int64_t, int64_t image, int64_t row, int64_t rows) {
        T* at = values + (image * blocks.tokens + row) * blocks.width;
        relu(at, rows * blocks.width);
        if (masks) masks->apply(image, row * blocks.width, at, at, rows * blocks.width);
      });
    });
    context->mark_dirty({x});
    context->save_for_backward({x});
    context->saved_data["images"] = images;
    context->saved_data["dropout"] = to_value(dropout);
    return x;
  }

  /// What the mask dropped is 0 in the result, as what the ReLU did, so the mask is not drawn again.
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const at::Tensor out = context->get_saved_variables()[0], g = gradients[0].contiguous();
    const Dropout dropout = dropout_of(context->saved_data["dropout"]);
    const Blocks blocks(out, context->saved_data["images"].toInt());
    const auto masks = masks_of(dropout, blocks.images);
    at::Tensor to = at::empty_like(g);
    by_type(out, [&]<typename T>(T*) {
      const T *from = g.const_data_ptr<T>(), *kept = out.const_data_ptr<T>();
      T* gradient = to.mutable_data_ptr<T>();
      blocks.each([&](int64_t, int64_t image, int64_t row, int64_t rows) {
        const int64_t at = (image * blocks.tokens + row) * blocks.width;
        const T scale = masks ? static_cast<T>(masks->scale(image)) : T(1);
        relu_gradient(from + at, kept + at, scale, gradient + at, rows * blocks.width);
      });
    });
    return {to, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor fused_residual_norm(const at::Tensor& x, const at::Tensor& y, Dropout& dropout, const LayerNorm& norm) {
  const at::Tensor out = ResidualNorm::apply(x, y, dropout, norm.weight, norm.bias);
  if (dropout.active()) ++dropout.site;
  return out;
}

at::Tensor fused_relu_dropout(const at::Tensor& x, int64_t images, Dropout& dropout) {
  const at::Tensor out = ReluDropout::apply(x, images, dropout);
  if (dropout.active()) ++dropout.site;
  return out;
}

}  // namespace hivq
