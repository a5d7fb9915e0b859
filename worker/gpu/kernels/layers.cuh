// Tokens [b, N, D] and where they are used: as they are, rounded for multiplying (`low`, where Low is not T), and
// with the position [T, N, D] added (`placed`). Null: not wanted. A row a warp.

// low ← x, placed ← x + position.
template <typename T, typename Low>
__global__ void place(const T* __restrict__ x, const T* __restrict__ position, Low* __restrict__ low,
                      Low* __restrict__ placed, long long rows, long long width, long long tokens,
                      long long trial_rows) {
  const unsigned row = warp_of_grid();
  if (row >= rows) return;
  x += row * width;
  position += (row / (unsigned)trial_rows * tokens + row % (unsigned)tokens) * width;
  each_column(width, [&](int j) {
    if (low != nullptr) put(low + row * width + j, x[j]);
    put(placed + row * width + j, x[j] + position[j]);
  });
}

// The sum of what came back.
template <typename T, typename Low>
__global__ void place_backward(const Low* g_low, const Low* g_placed, T* to, long long total) {
  const unsigned at = thread_of_grid();
  if (at >= total) return;
  to[at] = (g_low != nullptr ? (T)g_low[at] : 0) + (g_placed != nullptr ? (T)g_placed[at] : 0);
}

// out ← LayerNorm(x + dropout(y)). s: the sum, normalised; inverse: 1 / its deviation.
template <typename T, typename Low, int kHeld>
__global__ void residual_norm(const T* __restrict__ x, const Low* __restrict__ y, const T* __restrict__ weight,
                              const T* __restrict__ bias, const T* __restrict__ position, T* __restrict__ s,
                              T* __restrict__ out, Low* __restrict__ low, Low* __restrict__ placed,
                              T* __restrict__ inverse, long long rows, long long width, long long tokens,
                              long long trial_rows, DropoutStreams streams, const long long* step) {
  const unsigned row = warp_of_grid();
  if (row >= rows) return;
  const unsigned image = row / (unsigned)tokens, token = row % (unsigned)tokens, trial = row / (unsigned)trial_rows;
  const unsigned of_image = token * (unsigned)width;
  const int lane = (int)lane_of_warp();
  const long long begin = row * width;
  weight += trial * width, bias += trial * width, position += (trial * tokens + token) * width;
  Held<T, kHeld> held, branch;
  held.load(x + begin, lane, width);
  branch.load(y + begin, lane, width);
  Factors<T> factors(streams, image, step);
  T sum = 0, square = 0;
  held.each(lane, width, [&](T& value, int i, int j) {
    value += branch.values[i] * factors(of_image + j);
    sum += value;
  });
  const T mean = warp_sum(sum) / width;
  held.each(lane, width, [&](T value, int, int) { square += (value - mean) * (value - mean); });
  const T scale = 1 / sqrt(warp_sum(square) / width + (T)1e-5);  // torch.nn.LayerNorm's
  held.each(lane, width, [&](T& value, int, int j) {
    const T normal = (value - mean) * scale;
    s[begin + j] = normal;
    value = normal * weight[j] + bias[j];
    out[begin + j] = value;
  });
  if (low != nullptr) held.each(lane, width, [&](T value, int, int j) { put(low + begin + j, value); });
  if (placed != nullptr)
    held.each(lane, width, [&](T value, int, int j) { put(placed + begin + j, value + position[j]); });
  if (lane == 0) inverse[row] = scale;
}

// `total`: the sum of the three gradients of the result, each of which may be null.
template <typename T, typename Low, int kHeld>
__global__ void residual_norm_backward(const T* __restrict__ g, const Low* __restrict__ g_low,
                                       const Low* __restrict__ g_placed, const T* __restrict__ s,
                                       const T* __restrict__ inverse, const T* __restrict__ weight,
                                       T* __restrict__ total, T* __restrict__ to_x, Low* __restrict__ to_y,
                                       long long rows, long long width, long long tokens, long long trial_rows,
                                       DropoutStreams streams, const long long* step) {
  const unsigned row = warp_of_grid();
  if (row >= rows) return;
  const unsigned of_image = row % (unsigned)tokens * (unsigned)width;
  const int lane = (int)lane_of_warp();
  const long long begin = row * width;
  weight += row / (unsigned)trial_rows * width;
  Held<T, kHeld> held, normal;
  normal.load(s + begin, lane, width);
  held.load(g != nullptr ? g + begin : s, lane, g != nullptr ? width : 0);
  held.add(g_low != nullptr ? g_low + begin : nullptr, lane, width);
  held.add(g_placed != nullptr ? g_placed + begin : nullptr, lane, width);
  T sum = 0, along = 0;
  held.each(lane, width, [&](T& value, int i, int j) {
    total[begin + j] = value;
    value *= weight[j];
    sum += value;
    along += value * normal.values[i];
  });
  Factors<T> factors(streams, row / (unsigned)tokens, step);
  const T mean = warp_sum(sum) / width, mean_along = warp_sum(along) / width, scale = inverse[row];
  held.each(lane, width, [&](T value, int i, int j) {
    const T slope = scale * (value - mean - normal.values[i] * mean_along);
    to_x[begin + j] = slope;
    put(to_y + begin + j, slope * factors(of_image + j));
  });
}

// Sums over the rows of each trial, [T, width] with the trials `trial_stride` apart. Blocks of 32 ×
// kHeight.

// Each of a thread's rows, counted as each_column()'s columns.
template <typename Use>
__device__ void each_row(long long rows, Use use) {
  const int turns = ((int)rows - (int)threadIdx.y + (int)kHeight - 1) / (int)kHeight;
  HIVQ_UNROLL_8
  for (int i = 0; i < turns; ++i) use((long long)threadIdx.y + (int)kHeight * i);
}

template <typename T>
__device__ T sum_of_column(T mine) {
  __shared__ T parts[kHeight][33];
  parts[threadIdx.y][threadIdx.x] = mine;
  __syncthreads();
  T sum = 0;
  if (threadIdx.y == 0) {
    for (unsigned i = 0; i < kHeight; ++i) sum += parts[i][threadIdx.x];
  }
  __syncthreads();
  return sum;
}

template <typename T, typename Low>
__global__ void column_sums(const Low* g, T* to, long long trial_rows, long long width, long long trial_stride) {
  const long long column = blockIdx.x * 32 + threadIdx.x, trial = blockIdx.y;
  T sum = 0;
  if (column < width) {
    each_row(trial_rows, [&](long long row) { sum += (T)g[(trial * trial_rows + row) * width + column]; });
  }
  sum = sum_of_column(sum);
  if (threadIdx.y == 0 && column < width) to[trial * trial_stride + column] = sum;
}

// Of a LayerNorm's weight, g s, and bias, g.
template <typename T, typename Low>
__global__ void norm_parameters(const T* g, const T* s, T* to_weight, T* to_bias, long long trial_rows, long long width,
                                long long weight_stride, long long bias_stride) {
  const long long column = blockIdx.x * 32 + threadIdx.x, trial = blockIdx.y;
  T weight = 0, bias = 0;
  if (column < width) {
    each_row(trial_rows, [&](long long row) {
      const long long at = (trial * trial_rows + row) * width + column;
      weight += g[at] * s[at];
      bias += g[at];
    });
  }
  weight = sum_of_column(weight);
  bias = sum_of_column(bias);
  if (threadIdx.y != 0 || column >= width) return;
  to_weight[trial * weight_stride + column] = weight;
  to_bias[trial * bias_stride + column] = bias;
}

// Sums of values [b, size] over the images of each group: to [groups, size]. A row of blocks a group.
template <typename T, typename Low>
__global__ void sum_by_group(const T* values, const long long* group, T* to, long long images, long long size) {
  const unsigned at = thread_of_grid();
  if (at >= size) return;
  T sum = 0;
  for (long long image = 0; image < images; ++image) {
    if (group[image] == blockIdx.y) sum += values[image * size + at];
  }
  to[blockIdx.y * size + at] = sum;
}
