#pragma once

// What kernels and the code that starts them must agree on. For NVRTC, too: no other header.

namespace hivq {

/// What dropout's masks are drawn from (model/dropout.h), of trials side by side.
struct DropoutStreams {
  static constexpr int kMost = 128;  // as many as fit an argument of a kernel

  long long images = 0;  // of each trial
  unsigned site = 0;
  unsigned first_image[kMost] = {};
  unsigned key0[kMost] = {}, key1[kMost] = {};
  unsigned threshold[kMost] = {};  // 0: drops nothing
  double scale[kMost] = {};
};

/// A tensor [b, N, heads · width] whose rows may lie apart.
struct HeadRows {
  void* data;
  long long image_stride, row_stride;
};

/// What the kernels of attention in tiles share: queries, keys and values; of each head's rows log Σ eˣ, and Σ of
/// gradient · result; the mask [N, N] or null; the bits of dropout or null, and the factor of what stays.
struct AttentionTiles {
  HeadRows q, k, v;
  const float* mask;
  float* log_sums;
  float* deltas;
  const unsigned* bits;
  long long image_bits, heads, tokens, trial_images;
  double scale;
  double kept[DropoutStreams::kMost];
};
constexpr int kTile = 64, kTileWarps = 4;  // rows of a head that a block has, 16 a warp

constexpr int kStatisticsPrototypes = 16;              // of a block of codebook_statistics
constexpr int kBlockHeight = 32, kLowBlockHeight = 8;  // rows of 32 threads of the blocks that wait for each other

}  // namespace hivq
