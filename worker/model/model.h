#pragma once

// HVQ-Trans: its parameters and codebooks. What it computes is in forward.h.
//
// A model can be that of T trials side by side, which differ in their values alone and are computed as one batch: each
// parameter then has a first dimension T, the codebooks of a level lie one trial after the other ([T·S, K, d]), and so
// do the images of a batch ([T·b, N, C]).

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
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
/// all-reduce, the clip and the optimiser each make one pass over one tensor. Shapes are those of one trial.
struct Model {
  ModelSpec spec;
  InputShape input;
  int64_t trials = 1;  // T
  // The dense layers, the heads and attention on GPUs multiply in bfloat16: for training. Values, codebooks and what is
  // between the multiplications stay as they are.
  bool bfloat16 = false;

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

  at::Tensor values;     // [T, P]
  at::Tensor gradients;  // [T, P] every parameter's .grad() is a view of it

  int64_t levels() const { return static_cast<int64_t>(codebooks.size()); }
  int64_t tokens() const { return input.grid * input.grid; }
  int64_t codebooks_per_level() const { return codebooks[0].codebooks() / trials; }  // S
};

/// Errors: a width that the heads or the position cannot split; a neighbour mask that leaves a token nothing.
Status check_model(const ModelSpec& spec, const InputShape& input);

/// A model with parameters and codebooks drawn from `seed`, the same on every machine of one kind; with several seeds
/// that of as many trials. `options` gives type and device.
Model make_model(const ModelSpec& spec, const InputShape& input, uint64_t seed, const at::TensorOptions& options);
Model make_model(const ModelSpec& spec, const InputShape& input, std::span<const uint64_t> seeds,
                 const at::TensorOptions& options);

/// One of the trials as a model of its own in the same memory, without gradients.
Model trial_of(const Model& model, int64_t trial);

/// A copy of some of the trials.
Model copy_trials(const Model& model, const std::vector<int64_t>& trials);

/// The place of each image's codebook or head among all trials' (`per_trial` of each: as many as classes, or 1): its
/// trial · per_trial + class, or its trial alone. With one trial the class as it is. classes [T·b] → [T·b].
at::Tensor place_of(const Model& model, const at::Tensor& classes, int64_t per_trial);

/// The parameters in the order in which they lie in `values`.
std::vector<at::Tensor> parameters_of(const Model& model);

/// For use without training: no parameter has a gradient any more.
void freeze(Model& model);

/// Lets the gradients lie in another tensor [T, P], such as the head of a buffer that is all-reduced.
void place_gradients(Model& model, const at::Tensor& gradients);

/// The parameters under their names of MODEL.md ("Encoder and decoder"), as views that share memory, without history.
/// Of a model of one trial, as the next two.
std::vector<NamedTensor> named_parameters(const Model& model);

/// Their gradients, named as the parameters.
std::vector<NamedTensor> named_gradients(const Model& model);

/// The codebooks' buffers, as `quantize_list_5.<class>.embed` [d, K] and so on; views that share memory. Call refresh()
/// after writing to them.
std::vector<NamedTensor> named_codebooks(const Model& model);

}  // namespace hivq
