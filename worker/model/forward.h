#pragma once

// What HVQ-Trans computes of a batch of features (MODEL.md, "Tensors").

#include <ATen/core/Tensor.h>

#include <vector>

#include "worker/model/model.h"

namespace hivq {

struct Forward {
  at::Tensor reconstruction;      // [b, N, C] h̃0
  std::vector<Quantized> levels;  // from the top
  at::Tensor place;               // [b] each image's codebook, of place_of()
};

/// h0 [b, N, C]; classes [b] (int64) choose codebooks and heads. No dropout in evaluation. With several trials
/// (model.h) b is T·b here and below, one trial's images after another's.
Forward forward(const Model& model, const at::Tensor& h0, const at::Tensor& classes, Dropout& dropout);

/// enc[0..L]: the encoder's input and the output of each of its layers, [b, N, D].
std::vector<at::Tensor> encode(const Model& model, const at::Tensor& h0, const at::Tensor& position, Dropout& dropout);

/// What the next level quantises, given the levels above it: enc[L] at the top, then concat(enc[L − level], q_L).
at::Tensor level_tokens(const std::vector<at::Tensor>& enc, const std::vector<Quantized>& above);

/// The decoder's output [b, N, 2D], from coarse to fine. A level's output is the memory of one layer, the finest that
/// of all layers that are left; a single level's, twice, is every layer's.
at::Tensor decode(const Model& model, const std::vector<Quantized>& levels, const at::Tensor& position,
                  Dropout& dropout);

/// h̃0 [b, N, C]: the decoder's output through each image's head.
at::Tensor reconstruct(const Model& model, const at::Tensor& dec, const at::Tensor& classes);

/// The classifier's logits [b, classes] of h0 [b, N, C].
at::Tensor classify(const Model& model, const at::Tensor& h0);

/// The learned position [N, D] of the tokens, row-major: token (i, j) gets [column_j ; row_i]. With several trials
/// [T·b, N, D] for `images` T·b.
at::Tensor position_of(const Model& model, int64_t images = 0);

}  // namespace hivq
