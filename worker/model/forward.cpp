#include "worker/model/forward.h"

#include <torch/torch.h>

#include "worker/model/grouped.h"

namespace hivq {

std::vector<at::Tensor> encode(const Model& model, const at::Tensor& h0, const at::Tensor& position, Dropout& dropout) {
  const Linear& projection = model.quantize_conv_t;
  std::vector<at::Tensor> enc = {at::linear(h0, projection.weight.flatten(1), projection.bias)};
  Attending how{model.spec.heads, model.attention_mask, dropout};
  for (const EncoderLayer& layer : model.encoder) enc.push_back(encoder_layer(layer, how, enc.back(), position));
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
  out.reconstruction = reconstruct(model, decode(model, out.levels, position, dropout), classes);
  return out;
}

at::Tensor decode(const Model& model, const std::vector<Quantized>& levels, const at::Tensor& position,
                  Dropout& dropout) {
  std::vector<at::Tensor> memory;  // from coarse to fine
  if (levels.size() == 1) memory.push_back(at::cat({levels[0].output, levels[0].output}, 2));
  for (size_t level = 1; level < levels.size(); ++level) memory.push_back(levels[level].output);

  const at::Tensor wide_position = at::cat({position, position}, 1);
  Attending how{model.spec.heads, model.attention_mask, dropout};
  at::Tensor x = memory[0];
  for (size_t i = 0; i < model.decoder.size(); ++i) {
    x = decoder_layer(model.decoder[i], how, x, memory[std::min(i, memory.size() - 1)], wide_position);
  }
  return layer_norm(model.decoder_norm, x);
}

at::Tensor reconstruct(const Model& model, const at::Tensor& dec, const at::Tensor& classes) {
  return grouped_matmul(dec, model.output_proj.weight, classes, model.output_proj.bias);
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
