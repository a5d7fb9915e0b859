#include "worker/train/codebook_start.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/torch.h>

#include <algorithm>

#include "worker/model/forward.h"
#include "worker/train/sampler.h"
#include "worker/train/step.h"

namespace hivq {
namespace {

constexpr int64_t kTokensPerPrototype = 4;  // of which one is drawn

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

/// `count` different rows of tokens [T, d].
at::Tensor draw_tokens(const at::Tensor& tokens, int64_t count, at::Generator& generator) {
  const at::Tensor order = at::randperm(tokens.size(0), generator, at::TensorOptions(at::kLong)).to(tokens.device());
  return tokens.index_select(0, order.narrow(0, 0, count));
}

/// The same, k-means++'s draw: far from each other.
at::Tensor draw_far_tokens(const at::Tensor& tokens, int64_t count, at::Generator& generator) {
  const at::Tensor uniform = at::rand({count}, generator, at::kDouble);
  const at::Tensor squared_norm = tokens.square().sum(1);
  at::Tensor distance = at::ones({tokens.size(0)}, tokens.options());  // squared, to the nearest that is drawn
  std::vector<int64_t> drawn;
  for (int64_t i = 0; i < count; ++i) {
    const at::Tensor mass = distance.to(at::kDouble).cumsum(0);
    const double total = mass[-1].item<double>();
    int64_t next = at::searchsorted(mass, uniform[i].to(mass.device()) * total, false, /*right=*/true).item<int64_t>();
    next = std::min(next, tokens.size(0) - 1);
    drawn.push_back(next);
    const at::Tensor to_next = (squared_norm - 2 * tokens.mv(tokens[next]) + squared_norm[next]).clamp_min(0);
    distance = i == 0 ? to_next : at::minimum(distance, to_next);
    distance[next] = 0;
  }
  return tokens.index_select(0, at::tensor(drawn, at::kLong).to(tokens.device()));
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
    const at::Tensor classes = at::full({images.numel()}, s, images.options());
    Dropout none;
    const std::vector<at::Tensor> enc = encode(model, tokens_of(features.train, images), position, none);
    std::vector<Quantized> levels;
    for (Codebook& codebook : model.codebooks) {
      const at::Tensor tokens = level_tokens(enc, levels);
      const auto draw = model.spec.quantizer.start == "k-means++" ? draw_far_tokens : draw_tokens;
      codebook.embed[s] = draw(tokens.flatten(0, 1), prototypes, generator);
      codebook.embed_avg[s] = codebook.embed[s];
      codebook.cluster_size[s].fill_(1);
      refresh(codebook);
      levels.push_back(quantize(codebook, tokens, classes));
    }
  }
}

Status check_prototypes(const ModelSpec& spec, const FeatureSet& features) {
  const int64_t per_image = features.train.size(2) * features.train.size(3), prototypes = spec.quantizer.prototypes;
  const auto too_few = [&](const std::string& whose, int64_t images) {
    return error(
        "model.quantizer.prototypes is {}, but the {} training images of {} have only {} tokens; lower it, or train on "
        "more images",
        prototypes, images, whose, images * per_image);
  };
  if (!spec.quantizer.codebook_switching) {
    const int64_t images = features.train.size(0);
    return images * per_image < prototypes ? too_few("all classes", images) : Status();
  }
  for (size_t c = 0; c < features.trained_classes.size(); ++c) {
    const int64_t images = std::ranges::count(features.train_class, static_cast<int64_t>(c));
    if (images * per_image >= prototypes) continue;
    return too_few(fmt::format("class `{}`", features.class_names[static_cast<size_t>(features.trained_classes[c])]),
                   images);
  }
  return {};
}

}  // namespace hivq
