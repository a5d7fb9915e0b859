#include "worker/model/fused_pot.h"

#include <torch/torch.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "worker/model/dealt.h"
#include "worker/model/vector_clones.h"
#include "worker/model/vector_math.h"

namespace hivq {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// One image: N tokens, K prototypes. With logits l = product / K, a = softmax over k and b = softmax over i of l,
/// c = 1 − product u_i v_k: the loss is Σ c (a / N + b / K).
template <typename T>
struct Image {
  const T* product;  // [N, K]
  const T* u;        // [N]
  const T* v;        // [K]
  int64_t tokens, prototypes;
};

/// Of the softmaxes: the greatest logit and 1 / Σ e^(l − greatest) of each row and column; and the means of c under
/// them.
template <typename T>
struct Softmaxes {
  std::vector<T> row_top, row_scale, row_mean, column_top, column_scale, column_mean;
  explicit Softmaxes(int64_t tokens, int64_t prototypes)
      : row_top(static_cast<size_t>(tokens)),
        row_scale(row_top),
        row_mean(row_top),
        column_top(static_cast<size_t>(prototypes), -std::numeric_limits<T>::infinity()),
        column_scale(static_cast<size_t>(prototypes), 0),
        column_mean(column_scale) {}
};

constexpr int64_t kLanes = 16;  // independent partial results, which a vector unit takes at once

template <typename T>
[[gnu::always_inline]] inline void find_tops(const Image<T>& image, Softmaxes<T>& s) {
  const T scale = 1 / static_cast<T>(image.prototypes);
  T* column = s.column_top.data();
  for (int64_t i = 0; i < image.tokens; ++i) {
    const T* row = image.product + i * image.prototypes;
    T top = -std::numeric_limits<T>::infinity();
    for (int64_t k = 0; k < image.prototypes; ++k) {
      const T logit = row[k] * scale;
      top = logit > top ? logit : top;
      column[k] = logit > column[k] ? logit : column[k];
    }
    s.row_top[static_cast<size_t>(i)] = top;
  }
}

/// Returns the loss.
template <typename T>
[[gnu::always_inline]] inline T sum_up(const Image<T>& image, Softmaxes<T>& s) {
  const T scale = 1 / static_cast<T>(image.prototypes);
  const int64_t whole = image.prototypes / kLanes * kLanes;
  T of_rows = 0;
  for (int64_t i = 0; i < image.tokens; ++i) {
    const T* row = image.product + i * image.prototypes;
    const T top = s.row_top[static_cast<size_t>(i)], u = image.u[i];
    T sums[kLanes] = {}, costs[kLanes] = {};
    const auto add = [&](int64_t k, int64_t lane) {
      const T logit = row[k] * scale, cost = 1 - row[k] * u * image.v[k];
      const T along_row = exponential(logit - top), along_column = exponential(logit - s.column_top.data()[k]);
      sums[lane] += along_row;
      costs[lane] += along_row * cost;
      s.column_scale.data()[k] += along_column;
      s.column_mean.data()[k] += along_column * cost;
    };
    for (int64_t k = 0; k < whole; k += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) add(k + lane, lane);
    }
    for (int64_t k = whole; k < image.prototypes; ++k) add(k, 0);
    T sum = 0, cost = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) sum += sums[lane], cost += costs[lane];
    s.row_scale[static_cast<size_t>(i)] = 1 / sum;
    s.row_mean[static_cast<size_t>(i)] = cost / sum;
    of_rows += cost / sum;
  }
  T of_columns = 0;
  for (size_t k = 0; k < s.column_scale.size(); ++k) {
    s.column_scale[k] = 1 / s.column_scale[k];
    s.column_mean[k] *= s.column_scale[k];
    of_columns += s.column_mean[k];
  }
  return of_rows / static_cast<T>(image.tokens) + of_columns / static_cast<T>(image.prototypes);
}

/// The gradients of g times the loss: to_product [N, K], to_u [N].
template <typename T>
[[gnu::always_inline]] inline void gradient_of(const Image<T>& image, const Softmaxes<T>& s, T g, T* to_product,
                                               T* to_u) {
  const T scale = 1 / static_cast<T>(image.prototypes);
  const T per_token = g / static_cast<T>(image.tokens), per_prototype = g / static_cast<T>(image.prototypes);
  for (int64_t i = 0; i < image.tokens; ++i) {
    const T* row = image.product + i * image.prototypes;
    T* to = to_product + i * image.prototypes;
    const T top = s.row_top[static_cast<size_t>(i)], row_scale = s.row_scale[static_cast<size_t>(i)] * per_token;
    const T row_mean = s.row_mean[static_cast<size_t>(i)], u = image.u[i];
    to_u[i] = lane_sum<T>(image.prototypes, [&](int64_t k) {
      const T logit = row[k] * scale, along = row[k] * image.v[k], cost = 1 - along * u;
      const T a = exponential(logit - top) * row_scale;
      const T b = exponential(logit - s.column_top.data()[k]) * s.column_scale.data()[k] * per_prototype;
      to[k] = (a * (cost - row_mean) + b * (cost - s.column_mean.data()[k])) * scale - (a + b) * u * image.v[k];
      return -(a + b) * along;
    });
  }
}

// target_clones does not take templates.
#define HIVQ_POT(T)                                                                                          \
  HIVQ_VECTOR_CLONES T loss_of(const Image<T>& image, Softmaxes<T>& softmaxes) {                             \
    find_tops(image, softmaxes);                                                                             \
    return sum_up(image, softmaxes);                                                                         \
  }                                                                                                          \
  HIVQ_VECTOR_CLONES void gradient(const Image<T>& image, const Softmaxes<T>& softmaxes, T g, T* to_product, \
                                   T* to_u) {                                                                \
    gradient_of(image, softmaxes, g, to_product, to_u);                                                      \
  }
HIVQ_POT(float)
HIVQ_POT(double)
#undef HIVQ_POT

template <typename T>
Image<T> image_of(const at::Tensor& product, const at::Tensor& u, const at::Tensor& v, int64_t image) {
  const int64_t tokens = product.size(1), prototypes = product.size(2);
  return {product.const_data_ptr<T>() + image * tokens * prototypes, u.const_data_ptr<T>() + image * tokens,
          v.const_data_ptr<T>() + image * prototypes, tokens, prototypes};
}

struct PotFunction : torch::autograd::Function<PotFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& products, const at::Tensor& inverse_token,
                            const at::Tensor& inverse_prototype) {
    const at::Tensor product = products.contiguous(), u = inverse_token.contiguous(),
                     v = inverse_prototype.contiguous();
    at::Tensor loss = at::empty({product.size(0)}, product.options().requires_grad(false));
    const auto run = [&]<typename T>(T* to) {
      deal(product.size(0), [&](int64_t i) {
        Softmaxes<T> softmaxes(product.size(1), product.size(2));
        to[i] = loss_of(image_of<T>(product, u, v, i), softmaxes);
      });
    };
    product.scalar_type() == at::kFloat ? run(loss.mutable_data_ptr<float>()) : run(loss.mutable_data_ptr<double>());
    context->save_for_backward({product, u, v});
    return loss;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &product = saved[0], &u = saved[1], &v = saved[2], g = gradients[0].contiguous();
    at::Tensor to_product = at::empty(product.sizes(), product.options().requires_grad(false));
    at::Tensor to_u = at::empty(u.sizes(), to_product.options());
    const auto run = [&]<typename T>(const T* given) {
      T *products = to_product.mutable_data_ptr<T>(), *tokens = to_u.mutable_data_ptr<T>();
      deal(product.size(0), [&](int64_t i) {
        const Image<T> image = image_of<T>(product, u, v, i);
        Softmaxes<T> softmaxes(image.tokens, image.prototypes);
        loss_of(image, softmaxes);
        gradient(image, softmaxes, given[i], products + i * image.tokens * image.prototypes, tokens + i * image.tokens);
      });
    };
    product.scalar_type() == at::kFloat ? run(g.const_data_ptr<float>()) : run(g.const_data_ptr<double>());
    return {to_product, to_u, at::Tensor()};
  }
};

}  // namespace

at::Tensor fused_pot_loss(const at::Tensor& product, const at::Tensor& inverse_token,
                          const at::Tensor& inverse_prototype) {
  return PotFunction::apply(product, inverse_token, inverse_prototype);
}

}  // namespace hivq
