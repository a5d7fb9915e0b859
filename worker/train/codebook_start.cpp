#include "worker/train/codebook_start.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/torch.h>

#include "worker/model/forward.h"
#include "worker/train/sampler.h"
#include "worker/train/step.h"

namespace hivq {
namespace {

constexpr int64_t kTokensPerPrototype = 4;  // of which one is drawn
constexpr double kNoise = 0.01;             // of a repeated token, in standard deviations of the tokens

/// The first images of a class (any, for −1) in the order.
at::Tensor first_images(const FeatureSet& features, const std::vector<int64_t>& order, int64_t class_index,
                        int64_t count) {
  std::vector<int64_t> images;
  for (const int64_t image : order) {
    if (static_cast<int64_t>(images.size()) == count) break;
    if (class_index < 0 || features.train_class[static_cast<size_t>(image)] == class_index) images.push_back(image);
  }
  return at::tensor(images, at::kLong).to(features.train.device());
}

/// `count` rows of tokens [T, d], distinct as far as they reach.
at::Tensor draw_tokens(const at::Tensor& tokens, int64_t count, at::Generator& generator) {
  const int64_t have = tokens.size(0);
  const at::Tensor order = at::randperm(have, generator, at::TensorOptions(at::kLong)).to(tokens.device());
  const at::Tensor chosen = order.index_select(0, at::arange(count, order.options()).remainder(have));
  const at::Tensor drawn = tokens.index_select(0, chosen);
  if (count <= have) return drawn;
  at::Tensor noise = at::randn({count, tokens.size(1)}, generator, at::TensorOptions(at::kFloat)).to(tokens.options());
  noise.narrow(0, 0, have).zero_();
  return drawn + noise * (kNoise * tokens.std(/*unbiased=*/false));
}

}  // namespace

void start_codebooks_from_data(Model& model, const FeatureSet& features, uint64_t seed) {
  const at::NoGradGuard no_grad;
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  const std::vector<int64_t> order = epoch_order(features.train.size(0), seed, 0);
  const at::Tensor position = position_of(model);
  const int64_t codebooks = model.codebooks[0].codebooks(), prototypes = model.spec.quantizer.prototypes;
  const int64_t wanted = 1 + kTokensPerPrototype * prototypes / model.tokens();
  for (int64_t s = 0; s < codebooks; ++s) {
    const at::Tensor images = first_images(features, order, codebooks == 1 ? -1 : s, wanted);
    if (images.numel() == 0) continue;  // a class without training images keeps its random prototypes
    const at::Tensor classes = at::full({images.numel()}, s, images.options());
    Dropout none;
    const std::vector<at::Tensor> enc = encode(model, tokens_of(features.train, images), position, none);
    std::vector<Quantized> levels;
    for (Codebook& codebook : model.codebooks) {
      const at::Tensor tokens = level_tokens(enc, levels);
      codebook.embed[s] = draw_tokens(tokens.flatten(0, 1), prototypes, generator);
      codebook.embed_avg[s] = codebook.embed[s];
      codebook.cluster_size[s].fill_(1);
      refresh(codebook);
      levels.push_back(quantize(codebook, tokens, classes));
    }
  }
}

}  // namespace hivq
