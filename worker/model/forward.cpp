#include "worker/model/forward.h"

#include <torch/torch.h>

#include "worker/model/grouped.h"

namespace hivq {
namespace {

/// From coarse to fine; with a single level its output, twice, is every layer's memory.
at::Tensor decode(const Model& model, const std::vector<Quantized>& levels, const at::Tensor& position,
                  Dropout& dropout) {
  const at::Tensor wide_position = at::cat({position, position}, 1);
  const bool single = levels.size() == 1;
  const at::Tensor doubled = single ? at::cat({levels[0].output, levels[0].output}, 2) : at::Tensor();
  at::Tensor x = single ? doubled : levels[1].output;
  for (size_t i = 0; i < model.decoder.size(); ++i) {
    x = decoder_layer(model.decoder[i], model.spec.heads, x, single ? doubled : levels[i + 1].output, wide_position,
                      dropout);
  }
  return layer_norm(model.decoder_norm, x);
}

}  // namespace

std::vector<at::Tensor> encode(const Model& model, const at::Tensor& h0, const at::Tensor& position, Dropout& dropout) {
  const Linear& projection = model.quantize_conv_t;
  std::vector<at::Tensor> enc = {at::linear(h0, projection.weight.flatten(1), projection.bias)};
  for (const EncoderLayer& layer : model.encoder) {
    enc.push_back(encoder_layer(layer, model.spec.heads, enc.back(), position, dropout));
  }
  return enc;
}

at::Tensor level_tokens(const std::vector<at::Tensor>& enc, const std::vector<Quantized>& above) {
  if (above.empty()) return enc.back();
  return at::cat({enc[enc.size() - 1 - above.size()], above.front().output}, 2);
}

Forward forward(const Model& model, const at::Tensor& h0, const at::Tensor& classes, Dropout& dropout) {
  const at::Tensor position = position_of(model);
  Forward out;
  const std::vector<at::Tensor> enc = encode(model, h0, position, dropout);
  for (const Codebook& codebook : model.codebooks) {
    out.levels.push_back(quantize(codebook, level_tokens(enc, out.levels), classes));
  }
  const at::Tensor dec = decode(model, out.levels, position, dropout);
  out.reconstruction = grouped_matmul(dec, model.output_proj.weight, classes, model.output_proj.bias);
  return out;
}

at::Tensor classify(const Model& model, const at::Tensor& h0) {
  const at::Tensor pooled = layer_norm(model.classifier_norm, h0.mean(1));
  return linear(model.classifier2, at::relu(linear(model.classifier1, pooled)));
}

at::Tensor position_of(const Model& model) {
  const int64_t grid = model.input.grid, half = model.spec.width / 2;
  const at::Tensor columns = model.col_embed.unsqueeze(0).expand({grid, grid, half});
  const at::Tensor rows = model.row_embed.unsqueeze(1).expand({grid, grid, half});
  return at::cat({columns, rows}, 2).view({grid * grid, 2 * half});
}

}  // namespace hivq
