#include "worker/model/fused_attention.h"

#include <torch/torch.h>

#include <cmath>
#include <limits>
#include <vector>

#include "worker/model/blas.h"
#include "worker/model/dealt.h"
#include "worker/model/vector_clones.h"
#include "worker/model/vector_math.h"

namespace hivq {
namespace {

/// One row of logits → its softmax, in place; returns log Σ eˣ.
template <typename T>
[[gnu::always_inline]] inline T softmax_row(T* row, const T* mask, int64_t count) {
  if (mask) {
    for (int64_t j = 0; j < count; ++j) row[j] += mask[j];
  }
  constexpr int64_t kLanes = 16;  // as lane_sum()
  T largest[kLanes];
  std::fill_n(largest, kLanes, -std::numeric_limits<T>::infinity());
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t j = 0; j < whole; j += kLanes) {
    for (int64_t i = 0; i < kLanes; ++i) largest[i] = row[j + i] > largest[i] ? row[j + i] : largest[i];
  }
  for (int64_t j = whole; j < count; ++j) largest[0] = std::max(largest[0], row[j]);
  const T top = *std::max_element(largest, largest + kLanes);
  const T sum = lane_sum<T>(count, [&](int64_t j) { return row[j] = exponential(row[j] - top); });
  const T inverse = 1 / sum;
  for (int64_t j = 0; j < count; ++j) row[j] *= inverse;
  return top + std::log(sum);
}

/// The softmax again, of logits whose log Σ eˣ is known.
template <typename T>
[[gnu::always_inline]] inline void known_softmax_row(T* row, const T* mask, T log_sum, int64_t count) {
  if (mask) {
    for (int64_t j = 0; j < count; ++j) row[j] += mask[j];
  }
  for (int64_t j = 0; j < count; ++j) row[j] = exponential(row[j] - log_sum);
}

/// The softmax's gradient: s_ij ← p_ij (g_ij − Σ_j p_ij g_ij), with g in place of s before.
template <typename T>
[[gnu::always_inline]] inline void softmax_gradient_row(const T* p, T* g, int64_t count) {
  const T sum = lane_sum<T>(count, [&](int64_t j) { return p[j] * g[j]; });
  for (int64_t j = 0; j < count; ++j) g[j] = p[j] * (g[j] - sum);
}

// target_clones does not take templates.
#define HIVQ_ROWS(T)                                                                                               \
  HIVQ_VECTOR_CLONES void softmax_rows(T* weights, const T* mask, T* log_sum, int64_t n) {                         \
    for (int64_t i = 0; i < n; ++i) log_sum[i] = softmax_row(weights + i * n, mask ? mask + i * n : mask, n);      \
  }                                                                                                                \
  HIVQ_VECTOR_CLONES void known_softmax_rows(T* weights, const T* mask, const T* log_sum, int64_t n) {             \
    for (int64_t i = 0; i < n; ++i) known_softmax_row(weights + i * n, mask ? mask + i * n : mask, log_sum[i], n); \
  }                                                                                                                \
  HIVQ_VECTOR_CLONES void softmax_gradient_rows(const T* weights, T* gradient, int64_t n) {                        \
    for (int64_t i = 0; i < n; ++i) softmax_gradient_row(weights + i * n, gradient + i * n, n);                    \
  }                                                                                                                \
  HIVQ_VECTOR_CLONES void multiply(const T* factor, T* values, int64_t count) {                                    \
    for (int64_t i = 0; i < count; ++i) values[i] *= factor[i];                                                    \
  }
HIVQ_ROWS(float)
HIVQ_ROWS(double)
#undef HIVQ_ROWS

/// An operand [b, N, D]: rows `stride` apart, images `image_stride`.
template <typename T>
struct Operand {
  T* data;
  int64_t image_stride;
  int stride;
  explicit Operand(const at::Tensor& tensor)
      : data(static_cast<T*>(tensor.data_ptr())),
        image_stride(tensor.stride(0)),
        stride(static_cast<int>(tensor.stride(1))) {}
  T* at(int64_t image, int64_t column) const { return data + image * image_stride + column; }
  /// A head's [n, d] side by side: rows a power of two apart would all fall into the same few lines of the cache.
  MatrixView<T> gathered(int64_t image, int64_t column, int n, int d, T* to) const {
    for (int i = 0; i < n; ++i) std::copy_n(at(image, column) + int64_t{i} * stride, d, to + int64_t{i} * d);
    return {to, d};
  }
};

template <typename T>
MatrixView<T> transposed(MatrixView<T> matrix) {
  matrix.transposed = !matrix.transposed;
  return matrix;
}

/// Rows may lie apart, columns not.
at::Tensor usable(const at::Tensor& tensor) { return tensor.stride(2) == 1 ? tensor : tensor.contiguous(); }

struct Shape {
  int64_t images, tokens, heads, width;  // width of a head
  double scale() const { return 1 / std::sqrt(static_cast<double>(width)); }
  int64_t weights() const { return tokens * tokens; }
};

template <typename Body>
void for_each_head(const Shape& shape, Body body) {
  deal(shape.images * shape.heads, [&](int64_t i) { body(i / shape.heads, i % shape.heads); });
}

/// Memory of a thread that outlives the call: fresh pages cost as much as the arithmetic.
template <typename T>
T* scratch(int64_t count) {
  thread_local std::vector<T> memory;
  if (memory.size() < static_cast<size_t>(count)) memory.resize(static_cast<size_t>(count));
  return memory.data();
}

template <typename T>
void attend(const Shape& shape, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask,
            const Dropout& dropout, at::Tensor& out, at::Tensor& log_sum) {
  const Operand<T> queries(q), keys(k), values(v), to(out);
  const T* added = mask.defined() ? mask.const_data_ptr<T>() : nullptr;
  const int n = static_cast<int>(shape.tokens), d = static_cast<int>(shape.width);
  const auto masks = masks_of(dropout, shape.images);
  for_each_head(shape, [&](int64_t image, int64_t head) {
    const int64_t column = head * d, size = shape.tokens * d;
    T* weights = scratch<T>(shape.weights() + 3 * size);
    T* own = weights + shape.weights();
    const auto query = queries.gathered(image, column, n, d, own), key = keys.gathered(image, column, n, d, own + size);
    const auto value = values.gathered(image, column, n, d, own + 2 * size);
    gemm<T>(n, n, d, static_cast<T>(shape.scale()), query, transposed(key), 0, weights, n);
    softmax_rows(weights, added, log_sum.data_ptr<T>() + (image * shape.heads + head) * n, n);
    if (masks) masks->apply(image, head * shape.weights(), weights, weights, shape.weights());
    gemm<T>(n, d, n, 1, {weights, n}, value, 0, to.at(image, column), to.stride);
  });
}

struct Gradients {
  at::Tensor q, k, v;
};

template <typename T>
void attend_backward(const Shape& shape, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const at::Tensor& mask, const Dropout& dropout, const at::Tensor& log_sum,
                     const at::Tensor& gradient, Gradients& to) {
  const Operand<T> queries(q), keys(k), values(v), given(gradient), to_q(to.q), to_k(to.k), to_v(to.v);
  const T* added = mask.defined() ? mask.const_data_ptr<T>() : nullptr;
  const int n = static_cast<int>(shape.tokens), d = static_cast<int>(shape.width);
  const auto masks = masks_of(dropout, shape.images);
  const T scale = static_cast<T>(shape.scale());
  for_each_head(shape, [&](int64_t image, int64_t head) {
    const int64_t column = head * d, size = shape.tokens * d;
    T* weights = scratch<T>(3 * shape.weights() + 4 * size);  // p
    T* kept = weights + shape.weights();                      // dropout's factors, then what they leave
    T* slope = kept + shape.weights();                        // ∂/∂p, then ∂/∂logits
    T* own = slope + shape.weights();
    const auto query = queries.gathered(image, column, n, d, own), key = keys.gathered(image, column, n, d, own + size);
    const auto value = values.gathered(image, column, n, d, own + 2 * size);
    const auto g = given.gathered(image, column, n, d, own + 3 * size);
    gemm<T>(n, n, d, scale, query, transposed(key), 0, weights, n);
    known_softmax_rows(weights, added, log_sum.const_data_ptr<T>() + (image * shape.heads + head) * n, n);
    gemm<T>(n, n, d, 1, g, transposed(value), 0, slope, n);
    const T* used = weights;
    if (masks) {
      std::fill_n(kept, shape.weights(), T(1));
      masks->apply(image, head * shape.weights(), kept, kept, shape.weights());
      multiply(kept, slope, shape.weights());
      multiply(weights, kept, shape.weights());
      used = kept;
    }
    gemm<T>(n, d, n, 1, {used, n, true}, g, 0, to_v.at(image, column), to_v.stride);
    softmax_gradient_rows(weights, slope, n);
    gemm<T>(n, d, n, scale, {slope, n}, key, 0, to_q.at(image, column), to_q.stride);
    gemm<T>(n, d, n, scale, {slope, n, true}, query, 0, to_k.at(image, column), to_k.stride);
  });
}

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct AttentionFunction : torch::autograd::Function<AttentionFunction> {
  static Shape shape_of(const at::Tensor& q, int64_t heads) { return {q.size(0), q.size(1), heads, q.size(2) / heads}; }
  static at::Tensor forward(AutogradContext* context, const at::Tensor& queries, const at::Tensor& keys,
                            const at::Tensor& values, const LayerSetting& how) {
    const int64_t heads = how.heads;
    const at::Tensor& mask = how.mask;
    const Dropout& dropout = how.dropout;
    const at::Tensor q = usable(queries), k = usable(keys), v = usable(values);
    const Shape shape = shape_of(q, heads);
    at::Tensor out = at::empty(q.sizes(), q.options().requires_grad(false));
    at::Tensor log_sum = at::empty({shape.images, heads, shape.tokens}, out.options());
    q.scalar_type() == at::kFloat ? attend<float>(shape, q, k, v, mask, dropout, out, log_sum)
                                  : attend<double>(shape, q, k, v, mask, dropout, out, log_sum);
    context->save_for_backward({q, k, v, mask, log_sum});
    context->saved_data["heads"] = heads;
    context->saved_data["dropout"] = to_value(dropout);
    return out;
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2];
    const Shape shape = shape_of(q, context->saved_data["heads"].toInt());
    const Dropout dropout = dropout_of(context->saved_data["dropout"]);
    const auto options = q.options().requires_grad(false);
    Gradients to{at::empty(q.sizes(), options), at::empty(k.sizes(), options), at::empty(v.sizes(), options)};
    const at::Tensor gradient = usable(gradients[0]);
    q.scalar_type() == at::kFloat ? attend_backward<float>(shape, q, k, v, saved[3], dropout, saved[4], gradient, to)
                                  : attend_backward<double>(shape, q, k, v, saved[3], dropout, saved[4], gradient, to);
    return {to.q, to.k, to.v, at::Tensor()};
  }
};

}  // namespace

at::Tensor fused_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, LayerSetting& how) {
  const at::Tensor out = AttentionFunction::apply(q, k, v, how);
  if (how.dropout.active()) ++how.dropout.site;
  return out;
}

}  // namespace hivq
