#pragma once

// Prototype-oriented optimal transport between an image's tokens and the prototypes of its class (MODEL.md, "POT"):
// cost c_ik = 1 − cos(h_i, e_k), plan ∝ exp(h_i·e_k / K).

#include <ATen/core/Tensor.h>

#include "worker/model/quantizer.h"

namespace hivq {

/// Of the tokens of one level (quantizer.h) and the codebook of each image, `group` [b]: [b, N],
/// score_i = Σ_k c_ik softmax_k(h_i·e_k / K), high for tokens that no prototype explains.
at::Tensor pot_score(const Codebook& codebook, const Quantized& level, const at::Tensor& group);

/// The mean transport cost of each image in both directions [b]:
/// mean_i Σ_k c_ik softmax_k(h_i·e_k / K) + mean_k Σ_i c_ik softmax_i(h_i·e_k / K).
/// Its gradient goes to the tokens; the prototypes are constants.
at::Tensor pot_loss(const Codebook& codebook, const Quantized& level, const at::Tensor& group);
/// The same in tensor operations, for any device.
at::Tensor plain_pot_loss(const Codebook& codebook, const Quantized& level, const at::Tensor& group);

}  // namespace hivq
