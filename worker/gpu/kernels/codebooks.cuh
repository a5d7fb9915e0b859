// Codebooks [S, K, D] (model/quantizer.h). `group` [b]: an image's codebook; null: all have the first.

// The prototype that is nearest to each of the rows' tokens, by ‖e‖² − 2 h·e; the first of equals. A row a warp.
template <typename T, typename Low>
__global__ void nearest_prototype(const T* __restrict__ product, const T* __restrict__ squared_norm,
                                  const T* __restrict__ embed, const long long* group, long long* code,
                                  T* __restrict__ nearest, long long rows, long long tokens, long long prototypes,
                                  long long width) {
  const unsigned row = warp_of_grid();
  if (row >= rows) return;
  const unsigned lane = lane_of_warp();
  const long long codebook = group == nullptr ? 0 : group[row / (unsigned)tokens];
  product += row * prototypes, squared_norm += codebook * prototypes;
  T least = (T)3e38;
  long long best = 0;
  each_column(prototypes, [&](int k) {
    const T distance = squared_norm[k] - 2 * product[k];
    if (distance < least) least = distance, best = k;
  });
  for (int apart = 16; apart > 0; apart /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, least, apart);
    const long long at = __shfl_xor_sync(kAllLanes, best, apart);
    if (other < least || (other == least && at < best)) least = other, best = at;
  }
  if (lane == 0) code[row] = best;
  embed += (codebook * prototypes + best) * width;
  each_column(width, [&](int j) { nearest[row * width + j] = embed[j]; });
}

// How many tokens chose each prototype of `codebooks`, and their sum, always in the same order. A block of 32 ×
// kLowHeight has 32 columns of kStatisticsPrototypes prototypes; its warps take turns with the tokens. Grid [codebooks · shares of the
// prototypes, shares of the columns].
template <typename T, typename Low>
__global__ void codebook_statistics(const long long* code, const T* tokens, const long long* group, T* counts, T* sums,
                                    long long images, long long of_image, long long prototypes, long long width) {
  constexpr unsigned kOwn = hivq::kStatisticsPrototypes;
  __shared__ T parts[kLowHeight][kOwn][32];
  __shared__ unsigned numbers[kLowHeight][kOwn];
  const unsigned lane = threadIdx.x, warp = threadIdx.y, column = 32 * blockIdx.y + lane;
  const unsigned shares = ((unsigned)prototypes + kOwn - 1) / kOwn, codebook = blockIdx.x / shares;
  const unsigned base = blockIdx.x % shares * kOwn;
  const bool inside = column < width;
  for (unsigned k = 0; k < kOwn; ++k) parts[warp][k][lane] = 0;
  if (lane < kOwn) numbers[warp][lane] = 0;
  __syncwarp();
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
    if (blockIdx.y == 0 && lane == 0) counts[prototype] = (T)number;
  }
}

// ‖e‖², the same bits wherever it is asked for.
template <typename T>
__device__ T square_of_row(const T* e, long long width) {
  T sum = 0;
  each_column(width, [&](int j) { sum += e[j] * e[j]; });
  return warp_sum(sum);
}

// A row a warp.
template <typename T, typename Low>
__global__ void squared_norms(const T* embed, T* squared_norm, long long rows, long long width) {
  const unsigned row = warp_of_grid();
  if (row >= rows) return;
  const T square = square_of_row(embed + row * width, width);
  if (lane_of_warp() == 0) squared_norm[row] = square;
}

// The moving average of the codebooks with true in `moves`; a prototype a warp. size_after: cluster sizes, which the
// other warps still read.
template <typename T, typename Low>
__global__ void move_prototypes(const T* __restrict__ counts, const T* __restrict__ sums,
                                const T* __restrict__ decay, const bool* __restrict__ moves,
                                const T* __restrict__ size, T* __restrict__ size_after, T* __restrict__ embed_avg,
                                T* __restrict__ embed, T* __restrict__ squared_norm, long long codebooks,
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
  each_column(prototypes, [&](int k) { total += moved_size(codebook * prototypes + k); });
  total = warp_sum(total);
  const T mine = moved_size(warp), smooth = (mine + epsilon) / (total + prototypes * epsilon) * total;
  embed_avg += warp * width, embed += warp * width, sums += warp * width;
  each_column(width, [&](int j) {
    const T average = embed_avg[j] * gamma + sums[j] * (1 - gamma);
    embed_avg[j] = average;
    embed[j] = average / smooth;
  });
  const T norm = square_of_row(embed, width);  // each lane reads what it has written
  if (lane != 0) return;
  squared_norm[warp] = norm;
  size_after[warp] = mine;
}
