// Attention. Heads have `padded` tokens, of which those from `tokens` on are 0: multiples of 8, as the units that
// multiply like.

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
__global__ void split_heads(HeadRows first, HeadRows second, HeadRows third, Low* out, long long images, long long heads,
                            long long tokens, long long padded, long long width) {
  const HeadRows in = blockIdx.y == 0 ? first : blockIdx.y == 1 ? second : third;
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
__global__ void merge_heads(const Low* in, HeadRows first, HeadRows second, HeadRows third, long long images, long long heads,
                            long long tokens, long long padded, long long width) {
  const HeadRows out = blockIdx.y == 0 ? first : blockIdx.y == 1 ? second : third;
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
  Held<T, kHeld> held;
  held.load(logits, begin, tokens);
  T top = (T)-3e38, sum = 0;
  held.each(begin, tokens, [&](T& x, int, int j) {
    x = x * (T)scale + (mask != nullptr ? mask[j] : 0);
    top = x > top ? x : top;
  });
  top = warp_max(top);
  held.each(begin, tokens, [&](T& x, int, int) {
    x = exp(x - top);
    sum += x;
  });
  const T inverse = 1 / warp_sum(sum);
  held.each(begin, tokens, [&](T x, int, int j) {
    put(weights + j, x * inverse);
    put(kept + j, x * inverse * factors(element + (unsigned)j));
  });
}

// From g, the gradient of `kept`, that of the logits; `to` may be g where both have one type.
template <typename T, typename Low, int kHeld>
__global__ void softmax_dropout_backward(const Low* weights, const Low* kept, const T* g, Low* to, long long rows,
                                         long long padded, double scale) {
  const unsigned row = warp_of_grid(), lane = lane_of_warp();
  if (row >= rows) return;
  weights += row * padded, kept += row * padded, g += row * padded, to += row * padded;
  Held<T, kHeld> slope, of_kept, of_all;
  slope.load(g, (int)lane, padded);
  of_kept.load(kept, (int)lane, padded);
  of_all.load(weights, (int)lane, padded);
  T sum = 0;
  slope.each((int)lane, padded, [&](T& x, int i, int) {
    x *= of_kept.values[i];
    sum += x;
  });
  sum = warp_sum(sum);
  slope.each((int)lane, padded, [&](T x, int i, int j) { put(to + j, (x - of_all.values[i] * sum) * (T)scale); });
}
