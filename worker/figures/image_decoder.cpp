#include "worker/figures/image_decoder.h"

#include <torch/torch.h>

#include <cmath>
#include <numbers>

#include "worker/figures/heat.h"
#include "worker/train/sampler.h"

namespace hivq {

/// From G×G tokens to S×S pixels: each stage doubles the size.
struct ImageDecoder::Network {
  torch::nn::Sequential layers;
  at::Tensor mean, deviation;  // [1, C, 1, 1] of the features

  at::Tensor operator()(const at::Tensor& features) { return layers->forward((features - mean) / deviation); }
};

namespace {

constexpr int64_t kWidest = 128, kNarrowest = 16;  // channels

torch::nn::Sequential make_layers(int64_t channels, int64_t stages) {
  torch::nn::Sequential layers;
  int64_t width = kWidest;
  layers->push_back(torch::nn::Conv2d(torch::nn::Conv2dOptions(channels, width, 1)));
  for (int64_t stage = 0; stage < stages; ++stage) {
    const int64_t next = std::max(width / 2, kNarrowest);
    layers->push_back(torch::nn::ReLU());
    layers->push_back(torch::nn::Upsample(torch::nn::UpsampleOptions()
                                              .scale_factor(std::vector<double>{2, 2})
                                              .mode(torch::kBilinear)
                                              .align_corners(false)));
    layers->push_back(torch::nn::Conv2d(torch::nn::Conv2dOptions(width, next, 3).padding(1)));
    width = next;
  }
  layers->push_back(torch::nn::ReLU());
  layers->push_back(torch::nn::Conv2d(torch::nn::Conv2dOptions(width, 3, 3).padding(1)));
  layers->push_back(torch::nn::Sigmoid());
  return layers;
}

/// The chosen training images [n, 3, S, S], 0 … 1.
Result<at::Tensor> read_images(const FeatureSet& features, const std::vector<int64_t>& chosen, int64_t size) {
  std::vector<at::Tensor> images;
  for (const int64_t index : chosen) {
    const Result<at::Tensor> image = features.train_image(index);
    if (!image) return image.error();
    images.push_back(resized(*image, size).permute({2, 0, 1}).to(at::kFloat) / 255);
  }
  return at::stack(images);
}

}  // namespace

Result<ImageDecoder> ImageDecoder::train(const FeatureSet& features, int64_t image_size, const DecoderOptions& options,
                                         const std::function<void(int64_t, int64_t)>& progress) {
  const int64_t have = features.train.size(0), grid = features.train.size(2);
  if (have == 0 || !features.train_image) return error("there are no training images to learn painting from");
  std::vector<int64_t> chosen = epoch_order(have, options.seed, 0);  // mixes the classes
  chosen.resize(static_cast<size_t>(std::min(have, options.images)));
  const Result<at::Tensor> targets = read_images(features, chosen, image_size);
  if (!targets) return targets.error();
  const at::Tensor inputs =
      features.train.index_select(0, at::tensor(chosen, at::kLong).to(features.train.device())).to(at::kFloat);

  torch::manual_seed(options.seed);
  ImageDecoder decoder;
  decoder.network_ = std::make_shared<Network>();
  Network& network = *decoder.network_;
  network.mean = inputs.mean({0, 2, 3}, true);
  network.deviation = inputs.std({0, 2, 3}, false, true).clamp_min(1e-6);
  network.layers = make_layers(inputs.size(1), std::llround(std::log2(image_size / grid)));
  network.layers->to(inputs.device());
  torch::optim::AdamW optimizer(network.layers->parameters(), torch::optim::AdamWOptions(options.lr));
  const auto count = static_cast<int64_t>(chosen.size());
  double tail = 0;
  int64_t tail_steps = 0;
  for (int64_t step = 0; step < options.steps; ++step) {
    const double done = static_cast<double>(step) / static_cast<double>(options.steps);
    static_cast<torch::optim::AdamWOptions&>(optimizer.param_groups()[0].options())
        .lr(options.lr * 0.5 * (1 + std::cos(std::numbers::pi * done)));
    const at::Tensor batch = at::randint(count, {std::min(options.batch, count)}, at::kLong);
    optimizer.zero_grad();
    const at::Tensor loss = at::mse_loss(network(inputs.index_select(0, batch.to(inputs.device()))),
                                         targets->index_select(0, batch).to(inputs.device()));
    loss.backward();
    optimizer.step();
    if (10 * step >= 9 * options.steps) tail += loss.item<double>(), ++tail_steps;
    if (progress) progress(step + 1, options.steps);
  }
  decoder.loss_ = tail / static_cast<double>(std::max<int64_t>(tail_steps, 1));
  return decoder;
}

at::Tensor ImageDecoder::paint(const at::Tensor& features) const {
  const at::NoGradGuard no_grad;
  return (*network_)(features).mul(255).round().to(at::kCPU, at::kByte).permute({0, 2, 3, 1}).contiguous();
}

}  // namespace hivq
