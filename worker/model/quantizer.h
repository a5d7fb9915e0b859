#pragma once

// Vector quantisation with codebooks that follow the tokens by an exponential moving average (MODEL.md, "Quantiser").
// A level has one codebook per class, or one for all: S codebooks of K prototypes of d numbers.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace hivq {

struct Codebook {
  at::Tensor embed;         // [S, K, d] the prototypes e
  at::Tensor cluster_size;  // [S, K] n, moving average of the tokens of each prototype
  at::Tensor embed_avg;     // [S, K, d] m, moving average of their sum
  at::Tensor squared_norm;  // [S, K] ‖e‖², kept with embed

  int64_t codebooks() const { return embed.size(0); }
  int64_t prototypes() const { return embed.size(1); }
  int64_t width() const { return embed.size(2); }
};

/// A codebook of given prototypes [S, K, d], with n = `size` for each and m = n·e, but m = e for n = 0 (MODEL.md).
Codebook make_codebook(at::Tensor embed, double size);

/// Recomputes what derives from `embed`, in the same bits as ema_update().
void refresh(Codebook& codebook);

/// The tokens of one level and what became of them.
struct Quantized {
  at::Tensor tokens;   // [b, N, d] h, with its gradient history
  at::Tensor nearest;  // [b, N, d] e of the nearest prototype, a constant
  at::Tensor code;     // [b, N] int64, its index
  at::Tensor output;   // [b, N, d] e by value; its gradient is handed to h as it is (straight through)
  at::Tensor product;  // [b, N, K] h·e of every prototype, e a constant
};

/// Eq. 2: the nearest prototype by squared L2. `group` [b]: the codebook of each image.
Quantized quantize(const Codebook& codebook, const at::Tensor& tokens, const at::Tensor& group);

/// What the moving average needs of a batch: views into a buffer that is summed over ranks. R rows, one per codebook
/// that the global batch uses.
struct CodebookStatistics {
  at::Tensor counts;  // [R, K] tokens of each prototype
  at::Tensor sums;    // [R, K, d] and their sum
};

/// Adds a batch; `row` [b] (int64) is each image's row.
void add_statistics(const CodebookStatistics& statistics, const Quantized& level, const at::Tensor& row);

/// n ← γ n + (1−γ) counts; m ← γ m + (1−γ) sums; e_k = m_k / ((n_k + ε)/(Σn + Kε) · Σn), for the codebooks `rows` [R]
/// (int64, ascending) that have true in `moves` [R]; the others stay as they are. `decay` [R] γ of each, float64.
void ema_update(Codebook& codebook, const CodebookStatistics& statistics, const at::Tensor& rows,
                const at::Tensor& decay, const at::Tensor& moves);

/// How well the prototypes are used, from the tokens of each: use [S, K]. Means over the codebooks that were used at
/// all.
struct CodebookHealth {
  double perplexity = 0;  // exp of the entropy of use: K where all are used alike
  double live = 0;        // share of the prototypes that were used
};
CodebookHealth codebook_health(const at::Tensor& use);

}  // namespace hivq
