#pragma once

// Codebooks and POT on GPUs, each in one or two passes over the memory by our kernels (gpu/kernels/); quantizer.h and
// pot.h have what they compute. `group` [b]: an image's codebook.

#include "worker/model/quantizer.h"

namespace hivq {

/// Fills in the code and the nearest prototype of a level that has its tokens and products.
void gpu_nearest(const Codebook& codebook, const at::Tensor& group, Quantized& level);

/// Sets the statistics of all codebooks, in a fixed order of the tokens.
void gpu_statistics(const CodebookStatistics& statistics, const Quantized& level, const at::Tensor& group);

/// ema_update() of all codebooks.
void gpu_ema_update(Codebook& codebook, const CodebookStatistics& statistics, const at::Tensor& decay,
                    const at::Tensor& moves);

/// refresh(), in the same bits.
void gpu_squared_norms(Codebook& codebook);

/// pot_loss().
at::Tensor gpu_pot_loss(const Codebook& codebook, const Quantized& level, const at::Tensor& group);

}  // namespace hivq
