// Our own kernels for GPUs. NVRTC compiles them on the machine that they run on (kernels.cpp); the tests run them on the
// CPU, too. T: float or double, of what is computed; Low: T, or Bfloat16, of what is multiplied in it. Where a warp has a
// row to itself, its lanes take columns 32 apart.

#include "worker/gpu/dropout_streams.h"

#ifdef __CUDACC__
#define HIVQ_UNROLL _Pragma("unroll")
#define HIVQ_UNROLL_8 _Pragma("unroll 8")
#else
#define HIVQ_UNROLL
#define HIVQ_UNROLL_8
#endif

// Of the blocks whose threads wait for each other.
#ifndef HIVQ_BLOCK_HEIGHT
#define HIVQ_BLOCK_HEIGHT 32
#endif
constexpr unsigned kHeight = HIVQ_BLOCK_HEIGHT, kLowHeight = kHeight < 8 ? kHeight : 8;

using hivq::DropoutStreams;

// ---- numbers

struct Bfloat16 {
  unsigned short bits;
  __device__ operator float() const { return __uint_as_float((unsigned)bits << 16); }
};

__device__ void put(float* to, float x) { *to = x; }
__device__ void put(double* to, double x) { *to = x; }
// Rounded to the nearest, of two to the even one.
__device__ void put(Bfloat16* to, float x) {
  const unsigned bits = __float_as_uint(x);
  to->bits = x != x ? 0x7fff : (unsigned short)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

// ---- of a warp

constexpr unsigned kAllLanes = 0xffffffffu;

template <typename T>
__device__ T warp_sum(T x) {
  for (int apart = 16; apart > 0; apart /= 2) x += __shfl_xor_sync(kAllLanes, x, apart);
  return x;
}

template <typename T>
__device__ T warp_max(T x) {
  for (int apart = 16; apart > 0; apart /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, x, apart);
    x = other > x ? other : x;
  }
  return x;
}

__device__ unsigned thread_of_grid() { return blockIdx.x * blockDim.x + threadIdx.x; }
__device__ unsigned warp_of_grid() { return thread_of_grid() / 32; }
__device__ unsigned lane_of_warp() { return threadIdx.x % 32; }

// A row's elements begin, begin + 32, … of a lane, kept in registers between the passes over them: kHeld of them. What
// lies before the row is left out, too.
template <int kHeld, typename Use>
__device__ void each_held(int begin, unsigned columns, Use use) {
  HIVQ_UNROLL
  for (int i = 0; i < kHeld; ++i) {
    const unsigned j = (unsigned)(begin + 32 * i);
    if (j < columns) use(i, j);
  }
}

// ---- dropout, with the masks of model/dropout.cpp

struct Words {
  unsigned a, b, c, d;
  // Of element 32 i of the block's eight.
  __device__ unsigned half(int i) const {
    const unsigned even = i & 2 ? c : a, odd = i & 2 ? d : b, word = i & 1 ? odd : even;
    return i & 4 ? word >> 16 : word & 0xffffu;
  }
};

// Not inlined: where a loop over a row is unrolled, ten rounds in each of its steps fill the instructions' cache.
__device__ __noinline__ Words philox(unsigned block, unsigned image, unsigned step, unsigned site, unsigned key0,
                                     unsigned key1) {
  Words word{block, image, step, site};
  for (int round = 0; round < 10; ++round) {
    const unsigned long long first = word.a * 0xD2511F53ull, second = word.c * 0xCD9E8D57ull;
    word = {(unsigned)(second >> 32) ^ word.b ^ key0, (unsigned)second, (unsigned)(first >> 32) ^ word.d ^ key1,
            (unsigned)first};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return word;
}

// The factors of elements of one image. Those of a Philox block should be asked for one after another.
template <typename T>
struct Factors {
  unsigned image, step, site, key0, key1, threshold;
  unsigned drawn = 0xffffffffu;
  T scale;
  Words words;

  __device__ Factors(const DropoutStreams& streams, unsigned of_image, const long long* at_step) {
    const unsigned images = (unsigned)streams.images, trial = of_image / images;
    image = streams.first_image[trial] + of_image % images;
    threshold = streams.threshold[trial];
    step = threshold == 0 ? 0 : (unsigned)*at_step;
    site = streams.site, key0 = streams.key0[trial], key1 = streams.key1[trial];
    scale = (T)streams.scale[trial];
  }
  __device__ T operator()(unsigned element) {
    if (threshold == 0) return 1;
    const unsigned block = element / 256 * 32 + element % 32;
    if (block != drawn) words = philox(block, image, step, site, key0, key1);
    drawn = block;
    return words.half((int)(element / 32 % 8)) < threshold ? 0 : scale;
  }
};

// A thread takes the 8 elements of one Philox block of an image [count]. `blocks`: of an image.
template <typename T, typename Low, bool kRelu>
__device__ void drop_block(const Low* in, Low* out, long long count, long long blocks, long long images,
                           const DropoutStreams& streams, const long long* step) {
  const unsigned thread = thread_of_grid(), image = thread / (unsigned)blocks, block = thread % (unsigned)blocks;
  if (image >= images) return;
  Factors<T> factors(streams, image, step);
  in += image * count;
  out += image * count;
HIVQ_UNROLL
  for (int i = 0; i < 8; ++i) {
    const unsigned at = block / 32 * 256 + block % 32 + 32 * i;
    if (at >= count) return;
    const T x = in[at];
    put(out + at, (kRelu && x <= 0 ? 0 : x) * factors(at));
  }
}

template <typename T, typename Low>
__global__ void dropout(const Low* in, Low* out, long long count, long long blocks, long long images,
                        DropoutStreams streams, const long long* step) {
  drop_block<T, Low, false>(in, out, count, blocks, images, streams, step);
}

template <typename T, typename Low>
__global__ void relu_dropout(const Low* in, Low* out, long long count, long long blocks, long long images,
                             DropoutStreams streams, const long long* step) {
  drop_block<T, Low, true>(in, out, count, blocks, images, streams, step);
}

// What the mask dropped is 0 in `out`, as what the ReLU did. A row of blocks a trial.
template <typename T, typename Low>
__global__ void relu_dropout_backward(const Low* g, const Low* out, Low* to, long long of_trial,
                                      DropoutStreams streams) {
  const T scale = (T)streams.scale[blockIdx.y];
  const long long begin = blockIdx.y * of_trial;
  g += begin, out += begin, to += begin;
  for (unsigned at = thread_of_grid(); at < of_trial; at += gridDim.x * blockDim.x)
    put(to + at, out[at] > 0 ? g[at] * scale : 0);
}

// ---- tokens [b, N, D] and where they are used: as they are, rounded for multiplying (`low`, where Low is not T), and
// with the position [T, N, D] added (`placed`). Null: not wanted. A row a warp.

// low ← x, placed ← x + position.
template <typename T, typename Low>
__global__ void place(const T* x, const T* position, Low* low, Low* placed, long long rows, long long width,
                      long long tokens, long long trial_rows) {
  const unsigned row = warp_of_grid();
  if (row >= rows) return;
  x += row * width;
  position += (row / (unsigned)trial_rows * tokens + row % (unsigned)tokens) * width;
  for (unsigned j = lane_of_warp(); j < width; j += 32) {
    if (low != nullptr) put(low + row * width + j, x[j]);
    put(placed + row * width + j, x[j] + position[j]);
  }
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
__global__ void residual_norm(const T* x, const Low* y, const T* weight, const T* bias, const T* position, T* s, T* out,
                              Low* low, Low* placed, T* inverse, long long rows, long long width, long long tokens,
                              long long trial_rows, DropoutStreams streams, const long long* step) {
  const unsigned row = warp_of_grid(), lane = lane_of_warp();
  if (row >= rows) return;
  const unsigned image = row / (unsigned)tokens, token = row % (unsigned)tokens, trial = row / (unsigned)trial_rows;
  const unsigned of_image = token * (unsigned)width;
  Factors<T> factors(streams, image, step);
  const long long begin = row * width;
  x += begin, y += begin;
  weight += trial * width, bias += trial * width, position += (trial * tokens + token) * width;
  T held[kHeld], sum = 0, square = 0;
  each_held<kHeld>(lane, width, [&](int i, unsigned j) {
    held[i] = x[j] + (T)y[j] * factors(of_image + j);
    sum += held[i];
  });
  const T mean = warp_sum(sum) / width;
  each_held<kHeld>(lane, width, [&](int i, unsigned) { square += (held[i] - mean) * (held[i] - mean); });
  const T scale = 1 / sqrt(warp_sum(square) / width + (T)1e-5);  // torch.nn.LayerNorm's
  each_held<kHeld>(lane, width, [&](int i, unsigned j) {
    const T normal = (held[i] - mean) * scale, value = normal * weight[j] + bias[j];
    s[begin + j] = normal;
    out[begin + j] = value;
    if (low != nullptr) put(low + begin + j, value);
    if (placed != nullptr) put(placed + begin + j, value + position[j]);
  });
  if (lane == 0) inverse[row] = scale;
}

// `total`: the sum of the three gradients of the result, each of which may be null.
template <typename T, typename Low, int kHeld>
__global__ void residual_norm_backward(const T* g, const Low* g_low, const Low* g_placed, const T* s, const T* inverse,
                                       const T* weight, T* total, T* to_x, Low* to_y, long long rows, long long width,
                                       long long tokens, long long trial_rows, DropoutStreams streams,
                                       const long long* step) {
  const unsigned row = warp_of_grid(), lane = lane_of_warp();
  if (row >= rows) return;
  const unsigned of_image = row % (unsigned)tokens * (unsigned)width;
  Factors<T> factors(streams, row / (unsigned)tokens, step);
  const long long begin = row * width;
  s += begin, weight += row / (unsigned)trial_rows * width;
  T held[kHeld], sum = 0, along = 0;
  each_held<kHeld>(lane, width, [&](int i, unsigned j) {
    T given = g != nullptr ? g[begin + j] : 0;
    if (g_low != nullptr) given += (T)g_low[begin + j];
    if (g_placed != nullptr) given += (T)g_placed[begin + j];
    total[begin + j] = given;
    held[i] = given * weight[j];
    sum += held[i];
    along += held[i] * s[j];
  });
  const T mean = warp_sum(sum) / width, mean_along = warp_sum(along) / width, scale = inverse[row];
  each_held<kHeld>(lane, width, [&](int i, unsigned j) {
    const T slope = scale * (held[i] - mean - s[j] * mean_along);
    to_x[begin + j] = slope;
    put(to_y + begin + j, slope * factors(of_image + j));
  });
}

// ---- sums over the rows of each trial, [T, width] with the trials `trial_stride` apart. Blocks of 32 ×
// kHeight.

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
    HIVQ_UNROLL_8
    for (unsigned row = threadIdx.y; row < trial_rows; row += kHeight)
      sum += (T)g[(trial * trial_rows + row) * width + column];
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
    HIVQ_UNROLL_8
    for (unsigned row = threadIdx.y; row < trial_rows; row += kHeight) {
      const long long at = (trial * trial_rows + row) * width + column;
      weight += g[at] * s[at];
      bias += g[at];
    }
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

// ---- attention. Heads have `padded` tokens, of which those from `tokens` on are 0: multiples of 8, as the units that
// multiply like.

// A tensor [b, N, heads · width] whose rows may lie apart.
struct Rows {
  void* data;
  long long image_stride, row_stride;
};

// Both ways between a row and the heads' rows. Two elements at once where that is possible.
template <typename Use>
__device__ void each_of_row(unsigned heads, unsigned width, Use use) {
  for (unsigned at = threadIdx.x; at < heads * width; at += blockDim.x) use(at, at / width, at % width);
}
template <typename Low>
struct alignas(2 * sizeof(Low)) Pair {
  Low a, b;
};

template <typename Low, typename Element>
__device__ void split_row(const Low* from, Low* to, long long of_head, unsigned heads, unsigned width, bool inside) {
  const unsigned each = sizeof(Element) / sizeof(Low);
  each_of_row(heads, width / each, [&](unsigned at, unsigned head, unsigned j) {
    ((Element*)(to + head * of_head))[j] = inside ? ((const Element*)from)[at] : Element{};
  });
}
template <typename Low, typename Element>
__device__ void merge_row(const Low* from, Low* to, long long of_head, unsigned heads, unsigned width) {
  const unsigned each = sizeof(Element) / sizeof(Low);
  each_of_row(heads, width / each, [&](unsigned at, unsigned head, unsigned j) {
    ((Element*)to)[at] = ((const Element*)(from + head * of_head))[j];
  });
}

// Up to three of them as heads side by side, out [tensors, b, heads, padded, width]; and the way back. A row a block,
// a tensor a row of blocks.
template <typename T, typename Low>
__global__ void split_heads(Rows first, Rows second, Rows third, Low* out, long long images, long long heads,
                            long long tokens, long long padded, long long width) {
  const Rows in = blockIdx.y == 0 ? first : blockIdx.y == 1 ? second : third;
  const unsigned image = blockIdx.x / (unsigned)padded, n = blockIdx.x % (unsigned)padded;
  const Low* from = (const Low*)in.data + image * in.image_stride + n * in.row_stride;
  Low* to = out + (((blockIdx.y * images + image) * heads) * padded + n) * width;
  if (width % 2 == 0) {
    split_row<Low, Pair<Low>>(from, to, padded * width, heads, width, n < tokens);
  } else {
    split_row<Low, Low>(from, to, padded * width, heads, width, n < tokens);
  }
}

template <typename T, typename Low>
__global__ void merge_heads(const Low* in, Rows first, Rows second, Rows third, long long images, long long heads,
                            long long tokens, long long padded, long long width) {
  const Rows out = blockIdx.y == 0 ? first : blockIdx.y == 1 ? second : third;
  const unsigned image = blockIdx.x / (unsigned)tokens, n = blockIdx.x % (unsigned)tokens;
  Low* to = (Low*)out.data + image * out.image_stride + n * out.row_stride;
  const Low* from = in + (((blockIdx.y * images + image) * heads) * padded + n) * width;
  if (width % 2 == 0) {
    merge_row<Low, Pair<Low>>(from, to, padded * width, heads, width);
  } else {
    merge_row<Low, Low>(from, to, padded * width, heads, width);
  }
}

// weights ← softmax(scale · logits + mask) by row, kept ← dropout of it. Rows [b, heads, padded] of `padded` columns;
// mask [tokens, tokens] or null. `kept` may be `weights` where nothing is dropped. A row a warp.
template <typename T, typename Low, int kHeld>
__global__ void softmax_dropout(const T* logits, const T* mask, Low* weights, Low* kept, long long rows,
                                long long heads, long long tokens, long long padded, double scale,
                                DropoutStreams streams, const long long* step) {
  const unsigned row = warp_of_grid(), lane = lane_of_warp();
  if (row >= rows) return;
  const unsigned of_image = row % (unsigned)(heads * padded), n = of_image % (unsigned)padded;
  logits += row * padded, weights += row * padded, kept += row * padded;
  const unsigned first = (n < tokens ? (unsigned)tokens : 0u) + lane;
  for (unsigned j = first; j < padded; j += 32) {
    put(weights + j, (T)0);
    put(kept + j, (T)0);
  }
  if (n >= tokens) return;
  const unsigned element = (of_image / (unsigned)padded * (unsigned)tokens + n) * (unsigned)tokens;
  const int begin = (int)lane - (int)(element % 32);  // a lane's elements are those of its Philox blocks
  if (mask != nullptr) mask += n * tokens;
  Factors<T> factors(streams, row / (unsigned)(heads * padded), step);
  T held[kHeld], top = (T)-3e38, sum = 0;
  each_held<kHeld>(begin, tokens, [&](int i, unsigned j) {
    held[i] = logits[j] * (T)scale + (mask != nullptr ? mask[j] : 0);
    top = held[i] > top ? held[i] : top;
  });
  top = warp_max(top);
  each_held<kHeld>(begin, tokens, [&](int i, unsigned) {
    held[i] = exp(held[i] - top);
    sum += held[i];
  });
  const T inverse = 1 / warp_sum(sum);
  each_held<kHeld>(begin, tokens, [&](int i, unsigned j) {
    put(weights + j, held[i] * inverse);
    put(kept + j, held[i] * inverse * factors(element + j));
  });
}

// From g, the gradient of `kept`, that of the logits; `to` may be g where both have one type.
template <typename T, typename Low, int kHeld>
__global__ void softmax_dropout_backward(const Low* weights, const Low* kept, const T* g, Low* to, long long rows,
                                         long long padded, double scale) {
  const unsigned row = warp_of_grid(), lane = lane_of_warp();
  if (row >= rows) return;
  weights += row * padded, kept += row * padded, g += row * padded, to += row * padded;
  T held[kHeld], sum = 0;
  each_held<kHeld>(lane, padded, [&](int i, unsigned j) {
    held[i] = (T)kept[j] * g[j];
    sum += held[i];
  });
  sum = warp_sum(sum);
  each_held<kHeld>(lane, padded, [&](int i, unsigned j) { put(to + j, (held[i] - (T)weights[j] * sum) * (T)scale); });
}

// ---- attention in tiles: bfloat16 factors, float sums; no weight is ever in the GPU's memory (Dao, ICLR 2024,
// "FlashAttention-2"; sums of gradients in a fixed order). A block of 32 × 4 has 64 rows of a head, a warp 16 of them.

// The masks of dropout as bits: bit i of an image's [blocks of 256 elements, 8 words] is set where element i stays. A
// block of elements a warp.
template <typename T, typename Low>
__global__ void dropout_bits(unsigned* bits, long long blocks, long long images, DropoutStreams streams,
                             const long long* step) {
  const unsigned warp = warp_of_grid(), lane = lane_of_warp(), image = warp / (unsigned)blocks;
  if (image >= images) return;
  const unsigned trial = image / (unsigned)streams.images, of_trial = image % (unsigned)streams.images;
  const Words words = philox(warp % (unsigned)blocks * 32 + lane, streams.first_image[trial] + of_trial,
                             (unsigned)*step, streams.site, streams.key0[trial], streams.key1[trial]);
  unsigned mine = 0;
  for (int i = 0; i < 8; ++i) {
    const unsigned word = __ballot_sync(kAllLanes, words.half(i) >= streams.threshold[trial]);
    if (lane == i) mine = word;
  }
  if (lane < 8) bits[warp * 8ll + lane] = mine;
}

// Two numbers, rounded, as a product takes them.
__device__ unsigned pack(float first, float second) {
  Bfloat16 a, b;
  put(&a, first);
  put(&b, second);
  return a.bits | (unsigned)b.bits << 16;
}

// A product of the matrix units: c [16, 8] += a [16, 16] b [16, 8]. Lane 4 g + t has of c rows g (0, 1) and g + 8 (2,
// 3), columns 2 t and 2 t + 1; of a pairs of the same rows in columns 2 t (0, 1) and 2 t + 8 (2, 3); of b pairs of rows
// 2 t (0) and 2 t + 8 (1) in column g.
#ifdef __CUDACC__
__device__ void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
#endif

constexpr int kTile = 64;
struct alignas(16) EightBfloat16 {
  unsigned short bits[8];
};

// 64 rows of a head in the block's memory. Rows 16 bytes longer than they need be fall on different banks.
template <int kWidth>
struct Tile {
  EightBfloat16 rows[kTile][kWidth / 8 + 1];

  // From row `first` on; rows beyond `tokens` are 0.
  __device__ void load(const Rows& from, unsigned image, unsigned column, unsigned first, unsigned tokens) {
    constexpr unsigned kEach = kWidth / 8;
    for (unsigned i = threadIdx.y * 32 + threadIdx.x; i < kTile * kEach; i += 128) {
      const unsigned row = i / kEach, part = i % kEach;
      const Bfloat16* source = (const Bfloat16*)from.data + image * from.image_stride +
                               (first + row) * from.row_stride + column + 8 * part;
      rows[row][part] = first + row < tokens ? *(const EightBfloat16*)source : EightBfloat16{};
    }
  }
  __device__ unsigned short at(unsigned row, unsigned column) const { return rows[row][column / 8].bits[column % 8]; }
  __device__ unsigned pair(unsigned row, unsigned column) const {  // of even columns
    return *(const unsigned*)&rows[row][column / 8].bits[column % 8];
  }
};

// A warp's 16 rows as the left factor of products.
template <int kWidth>
struct LeftRows {
  unsigned parts[kWidth / 16][4];

  __device__ void load(const Rows& from, unsigned image, unsigned column, unsigned first, unsigned tokens) {
    const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    HIVQ_UNROLL
    for (int k = 0; k < kWidth / 16; ++k) {
      HIVQ_UNROLL
      for (int i = 0; i < 4; ++i) {
        const unsigned row = first + g + i % 2 * 8, at = column + 16 * k + i / 2 * 8 + 2 * t;
        const Bfloat16* source = (const Bfloat16*)from.data + image * from.image_stride + row * from.row_stride + at;
        parts[k][i] = row < tokens ? *(const unsigned*)source : 0;
      }
    }
  }
};

// A warp's 16 rows of sums in kColumns columns.
template <int kColumns>
struct Sums {
  float values[kColumns / 8][4];

  __device__ void clear() {
    HIVQ_UNROLL
    for (int n = 0; n < kColumns / 8; ++n) {
      HIVQ_UNROLL
      for (int i = 0; i < 4; ++i) values[n][i] = 0;
    }
  }
  // Each value with its row among the warp's and its column.
  template <typename Use>
  __device__ void each(Use use) {
    const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    HIVQ_UNROLL
    for (int n = 0; n < kColumns / 8; ++n) {
      HIVQ_UNROLL
      for (int i = 0; i < 4; ++i) use(values[n][i], i / 2, g + i / 2 * 8, 8 * n + 2 * t + i % 2);
    }
  }
  // += left · tileᵀ: kColumns is kTile.
  template <int kWidth>
  __device__ void add(const LeftRows<kWidth>& left, const Tile<kWidth>& tile) {
    const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    HIVQ_UNROLL
    for (int n = 0; n < kColumns / 8; ++n) {
      HIVQ_UNROLL
      for (int k = 0; k < kWidth / 16; ++k) {
        const unsigned right[2] = {tile.pair(8 * n + g, 16 * k + 2 * t), tile.pair(8 * n + g, 16 * k + 2 * t + 8)};
        multiply(values[n], left.parts[k], right);
      }
    }
  }
  // += left · tile, the left factor rounded: kColumns is the tile's width.
  __device__ void add(const Sums<kTile>& left, const Tile<kColumns>& tile) {
    const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    HIVQ_UNROLL
    for (int k = 0; k < kTile / 16; ++k) {
      const auto& low = left.values[2 * k];
      const auto& high = left.values[2 * k + 1];
      const unsigned a[4] = {pack(low[0], low[1]), pack(low[2], low[3]), pack(high[0], high[1]),
                             pack(high[2], high[3])};
      HIVQ_UNROLL
      for (int n = 0; n < kColumns / 8; ++n) {
        const unsigned row = 16 * k + 2 * t, column = 8 * n + g;
        const unsigned right[2] = {tile.at(row, column) | (unsigned)tile.at(row + 1, column) << 16,
                                   tile.at(row + 8, column) | (unsigned)tile.at(row + 9, column) << 16};
        multiply(values[n], a, right);
      }
    }
  }
  // Rounded, to rows from `first` on.
  __device__ void store(const Rows& to, unsigned image, unsigned column, unsigned first, unsigned tokens) const {
    const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    HIVQ_UNROLL
    for (int n = 0; n < kColumns / 8; ++n) {
      HIVQ_UNROLL
      for (int half = 0; half < 2; ++half) {
        const unsigned row = first + g + 8 * half;
        Bfloat16* place =
            (Bfloat16*)to.data + image * to.image_stride + row * to.row_stride + column + 8 * n + 2 * t;
        if (row < tokens) *(unsigned*)place = pack(values[n][2 * half], values[n][2 * half + 1]);
      }
    }
  }
};

// Of a row of `Sums`: over the four lanes that have it.
__device__ float row_sum(float x) {
  x += __shfl_xor_sync(kAllLanes, x, 1);
  return x + __shfl_xor_sync(kAllLanes, x, 2);
}
__device__ float row_max(float x) {
  for (int apart = 1; apart <= 2; apart *= 2) {
    const float other = __shfl_xor_sync(kAllLanes, x, apart);
    x = other > x ? other : x;
  }
  return x;
}

// What the three kernels share: queries, keys and values [b, N, heads · width]; of each head's rows log Σ eˣ, and Σ of
// gradient · result; the mask [N, N] or null; the bits of dropout or null, and the factor of what stays.
struct AttentionTiles {
  Rows q, k, v;
  const float* mask;
  float* log_sums;
  float* deltas;
  const unsigned* bits;
  long long image_bits, heads, tokens, trial_images;
  double scale;
  double kept[DropoutStreams::kMost];
};

// A block's head.
struct TilesHead {
  const AttentionTiles& all;
  unsigned image, head, tokens;
  float scale, kept;
  const unsigned* bits;

  __device__ explicit TilesHead(const AttentionTiles& tiles)
      : all(tiles),
        image(blockIdx.y / (unsigned)tiles.heads),
        head(blockIdx.y % (unsigned)tiles.heads),
        tokens((unsigned)tiles.tokens),
        scale((float)tiles.scale),
        kept((float)tiles.kept[image / (unsigned)tiles.trial_images]),
        bits(tiles.bits == nullptr ? nullptr : tiles.bits + image * tiles.image_bits) {}
  // A logit of a product; where there is no such query or key, one whose weight is 0.
  __device__ float logit(float product, unsigned query, unsigned key) const {
    if (query >= tokens || key >= tokens) return -3e38f;
    return product * scale + (all.mask != nullptr ? all.mask[query * tokens + key] : 0);
  }
  // Dropout's factor of a weight.
  __device__ float factor(unsigned query, unsigned key) const {
    if (bits == nullptr || query >= tokens || key >= tokens) return 1;
    const unsigned element = (head * tokens + query) * tokens + key;
    return bits[element / 32] >> element % 32 & 1 ? kept : 0;
  }
  __device__ float log_sum(unsigned query) const {
    return query < tokens ? all.log_sums[blockIdx.y * tokens + query] : 0;
  }
  __device__ float delta(unsigned query) const {
    return query < tokens ? all.deltas[blockIdx.y * tokens + query] : 0;
  }
};

template <typename T, typename Low, int kWidth>
__global__ void attend(AttentionTiles all, Rows out) {
  __shared__ Tile<kWidth> keys, values;
  const TilesHead own(all);
  const unsigned column = own.head * kWidth, first_row = blockIdx.x * kTile + threadIdx.y * 16;
  LeftRows<kWidth> queries;
  queries.load(all.q, own.image, column, first_row, own.tokens);
  Sums<kWidth> gathered;
  gathered.clear();
  float top[2] = {-3e38f, -3e38f}, sum[2] = {};
  for (unsigned first = 0; first < own.tokens; first += kTile) {
    __syncthreads();
    keys.load(all.k, own.image, column, first, own.tokens);
    values.load(all.v, own.image, column, first, own.tokens);
    __syncthreads();
    Sums<kTile> weights;
    weights.clear();
    weights.add(queries, keys);
    float highest[2] = {top[0], top[1]};
    weights.each([&](float& x, int half, unsigned row, unsigned key) {
      x = own.logit(x, first_row + row, first + key);
      highest[half] = x > highest[half] ? x : highest[half];
    });
    float shrink[2];
    for (int half = 0; half < 2; ++half) {
      highest[half] = row_max(highest[half]);
      shrink[half] = exp(top[half] - highest[half]);
      sum[half] *= shrink[half];
      top[half] = highest[half];
    }
    gathered.each([&](float& x, int half, unsigned, unsigned) { x *= shrink[half]; });
    weights.each([&](float& x, int half, unsigned row, unsigned key) {
      x = first + key < own.tokens ? exp(x - top[half]) : 0;
      sum[half] += x;
      x *= own.factor(first_row + row, first + key);
    });
    gathered.add(weights, values);
  }
  for (int half = 0; half < 2; ++half) {
    sum[half] = row_sum(sum[half]);
    const unsigned row = first_row + threadIdx.x / 4 + 8 * half;
    if (threadIdx.x % 4 == 0 && row < own.tokens) {
      all.log_sums[blockIdx.y * own.tokens + row] = top[half] + log(sum[half]);
    }
  }
  gathered.each([&](float& x, int half, unsigned, unsigned) { x /= sum[half]; });
  gathered.store(out, own.image, column, first_row, own.tokens);
}

// The gradient of the queries, from that of the result, g; and the deltas.
template <typename T, typename Low, int kWidth>
__global__ void attend_backward_queries(AttentionTiles all, Rows out, Rows g, Rows to) {
  __shared__ Tile<kWidth> keys, values;
  const TilesHead own(all);
  const unsigned column = own.head * kWidth, first_row = blockIdx.x * kTile + threadIdx.y * 16;
  LeftRows<kWidth> queries, gradients;
  queries.load(all.q, own.image, column, first_row, own.tokens);
  gradients.load(g, own.image, column, first_row, own.tokens);
  float delta[2] = {}, log_sum[2];
  for (int half = 0; half < 2; ++half) {
    const unsigned row = first_row + threadIdx.x / 4 + 8 * half;
    if (row < own.tokens) {
      const Bfloat16* a = (const Bfloat16*)g.data + own.image * g.image_stride + row * g.row_stride + column;
      const Bfloat16* b = (const Bfloat16*)out.data + own.image * out.image_stride + row * out.row_stride + column;
      for (unsigned j = threadIdx.x % 4; j < kWidth; j += 4) delta[half] += (float)a[j] * (float)b[j];
    }
    delta[half] = row_sum(delta[half]);
    log_sum[half] = own.log_sum(row);
    if (threadIdx.x % 4 == 0 && row < own.tokens) all.deltas[blockIdx.y * own.tokens + row] = delta[half];
  }
  Sums<kWidth> slope;
  slope.clear();
  for (unsigned first = 0; first < own.tokens; first += kTile) {
    __syncthreads();
    keys.load(all.k, own.image, column, first, own.tokens);
    values.load(all.v, own.image, column, first, own.tokens);
    __syncthreads();
    Sums<kTile> weights, of_kept;
    weights.clear();
    weights.add(queries, keys);
    of_kept.clear();
    of_kept.add(gradients, values);
    weights.each([&](float& x, int half, unsigned row, unsigned key) {
      x = exp(own.logit(x, first_row + row, first + key) - log_sum[half]);
    });
    HIVQ_UNROLL
    for (int n = 0; n < kTile / 8; ++n) {
      HIVQ_UNROLL
      for (int i = 0; i < 4; ++i) {
        const unsigned row = threadIdx.x / 4 + i / 2 * 8, key = 8 * n + 2 * (threadIdx.x % 4) + i % 2;
        const float kept = of_kept.values[n][i] * own.factor(first_row + row, first + key);
        weights.values[n][i] *= (kept - delta[i / 2]) * own.scale;
      }
    }
    slope.add(weights, keys);
  }
  slope.store(to, own.image, column, first_row, own.tokens);
}

// After it: those of the keys and values. A warp has 16 keys.
template <typename T, typename Low, int kWidth>
__global__ void attend_backward_keys(AttentionTiles all, Rows g, Rows to_keys, Rows to_values) {
  __shared__ Tile<kWidth> queries, gradients;
  const TilesHead own(all);
  const unsigned column = own.head * kWidth, first_key = blockIdx.x * kTile + threadIdx.y * 16;
  LeftRows<kWidth> keys, values;
  keys.load(all.k, own.image, column, first_key, own.tokens);
  values.load(all.v, own.image, column, first_key, own.tokens);
  Sums<kWidth> of_keys, of_values;
  of_keys.clear();
  of_values.clear();
  for (unsigned first = 0; first < own.tokens; first += kTile) {
    __syncthreads();
    queries.load(all.q, own.image, column, first, own.tokens);
    gradients.load(g, own.image, column, first, own.tokens);
    __syncthreads();
    Sums<kTile> weights, slope;
    weights.clear();
    weights.add(keys, queries);
    slope.clear();
    slope.add(values, gradients);
    HIVQ_UNROLL
    for (int n = 0; n < kTile / 8; ++n) {
      HIVQ_UNROLL
      for (int i = 0; i < 4; ++i) {
        const unsigned key = first_key + threadIdx.x / 4 + i / 2 * 8;
        const unsigned query = first + 8 * n + 2 * (threadIdx.x % 4) + i % 2;
        const float weight = exp(own.logit(weights.values[n][i], query, key) - own.log_sum(query));
        const float factor = own.factor(query, key);
        weights.values[n][i] = weight * factor;
        slope.values[n][i] = weight * (slope.values[n][i] * factor - own.delta(query)) * own.scale;
      }
    }
    of_values.add(weights, gradients);
    of_keys.add(slope, queries);
  }
  of_keys.store(to_keys, own.image, column, first_key, own.tokens);
  of_values.store(to_values, own.image, column, first_key, own.tokens);
}

// ---- codebooks [S, K, D] (model/quantizer.h). `group` [b]: an image's codebook; null: all have the first.

// The prototype that is nearest to each of the rows' tokens, by ‖e‖² − 2 h·e; the first of equals. A row a warp.
template <typename T, typename Low>
__global__ void nearest_prototype(const T* product, const T* squared_norm, const T* embed, const long long* group,
                                  long long* code, T* nearest, long long rows, long long tokens, long long prototypes,
                                  long long width) {
  const unsigned row = warp_of_grid();
  if (row >= rows) return;
  const unsigned lane = lane_of_warp();
  const long long codebook = group == nullptr ? 0 : group[row / (unsigned)tokens];
  product += row * prototypes, squared_norm += codebook * prototypes;
  T least = (T)3e38;
  long long best = 0;
  for (unsigned k = lane; k < prototypes; k += 32) {
    const T distance = squared_norm[k] - 2 * product[k];
    if (distance < least) least = distance, best = k;
  }
  for (int apart = 16; apart > 0; apart /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, least, apart);
    const long long at = __shfl_xor_sync(kAllLanes, best, apart);
    if (other < least || (other == least && at < best)) least = other, best = at;
  }
  if (lane == 0) code[row] = best;
  embed += (codebook * prototypes + best) * width;
  for (unsigned j = lane; j < width; j += 32) nearest[row * width + j] = embed[j];
}

// How many tokens chose each prototype of `codebooks`, and their sum, always in the same order. A block of 32 ×
// kLowHeight has 32 columns of 16 prototypes; its warps take turns with the tokens. Grid [shares of the columns,
// codebooks · shares of the prototypes].
template <typename T, typename Low>
__global__ void codebook_statistics(const long long* code, const T* tokens, const long long* group, T* counts, T* sums,
                                    long long images, long long of_image, long long prototypes, long long width) {
  constexpr unsigned kOwn = 16;
  __shared__ T parts[kLowHeight][kOwn][32];
  __shared__ unsigned numbers[kLowHeight][kOwn];
  const unsigned lane = threadIdx.x, warp = threadIdx.y, column = 32 * blockIdx.x + lane;
  const unsigned shares = ((unsigned)prototypes + kOwn - 1) / kOwn, codebook = blockIdx.y / shares;
  const unsigned base = blockIdx.y % shares * kOwn;
  const bool inside = column < width;
  for (unsigned k = 0; k < kOwn; ++k) parts[warp][k][lane] = 0;
  if (lane < kOwn) numbers[warp][lane] = 0;
  for (long long image = 0; image < images; ++image) {
    if (group[image] != codebook) continue;
    const T* of_group = tokens + image * of_image * width + column;
    for (unsigned first = 32 * warp; first < of_image; first += 32 * kLowHeight) {
      const unsigned chosen = first + lane < of_image ? (unsigned)code[image * of_image + first + lane] - base : kOwn;
      unsigned left = __ballot_sync(kAllLanes, chosen < kOwn);
      while (left != 0) {  // several at once, so that their memory is not waited for one by one
        T values[8];
        unsigned of[8];
        HIVQ_UNROLL
        for (int i = 0; i < 8; ++i) {
          const unsigned at = left == 0 ? 0 : (unsigned)__ffs((int)left) - 1;
          const unsigned k = __shfl_sync(kAllLanes, chosen, at);
          of[i] = left == 0 ? kOwn : k;
          values[i] = left != 0 && inside ? of_group[(first + at) * width] : 0;
          left &= left - 1;
        }
        HIVQ_UNROLL
        for (int i = 0; i < 8; ++i) {
          if (of[i] == kOwn) continue;
          parts[warp][of[i]][lane] += values[i];
          if (lane == 0) ++numbers[warp][of[i]];
        }
      }
    }
  }
  __syncthreads();
  for (unsigned k = warp; k < kOwn && base + k < prototypes; k += kLowHeight) {
    const long long prototype = (long long)codebook * prototypes + base + k;
    T sum = 0;
    unsigned number = 0;
    for (unsigned i = 0; i < kLowHeight; ++i) sum += parts[i][k][lane], number += numbers[i][k];
    if (inside) sums[prototype * width + column] = sum;
    if (blockIdx.x == 0 && lane == 0) counts[prototype] = (T)number;
  }
}

// The moving average of the codebooks with true in `moves`; a prototype a warp. size_after: cluster sizes, which the
// other warps still read.
template <typename T, typename Low>
__global__ void move_prototypes(const T* counts, const T* sums, const T* decay, const bool* moves, const T* size,
                                T* size_after, T* embed_avg, T* embed, T* squared_norm, long long codebooks,
                                long long prototypes, long long width) {
  const unsigned warp = warp_of_grid(), codebook = warp / (unsigned)prototypes;
  if (codebook >= codebooks) return;
  const unsigned lane = lane_of_warp();
  if (!moves[codebook]) {
    if (lane == 0) size_after[warp] = size[warp];
    return;
  }
  const T gamma = decay[codebook], epsilon = (T)1e-5;
  const auto moved_size = [&](long long k) { return size[k] * gamma + counts[k] * (1 - gamma); };
  T total = 0;
  for (unsigned k = lane; k < prototypes; k += 32) total += moved_size(codebook * prototypes + k);
  total = warp_sum(total);
  const T mine = moved_size(warp), smooth = (mine + epsilon) / (total + prototypes * epsilon) * total;
  embed_avg += warp * width, embed += warp * width, sums += warp * width;
  T norm = 0;
  for (unsigned j = lane; j < width; j += 32) {
    embed_avg[j] = embed_avg[j] * gamma + sums[j] * (1 - gamma);
    embed[j] = embed_avg[j] / smooth;
    norm += embed[j] * embed[j];
  }
  norm = warp_sum(norm);
  if (lane != 0) return;
  squared_norm[warp] = norm;
  size_after[warp] = mine;
}

// ---- POT (model/pot.h), as model/fused_pot.cpp has it. Of each row (a token) and column (a prototype): the greatest
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

// 1 / ‖x‖, or of `tiny`: a norm of 0 has no direction.
template <typename T>
__device__ T inverse_norm(T square) {
  const T norm = sqrt(square), tiny = (T)1e-12;
  return 1 / (norm > tiny ? norm : tiny);
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
  for (unsigned j = lane; j < width; j += 32) square += tokens[j] * tokens[j];
  const T norm = inverse_norm(warp_sum(square)), scale = (T)1 / prototypes;
  for (unsigned k = lane; k < prototypes; k += 32) top = product[k] * scale > top ? product[k] * scale : top;
  top = warp_max(top);
  T sum = 0, cost = 0;
  for (unsigned k = lane; k < prototypes; k += 32) {
    const T share = exp(product[k] * scale - top);
    sum += share;
    cost += share * (1 - product[k] * norm * inverse_norm(squared_norm[k]));
  }
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
__global__ void pot_backward(const T* product, const T* tokens, T* rows_from, T* columns_from, const T* g,
                             T* to_product, T* to_tokens, long long images, long long of_image, long long prototypes,
                             long long width) {
  const unsigned row = warp_of_grid(), image = row / (unsigned)of_image;
  if (row >= images * of_image) return;
  const unsigned lane = lane_of_warp();
  const PotStatistics<T> rows{rows_from, images * of_image}, columns{columns_from, images * prototypes};
  const T scale = (T)1 / prototypes, norm = rows.norm(row), top = rows.top(row), mean = rows.mean(row);
  const T per_token = g[image] / of_image * rows.inverse(row), per_prototype = g[image] * scale;
  product += row * prototypes, to_product += row * prototypes;
  T to_norm = 0;
  for (unsigned k = lane; k < prototypes; k += 32) {
    const long long column = image * prototypes + k;
    const T logit = product[k] * scale, along = product[k] * columns.norm(column), cost = 1 - along * norm;
    const T a = exp(logit - top) * per_token;
    const T b = exp(logit - columns.top(column)) * columns.inverse(column) * per_prototype;
    to_product[k] =
        (a * (cost - mean) + b * (cost - columns.mean(column))) * scale - (a + b) * norm * columns.norm(column);
    to_norm -= (a + b) * along;
  }
  // ∂(1/‖h‖)/∂h = −h/‖h‖³; none where the norm is below `tiny`.
  to_norm = warp_sum(to_norm);
  const T slope = norm < (T)9e11 ? -to_norm * norm * norm * norm : 0;
  for (unsigned j = lane; j < width; j += 32) to_tokens[row * width + j] = slope * tokens[row * width + j];
}

// ---- AdamW (Loshchilov and Hutter, ICLR 2019), decoupled weight decay, of parameters [T, P]; a row of blocks a trial.
// What the trials of `shorter` [T] multiply their gradients by, their lr and weight decay [T]; those with false in
// `applied` stay as they are.
template <typename T, typename Low>
__global__ void adamw(T* values, const T* gradients, T* exp_avg, T* exp_avg_sq, const double* steps, const T* shorter,
                      const double* lr, const double* weight_decay, const bool* applied, long long size) {
  const unsigned trial = blockIdx.y;
  if (!applied[trial]) return;
  const double beta1 = 0.9, beta2 = 0.999, step = *steps;
  const T decay = (T)(1 - lr[trial] * weight_decay[trial]), factor = shorter[trial];
  const T along = (T)(lr[trial] / (1 - pow(beta1, step))), deviation = (T)sqrt(1 - pow(beta2, step));
  const long long begin = trial * size;
  for (long long i = thread_of_grid(); i < size; i += gridDim.x * blockDim.x) {
    const long long at = begin + i;
    const T g = gradients[at] * factor;
    const T m = (T)beta1 * exp_avg[at] + (T)(1 - beta1) * g, v = (T)beta2 * exp_avg_sq[at] + (T)(1 - beta2) * g * g;
    exp_avg[at] = m;
    exp_avg_sq[at] = v;
    values[at] = values[at] * decay - along * m / (sqrt(v) / deviation + (T)1e-8);
  }
}
