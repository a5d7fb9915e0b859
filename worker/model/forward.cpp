#include "worker/model/forward.h"

#include <torch/torch.h>

#include "worker/gpu/arguments.h"
#include "worker/gpu/kernels.h"
#include "worker/model/gpu_layers.h"
#include "worker/model/grouped.h"
#include "worker/model/precision.h"

namespace hivq {

namespace {

/// The layers' kernels keep a row in registers, and what dropout draws from is an argument.
bool gpu_layers_take(const Model& model, const at::Tensor& h0) {
  return gpu_kernels_take(h0) && std::max(2 * model.spec.width, model.tokens() + 31) <= kGpuMostColumns &&
         model.trials <= DropoutStreams::kMost;
}

GpuSetting gpu_setting(const Model& model, const at::Tensor& position, Dropout& dropout) {
  const at::Tensor rounded = model.bfloat16 ? model.values.to(at::kBFloat16) : at::Tensor();
  return {model.spec.heads, model.attention_mask, position, dropout, rounded, model.values};
}

Linear projection_of(const Model& model) {
  return {model.quantize_conv_t.weight.flatten(-3), model.quantize_conv_t.bias};
}

/// The memories of the decoder's layers, from coarse to fine (forward.h).
std::vector<at::Tensor> memories_of(const std::vector<Quantized>& levels) {
  std::vector<at::Tensor> memory;
  if (levels.size() == 1) memory.push_back(at::cat({levels[0].output, levels[0].output}, 2));
  for (size_t level = 1; level < levels.size(); ++level) memory.push_back(levels[level].output);
  return memory;
}

/// All heads, one trial's after another's, and the place of each image's among them.
std::pair<Linear, at::Tensor> heads_of(const Model& model, const at::Tensor& classes) {
  const Linear& heads = model.output_proj;
  if (model.trials == 1) return {heads, classes};
  return {{heads.weight.flatten(0, 1), heads.bias.flatten(0, 1)}, place_of(model, classes, heads.weight.size(1))};
}

std::vector<at::Tensor> encode(const Model& model, GpuSetting& how, const at::Tensor& h0) {
  std::vector<at::Tensor> enc = {gpu_linear(how, projection_of(model), h0).to(h0.scalar_type())};
  GpuTokens x = gpu_tokens(how, enc[0]);
  for (const EncoderLayer& layer : model.encoder) {
    x = gpu_encoder_layer(layer, how, x);
    enc.push_back(x.x);
  }
  return enc;
}

at::Tensor decode(const Model& model, GpuSetting& how, const std::vector<Quantized>& levels) {
  GpuSetting wide = how;
  wide.position = at::cat({how.position, how.position}, -1);
  std::vector<GpuTokens> memory;
  for (const at::Tensor& tokens : memories_of(levels)) memory.push_back(gpu_tokens(wide, tokens));
  GpuTokens x = memory[0];
  for (size_t i = 0; i < model.decoder.size(); ++i) {
    x = gpu_decoder_layer(model.decoder[i], wide, x, memory[std::min(i, memory.size() - 1)]);
  }
  return layer_norm(model.decoder_norm, x.x);
}

at::Tensor reconstruct(const Model& model, const GpuSetting& how, const at::Tensor& dec, const at::Tensor& classes) {
  const auto [heads, place] = heads_of(model, classes);
  return gpu_heads(how, heads, dec, place);
}

Forward gpu_forward(const Model& model, const at::Tensor& h0, const at::Tensor& classes, Dropout& dropout) {
  GpuSetting how = gpu_setting(model, position_of(model, model.trials), dropout);
  Forward out;
  out.place = place_of(model, classes, model.codebooks_per_level());
  const std::vector<at::Tensor> enc = encode(model, how, h0);
  for (const Codebook& codebook : model.codebooks) {
    out.levels.push_back(quantize(codebook, level_tokens(enc, out.levels), out.place));
  }
  out.reconstruction = reconstruct(model, how, decode(model, how, out.levels), classes);
  return out;
}

}  // namespace

std::vector<at::Tensor> encode(const Model& model, const at::Tensor& h0, const at::Tensor& position, Dropout& dropout) {
  if (gpu_layers_take(model, h0)) {
    GpuSetting how = gpu_setting(model, position_of(model, model.trials), dropout);
    return encode(model, how, h0);
  }
  const Linear projection = projection_of(model);
  std::vector<at::Tensor> enc = {linear(projection, h0, model.bfloat16)};
  LayerSetting how{model.spec.heads, model.attention_mask, dropout, model.bfloat16};
  for (const EncoderLayer& layer : model.encoder) enc.push_back(encoder_layer(layer, how, enc.back(), position));
  return enc;
}

at::Tensor level_tokens(const std::vector<at::Tensor>& enc, const std::vector<Quantized>& above) {
  if (above.empty()) return enc.back();
  return at::cat({enc[enc.size() - 1 - above.size()], above.front().output}, 2);
}

Forward forward(const Model& model, const at::Tensor& h0, const at::Tensor& classes, Dropout& dropout) {
  if (gpu_layers_take(model, h0)) return gpu_forward(model, h0, classes, dropout);
  const at::Tensor position = position_of(model, h0.size(0));
  Forward out;
  out.place = place_of(model, classes, model.codebooks_per_level());
  const std::vector<at::Tensor> enc = encode(model, h0, position, dropout);
  for (const Codebook& codebook : model.codebooks) {
    out.levels.push_back(quantize(codebook, level_tokens(enc, out.levels), out.place));
  }
  out.reconstruction = reconstruct(model, decode(model, out.levels, position, dropout), classes);
  return out;
}

at::Tensor decode(const Model& model, const std::vector<Quantized>& levels, const at::Tensor& position,
                  Dropout& dropout) {
  const std::vector<at::Tensor> memory = memories_of(levels);
  const at::Tensor wide_position = at::cat({position, position}, -1);
  LayerSetting how{model.spec.heads, model.attention_mask, dropout, model.bfloat16};
  at::Tensor x = memory[0];
  for (size_t i = 0; i < model.decoder.size(); ++i) {
    x = decoder_layer(model.decoder[i], how, x, memory[std::min(i, memory.size() - 1)], wide_position);
  }
  return layer_norm(model.decoder_norm, x);
}

at::Tensor reconstruct(const Model& model, const at::Tensor& dec, const at::Tensor& classes) {
  const auto [heads, place] = heads_of(model, classes);
  const bool bf = model.bfloat16;
  return grouped_matmul(factor(dec, bf), factor(heads.weight, bf), place, factor(heads.bias, bf)).to(dec.scalar_type());
}

at::Tensor classify(const Model& model, const at::Tensor& h0) {
  const at::Tensor pooled = layer_norm(model.classifier_norm, h0.mean(1));
  return linear(model.classifier2, at::relu(linear(model.classifier1, pooled)));
}

at::Tensor position_of(const Model& model, int64_t images) {
  const int64_t grid = model.input.grid, half = model.spec.width / 2;
  std::vector<int64_t> shape = {grid, grid, half};
  if (model.trials > 1) shape.insert(shape.begin(), model.trials);
  const at::Tensor columns = model.col_embed.unsqueeze(-3).expand(shape);
  const at::Tensor rows = model.row_embed.unsqueeze(-2).expand(shape);
  const at::Tensor position = at::cat({columns, rows}, -1).flatten(-3, -2);
  if (model.trials == 1) return position;
  return position.unsqueeze(1).expand({-1, images / model.trials, -1, -1}).flatten(0, 1);
}

}  // namespace hivq
