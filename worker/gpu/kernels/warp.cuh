// What all kernels share: loops that are unrolled, bfloat16, sums over a warp, rows in registers.

#include "worker/gpu/arguments.h"

#ifdef __CUDACC__
#define HIVQ_UNROLL _Pragma("unroll")
#define HIVQ_UNROLL_8 _Pragma("unroll 8")
#else
#define HIVQ_UNROLL
#define HIVQ_UNROLL_8
#endif

// A test takes lower blocks.
#ifdef HIVQ_BLOCK_HEIGHT
constexpr int kHeight = HIVQ_BLOCK_HEIGHT, kLowHeight = HIVQ_BLOCK_HEIGHT;
#else
constexpr int kHeight = hivq::kBlockHeight, kLowHeight = hivq::kLowBlockHeight;
#endif

using hivq::AttentionTiles;
using hivq::DropoutStreams;
using hivq::HeadRows;
using hivq::kTile;
using hivq::kTileWarps;

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

// The columns of a lane, one after another. A loop that is counted lets the memory be asked for several of them at once.
template <typename Use>
__device__ void each_column(long long columns, Use use) {
  const int lane = (int)lane_of_warp(), turns = ((int)columns - lane + 31) / 32;
  HIVQ_UNROLL_8
  for (int i = 0; i < turns; ++i) use(lane + 32 * i);
}

// A lane's elements begin, begin + 32, … of a row, kept in registers between the passes over it: kHeld of them, 0 where
// they lie beside the row.
template <typename T, int kHeld>
struct Held {
  T values[kHeld];

  template <typename From>
  __device__ void load(const From* row, int begin, long long columns) {
    HIVQ_UNROLL
    for (int i = 0; i < kHeld; ++i) {
      const int j = begin + 32 * i;
      values[i] = j >= 0 && j < columns ? (T)row[j] : (T)0;
    }
  }
  // += a row, unless it is null.
  template <typename From>
  __device__ void add(const From* row, int begin, long long columns) {
    if (row == nullptr) return;
    Held more;
    more.load(row, begin, columns);
    HIVQ_UNROLL
    for (int i = 0; i < kHeld; ++i) values[i] += more.values[i];
  }
  // Those that lie in the row, with their numbers and columns.
  template <typename Use>
  __device__ void each(int begin, long long columns, Use use) {
    HIVQ_UNROLL
    for (int i = 0; i < kHeld; ++i) {
      const int j = begin + 32 * i;
      if (j >= 0 && j < columns) use(values[i], i, j);
    }
  }
};
