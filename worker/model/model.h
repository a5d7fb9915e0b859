#pragma once

// HVQ-Trans: its parameters and codebooks. What it computes is in forward.h.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/result.h"
#include "jobs/spec.h"
#include "worker/data/safetensors.h"
#include "worker/model/layers.h"
#include "worker/model/quantizer.h"

namespace hivq {

/// What the data gives to the model's shape.
struct InputShape {
  int64_t channels = 0;  // C of the features
  int64_t grid = 0;      // G: an image has N = G·G tokens
  int64_t classes = 0;   // trained classes
};

/// Parameters are leaves of autograd that lie, one after the other, in `values`; their gradients in `gradients`. So the
/// all-reduce, the clip and the optimiser each make one pass over one tensor.
struct Model {
  ModelSpec spec;
  InputShape input;

  Linear quantize_conv_t;           // 1×1 convolution C → D
  at::Tensor row_embed, col_embed;  // [G, D/2] position tables
  std::vector<EncoderLayer> encoder;
  std::vector<DecoderLayer> decoder;  // 2D wide
  LayerNorm decoder_norm;
  Linear output_proj;         // [H, C, 2D], [H, C]: the heads (experts), one per class or one in all
  LayerNorm classifier_norm;  // of the mean of h0 over the tokens
  Linear classifier1, classifier2;

  std::vector<Codebook> codebooks;  // by level: 0 is the top (coarsest), the last the finest
  at::Tensor attention_mask;        // [N, N] of every attention (layers.h); undefined: none

  at::Tensor values;     // [P]
  at::Tensor gradients;  // [P] every parameter's .grad() is a view of it

  int64_t levels() const { return static_cast<int64_t>(codebooks.size()); }
  int64_t tokens() const { return input.grid * input.grid; }
};

/// Errors: a width that the heads or the position cannot split; a neighbour mask that leaves a token nothing.
Status check_model(const ModelSpec& spec, const InputShape& input);

/// A model with parameters and codebooks drawn from `seed`, the same on every machine of one kind. `options` gives type
/// and device.
Model make_model(const ModelSpec& spec, const InputShape& input, uint64_t seed, const at::TensorOptions& options);

/// For use without training: no parameter has a gradient any more.
void freeze(Model& model);

/// Lets the gradients lie in another tensor [P], such as the head of a buffer that is all-reduced.
void place_gradients(Model& model, const at::Tensor& gradients);

/// The parameters under their names of MODEL.md ("Encoder and decoder"), as views that share memory, without history.
std::vector<NamedTensor> named_parameters(const Model& model);

/// Their gradients, named as the parameters.
std::vector<NamedTensor> named_gradients(const Model& model);

/// The codebooks' buffers, as `quantize_list_5.<class>.embed` [d, K] and so on; views that share memory. Call refresh()
/// after writing to them.
std::vector<NamedTensor> named_codebooks(const Model& model);

}  // namespace hivq
