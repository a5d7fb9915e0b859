// Attention in tiles: bfloat16 factors, float sums; no weight is ever in the GPU's memory (Dao, ICLR 2024,
// "FlashAttention-2"; sums of gradients in a fixed order). A block of 32 × kTileWarps has kTile rows of a head, a warp 16 of them.

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
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Four squares [8, 8] of a tile, whose rows lanes 0 to 7, 8 to 15, … point at: of each its lane's pair as a right factor
// has it, rows of the tile as columns of the factor; and as rows.
__device__ void take_as_columns(unsigned (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"((unsigned)__cvta_generic_to_shared(row))
               : "memory");
}
__device__ void take_as_rows(unsigned (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"((unsigned)__cvta_generic_to_shared(row))
               : "memory");
}
#endif

struct alignas(16) EightBfloat16 {
  unsigned short bits[8];
};

// 64 rows of a head in the block's memory. Rows 16 bytes longer than they need be fall on different banks.
template <int kWidth>
struct Tile {
  static constexpr unsigned kEach = kWidth / 8;
  EightBfloat16 rows[kTile][kWidth / 8 + 1];

  // What a thread brings of rows from `first` on, rows beyond `tokens` as 0: first all of it from the memory, then into
  // the tile.
  struct Share {
    EightBfloat16 parts[kWidth / 16];
  };
  __device__ static Share fetch(const HeadRows& from, unsigned image, unsigned column, unsigned first, unsigned tokens) {
    Share share;
    HIVQ_UNROLL
    for (int i = 0; i < kWidth / 16; ++i) {
      const unsigned at = threadIdx.y * 32 + threadIdx.x + 32 * kTileWarps * i, row = first + at / kEach, part = at % kEach;
      const Bfloat16* source =
          (const Bfloat16*)from.data + image * from.image_stride + row * from.row_stride + column + 8 * part;
      share.parts[i] = row < tokens ? *(const EightBfloat16*)source : EightBfloat16{};
    }
    return share;
  }
  __device__ void put(const Share& share) {
    HIVQ_UNROLL
    for (int i = 0; i < kWidth / 16; ++i) {
      const unsigned at = threadIdx.y * 32 + threadIdx.x + 32 * kTileWarps * i;
      rows[at / kEach][at % kEach] = share.parts[i];
    }
  }
  __device__ const void* at(unsigned row, unsigned column) const { return &rows[row][column / 8]; }
};

// A warp's 16 rows as the left factor of products.
template <int kWidth>
struct LeftRows {
  unsigned parts[kWidth / 16][4];

  __device__ void load(const HeadRows& from, unsigned image, unsigned column, unsigned first, unsigned tokens) {
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
  // A lane's share of the products of row g + 8 half with another's.
  __device__ float dot(const LeftRows& other, int half) const {
    float sum = 0;
    HIVQ_UNROLL
    for (int k = 0; k < kWidth / 16; ++k) {
      HIVQ_UNROLL
      for (int i = half; i < 4; i += 2) {
        sum += __uint_as_float(parts[k][i] << 16) * __uint_as_float(other.parts[k][i] << 16);
        sum += __uint_as_float(parts[k][i] & 0xffff0000u) * __uint_as_float(other.parts[k][i] & 0xffff0000u);
      }
    }
    return sum;
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
  // Together with those of another.
  template <typename Use>
  __device__ void with(Sums& other, Use use) {
    const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    HIVQ_UNROLL
    for (int n = 0; n < kColumns / 8; ++n) {
      HIVQ_UNROLL
      for (int i = 0; i < 4; ++i)
        use(values[n][i], other.values[n][i], i / 2, g + i / 2 * 8, 8 * n + 2 * t + i % 2);
    }
  }
  // += left · tileᵀ: kColumns is kTile. Of the tile's rows only `inside` are there.
  template <int kWidth>
  __device__ void add(const LeftRows<kWidth>& left, const Tile<kWidth>& tile, unsigned inside) {
    const unsigned square = threadIdx.x / 8, row = square / 2 * 8 + threadIdx.x % 8, column = square % 2 * 8;
    HIVQ_UNROLL
    for (int n = 0; n < kColumns / 8; n += 2) {
      if (8 * n >= inside) break;
      HIVQ_UNROLL
      for (int k = 0; k < kWidth / 16; ++k) {
        unsigned right[4];
        take_as_columns(right, tile.at(8 * n + row, 16 * k + column));
        multiply(values[n], left.parts[k], {right[0], right[1]});
        multiply(values[n + 1], left.parts[k], {right[2], right[3]});
      }
    }
  }
  // += left · tile, the left factor rounded: kColumns is the tile's width.
  __device__ void add(const Sums<kTile>& left, const Tile<kColumns>& tile, unsigned inside) {
    const unsigned square = threadIdx.x / 8, row = square % 2 * 8 + threadIdx.x % 8, column = square / 2 * 8;
    HIVQ_UNROLL
    for (int k = 0; k < kTile / 16; ++k) {
      if (16 * k >= inside) break;
      const auto& low = left.values[2 * k];
      const auto& high = left.values[2 * k + 1];
      const unsigned a[4] = {pack(low[0], low[1]), pack(low[2], low[3]), pack(high[0], high[1]),
                             pack(high[2], high[3])};
      HIVQ_UNROLL
      for (int n = 0; n < kColumns / 8; n += 2) {
        unsigned right[4];
        take_as_rows(right, tile.at(16 * k + row, 8 * n + column));
        multiply(values[n], a, {right[0], right[1]});
        multiply(values[n + 1], a, {right[2], right[3]});
      }
    }
  }
  // Rounded, to rows from `first` on.
  __device__ void store(const HeadRows& to, unsigned image, unsigned column, unsigned first, unsigned tokens) const {
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

// A row's bits of dropout (TilesHead), shifted so that the bits of a lane's columns (`Sums`) are known when the code is compiled.
struct RowBits {
  unsigned low, high;
  __device__ explicit RowBits(unsigned long long bits)
      : low((unsigned)(bits >> 2 * (threadIdx.x % 4))), high((unsigned)(bits >> 32 >> 2 * (threadIdx.x % 4))) {}
  __device__ unsigned word(unsigned column) const { return column - 2 * (threadIdx.x % 4) < 32 ? low : high; }
  __device__ static unsigned bit(unsigned column) { return (column - 2 * (threadIdx.x % 4)) % 32; }
};

// A block's head.
struct TilesHead {
  const AttentionTiles& all;
  unsigned image, head, tokens;
  float scale, kept;
  const unsigned* bits;

  __device__ explicit TilesHead(const AttentionTiles& tiles)
      : all(tiles),
        image(blockIdx.x / (unsigned)tiles.heads),
        head(blockIdx.x % (unsigned)tiles.heads),
        tokens((unsigned)tiles.tokens),
        scale((float)tiles.scale),
        kept(tiles.bits == nullptr ? 1 : (float)tiles.kept[image / (unsigned)tiles.trial_images]),
        bits(tiles.bits == nullptr ? nullptr : tiles.bits + image * tiles.image_bits) {}

  // How many of a tile's rows are there.
  __device__ unsigned inside(unsigned first) const { return tokens - first < kTile ? tokens - first : kTile; }

  // A logit of a product; where there is no such key, one whose weight is 0.
  __device__ float logit(float product, unsigned query, unsigned key) const {
    const bool masks = all.mask != nullptr && query < tokens && key < tokens;
    return key < tokens ? product * scale + (masks ? all.mask[query * tokens + key] : 0) : -3e38f;
  }
  // Which of a query's weights of the kTile keys from `first` on stay, a bit each.
  __device__ unsigned long long kept_bits(unsigned query, unsigned first) const {
    if (bits == nullptr || query >= tokens) return ~0ull;
    const unsigned element = (head * tokens + query) * tokens + first, last = (unsigned)all.image_bits - 1;
    const unsigned word = element / 32, shift = element % 32;
    const unsigned long long low = bits[word], middle = bits[word + 1 < last ? word + 1 : last],
                             high = bits[word + 2 < last ? word + 2 : last];
    const unsigned long long both = low | middle << 32;
    return shift == 0 ? both : both >> shift | high << (64 - shift);
  }
  __device__ RowBits row_bits(unsigned first_row, unsigned first) const {  // of a lane's row, `Sums`
    return RowBits(kept_bits(first_row + threadIdx.x / 4, first));
  }
  __device__ float factor(unsigned stay, unsigned bit) const { return stay >> bit & 1 ? kept : 0; }
  __device__ float factor(const RowBits& stay, unsigned column) const {
    return factor(stay.word(column), RowBits::bit(column));
  }

  // Rows from `first` on of two tensors into tiles, when all warps are done with what was there; `also`: what else is
  // to be put into the block's memory then.
  template <int kWidth, typename Also>
  __device__ void fill(Tile<kWidth>& a, const HeadRows& from_a, Tile<kWidth>& b, const HeadRows& from_b, unsigned first,
                       Also also) const {
    const auto share_a = Tile<kWidth>::fetch(from_a, image, head * kWidth, first, tokens);
    const auto share_b = Tile<kWidth>::fetch(from_b, image, head * kWidth, first, tokens);
    __syncthreads();
    a.put(share_a);
    b.put(share_b);
    also();
    __syncthreads();
  }
  // Of a query that is not there one that makes all its weights 0.
  __device__ float log_sum(unsigned query) const {
    return query < tokens ? all.log_sums[blockIdx.x * tokens + query] : 3e38f;
  }
  __device__ float delta(unsigned query) const {
    return query < tokens ? all.deltas[blockIdx.x * tokens + query] : 0;
  }
};

template <typename T, typename Low, int kWidth>
__global__ void attend(AttentionTiles all, HeadRows out) {
  __shared__ Tile<kWidth> keys, values;
  const TilesHead own(all);
  const unsigned column = own.head * kWidth, first_row = blockIdx.y * kTile + threadIdx.y * 16;
  const bool works = first_row < own.tokens;  // the others bring their shares of the tiles
  LeftRows<kWidth> queries;
  queries.load(all.q, own.image, column, first_row, own.tokens);
  Sums<kWidth> gathered;
  gathered.clear();
  float top[2] = {-3e38f, -3e38f}, sum[2] = {};
  for (unsigned first = 0; first < own.tokens; first += kTile) {
    const RowBits stay[2] = {own.row_bits(first_row, first), own.row_bits(first_row + 8, first)};
    own.fill(keys, all.k, values, all.v, first, [] {});
    if (!works) continue;
    const unsigned inside = own.inside(first);
    Sums<kTile> weights;
    weights.clear();
    weights.add(queries, keys, inside);
    float highest[2] = {top[0], top[1]};
    weights.each([&](float& x, int half, unsigned row, unsigned key) {
      x = own.logit(x, first_row + row, first + key);
      highest[half] = x > highest[half] ? x : highest[half];
    });
    float shrink[2];
    for (int half = 0; half < 2; ++half) {
      highest[half] = row_max(highest[half]);
      shrink[half] = __expf(top[half] - highest[half]);
      sum[half] *= shrink[half];
      top[half] = highest[half];
    }
    gathered.each([&](float& x, int half, unsigned, unsigned) { x *= shrink[half]; });
    weights.each([&](float& x, int half, unsigned, unsigned key) {
      x = first + key < own.tokens ? __expf(x - top[half]) : 0;
      sum[half] += x;
      x *= own.factor(stay[half], key);
    });
    gathered.add(weights, values, inside);
  }
  if (!works) return;
  for (int half = 0; half < 2; ++half) {
    sum[half] = row_sum(sum[half]);
    const unsigned row = first_row + threadIdx.x / 4 + 8 * half;
    if (threadIdx.x % 4 == 0 && row < own.tokens) {
      all.log_sums[blockIdx.x * own.tokens + row] = top[half] + log(sum[half]);
    }
  }
  gathered.each([&](float& x, int half, unsigned, unsigned) { x /= sum[half]; });
  gathered.store(out, own.image, column, first_row, own.tokens);
}

// The gradient of the queries, from that of the result, g; and the deltas.
template <typename T, typename Low, int kWidth>
__global__ void attend_backward_queries(AttentionTiles all, HeadRows out, HeadRows g, HeadRows to) {
  __shared__ Tile<kWidth> keys, values;
  const TilesHead own(all);
  const unsigned column = own.head * kWidth, first_row = blockIdx.y * kTile + threadIdx.y * 16;
  const bool works = first_row < own.tokens;
  LeftRows<kWidth> queries, gradients, results;
  queries.load(all.q, own.image, column, first_row, own.tokens);
  gradients.load(g, own.image, column, first_row, own.tokens);
  results.load(out, own.image, column, first_row, own.tokens);
  float delta[2], log_sum[2];
  for (int half = 0; half < 2; ++half) {
    const unsigned row = first_row + threadIdx.x / 4 + 8 * half;
    delta[half] = row_sum(gradients.dot(results, half));
    log_sum[half] = own.log_sum(row);
    if (threadIdx.x % 4 == 0 && row < own.tokens) all.deltas[blockIdx.x * own.tokens + row] = delta[half];
  }
  Sums<kWidth> slope;
  slope.clear();
  for (unsigned first = 0; first < own.tokens; first += kTile) {
    const RowBits stay[2] = {own.row_bits(first_row, first), own.row_bits(first_row + 8, first)};
    own.fill(keys, all.k, values, all.v, first, [] {});
    if (!works) continue;
    const unsigned inside = own.inside(first);
    Sums<kTile> weights, of_kept;
    weights.clear();
    weights.add(queries, keys, inside);
    of_kept.clear();
    of_kept.add(gradients, values, inside);
    weights.with(of_kept, [&](float& x, float slope_of_kept, int half, unsigned row, unsigned key) {
      const float weight = __expf(own.logit(x, first_row + row, first + key) - log_sum[half]);
      x = weight * (slope_of_kept * own.factor(stay[half], key) - delta[half]) * own.scale;
    });
    slope.add(weights, keys, inside);
  }
  if (works) slope.store(to, own.image, column, first_row, own.tokens);
}

// After it: those of the keys and values. A warp has 16 keys.
template <typename T, typename Low, int kWidth>
__global__ void attend_backward_keys(AttentionTiles all, HeadRows g, HeadRows to_keys, HeadRows to_values) {
  __shared__ Tile<kWidth> queries, gradients;
  __shared__ float log_sums[kTile], deltas[kTile];
  __shared__ unsigned stay[kTile][2];  // of each query, the bits of the block's keys
  const TilesHead own(all);
  const unsigned column = own.head * kWidth, first_key = blockIdx.y * kTile + threadIdx.y * 16;
  const unsigned thread = threadIdx.y * 32 + threadIdx.x;
  const bool works = first_key < own.tokens;
  LeftRows<kWidth> keys, values;
  keys.load(all.k, own.image, column, first_key, own.tokens);
  values.load(all.v, own.image, column, first_key, own.tokens);
  Sums<kWidth> of_keys, of_values;
  of_keys.clear();
  of_values.clear();
  for (unsigned first = 0; first < own.tokens; first += kTile) {
    const float log_sum = own.log_sum(first + thread % kTile), delta = own.delta(first + thread % kTile);
    const unsigned long long kept = own.kept_bits(first + thread % kTile, blockIdx.y * kTile);
    own.fill(queries, all.q, gradients, g, first, [&] {
      if (thread >= kTile) return;
      log_sums[thread] = log_sum, deltas[thread] = delta;
      stay[thread][0] = (unsigned)kept, stay[thread][1] = (unsigned)(kept >> 32);
    });
    if (!works) continue;
    const unsigned inside = own.inside(first);
    Sums<kTile> weights, slope;
    weights.clear();
    weights.add(keys, queries, inside);
    slope.clear();
    slope.add(values, gradients, inside);
    weights.with(slope, [&](float& x, float& y, int, unsigned key, unsigned query) {
      const float weight = __expf(own.logit(x, first + query, first_key + key) - log_sums[query]);
      const float factor = own.factor(stay[query][threadIdx.y / 2], threadIdx.y % 2 * 16 + key);
      x = weight * factor;
      y = weight * (y * factor - deltas[query]) * own.scale;
    });
    of_values.add(weights, gradients, inside);
    of_keys.add(slope, queries, inside);
  }
  if (!works) return;
  of_keys.store(to_keys, own.image, column, first_key, own.tokens);
  of_values.store(to_values, own.image, column, first_key, own.tokens);
}
