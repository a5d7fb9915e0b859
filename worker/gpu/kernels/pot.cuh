// POT (model/pot.h), as model/fused_pot.cpp has it. Of each row (a token) and column (a prototype): the greatest
// logit, 1 / Σ e^(l − greatest), and the mean of the cost under that softmax.

template <typename T>
struct PotStatistics {
  T* values;  // [4, count]: tops, inverse sums, mean costs, inverse norms
  long long count;
  __device__ T& top(long long i) const { return values[i]; }
  __device__ T& inverse(long long i) const { return values[count + i]; }
  __device__ T& mean(long long i) const { return values[2 * count + i]; }
  __device__ T& norm(long long i) const { return values[3 * count + i]; }
};

// 1 / ‖x‖, at most 1e12: a norm of 0 has no direction.
template <typename T>
__device__ T inverse_norm(T square) {
  return square > (T)1e-24 ? rsqrt(square) : (T)1e12;
}

// A row a warp.
template <typename T, typename Low>
__global__ void pot_rows(const T* product, const T* tokens, const T* squared_norm, const long long* group, T* rows_to,
                         long long rows, long long of_image, long long prototypes, long long width) {
  const unsigned row = warp_of_grid();
  if (row >= rows) return;
  const unsigned lane = lane_of_warp();
  const PotStatistics<T> to{rows_to, rows};
  squared_norm += (group == nullptr ? 0 : group[row / (unsigned)of_image]) * prototypes;
  product += row * prototypes, tokens += row * width;
  T square = 0, top = (T)-3e38;
  each_column(width, [&](int j) { square += tokens[j] * tokens[j]; });
  const T norm = inverse_norm(warp_sum(square)), scale = (T)1 / prototypes;
  each_column(prototypes, [&](int k) { top = product[k] * scale > top ? product[k] * scale : top; });
  top = warp_max(top);
  T sum = 0, cost = 0;
  each_column(prototypes, [&](int k) {
    const T share = exp(product[k] * scale - top);
    sum += share;
    cost += share * (1 - product[k] * norm * inverse_norm(squared_norm[k]));
  });
  sum = warp_sum(sum), cost = warp_sum(cost);
  if (lane != 0) return;
  to.top(row) = top, to.inverse(row) = 1 / sum, to.mean(row) = cost / sum, to.norm(row) = norm;
}

// After pot_rows. Blocks of 32 columns × kLowHeight, one image each.
template <typename T, typename Low>
__global__ void pot_columns(const T* product, const T* squared_norm, const long long* group, T* rows_from,
                            T* columns_to, long long images, long long of_image, long long prototypes) {
  __shared__ T parts[2][kLowHeight][32];
  const long long k = blockIdx.x * 32 + threadIdx.x, image = blockIdx.y, column = image * prototypes + k;
  const PotStatistics<T> rows{rows_from, images * of_image}, to{columns_to, images * prototypes};
  const bool inside = k < prototypes;
  const T scale = (T)1 / prototypes;
  product += image * of_image * prototypes + k;
  T top = (T)-3e38;
  for (unsigned i = threadIdx.y; inside && i < of_image; i += kLowHeight) {
    const T logit = product[i * prototypes] * scale;
    top = logit > top ? logit : top;
  }
  parts[0][threadIdx.y][threadIdx.x] = top;
  __syncthreads();
  for (unsigned i = 0; i < kLowHeight; ++i) top = parts[0][i][threadIdx.x] > top ? parts[0][i][threadIdx.x] : top;
  __syncthreads();
  T norm = 0, sum = 0, cost = 0;
  if (inside) norm = inverse_norm(squared_norm[(group == nullptr ? 0 : group[image]) * prototypes + k]);
  for (unsigned i = threadIdx.y; inside && i < of_image; i += kLowHeight) {
    const T x = product[i * prototypes], share = exp(x * scale - top);
    sum += share;
    cost += share * (1 - x * rows.norm(image * of_image + i) * norm);
  }
  parts[0][threadIdx.y][threadIdx.x] = sum;
  parts[1][threadIdx.y][threadIdx.x] = cost;
  __syncthreads();
  if (threadIdx.y != 0 || !inside) return;
  for (unsigned i = 1; i < kLowHeight; ++i) sum += parts[0][i][threadIdx.x], cost += parts[1][i][threadIdx.x];
  to.top(column) = top, to.inverse(column) = 1 / sum, to.mean(column) = cost / sum, to.norm(column) = norm;
}

// The gradients of g [b] times the loss, to the products and, through their norms, to the tokens. A row a warp.
template <typename T, typename Low>
__global__ void pot_backward(const T* __restrict__ product, const T* __restrict__ tokens, T* rows_from, T* columns_from,
                             const T* g, T* __restrict__ to_product, T* __restrict__ to_tokens, long long images,
                             long long of_image, long long prototypes, long long width) {
  const unsigned row = warp_of_grid(), image = row / (unsigned)of_image;
  if (row >= images * of_image) return;
  const PotStatistics<T> rows{rows_from, images * of_image}, columns{columns_from, images * prototypes};
  const T scale = (T)1 / prototypes, norm = rows.norm(row), top = rows.top(row), mean = rows.mean(row);
  const T per_token = g[image] / of_image * rows.inverse(row), per_prototype = g[image] * scale;
  product += row * prototypes, to_product += row * prototypes;
  T to_norm = 0;
  each_column(prototypes, [&](int k) {
    const long long column = image * prototypes + k;
    const T logit = product[k] * scale, along = product[k] * columns.norm(column), cost = 1 - along * norm;
    const T a = exp(logit - top) * per_token;
    const T b = exp(logit - columns.top(column)) * columns.inverse(column) * per_prototype;
    to_product[k] =
        (a * (cost - mean) + b * (cost - columns.mean(column))) * scale - (a + b) * norm * columns.norm(column);
    to_norm -= (a + b) * along;
  });
  // ∂(1/‖h‖)/∂h = −h/‖h‖³; none where the norm is below `tiny`.
  to_norm = warp_sum(to_norm);
  const T slope = norm < (T)9e11 ? -to_norm * norm * norm * norm : 0;
  each_column(width, [&](int j) { to_tokens[row * width + j] = slope * tokens[row * width + j]; });
}
