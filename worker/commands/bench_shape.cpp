#include "worker/commands/bench_shape.h"

#include <torch/cuda.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <limits>

namespace hivq {

Result<BenchShape> bench_shape(const std::string& name, int64_t batch_size, at::Device device) {
  BenchShape shape;
  ModelSpec& model = shape.spec.model;
  shape.spec.loss.pot = 0.01;
  shape.spec.train.batch_size = batch_size;
  if (name == "quick") {
    model.width = 64, model.layers = 2, model.heads = 4, model.feed_forward = 128, model.quantizer.prototypes = 64;
    shape.input = {192, 4, 5};
  } else if (name == "paper") {
    shape.input = {272, 14, 15};
  } else {
    return error("there is no shape `{}`; the shapes are paper and quick", name);
  }
  const int64_t images = 2 * batch_size;
  FeatureSet& features = shape.features;
  features.train = at::randn({images, shape.input.channels, shape.input.grid, shape.input.grid}, device);
  features.test = features.train;
  for (int64_t i = 0; i < images; ++i) {
    features.train_class.push_back(i % shape.input.classes);
    features.test_class.push_back(i % shape.input.classes);
    features.test_anomalous.push_back(i % 2 == 0);
  }
  for (int64_t c = 0; c < shape.input.classes; ++c) {
    features.trained_classes.push_back(c);
    features.class_names.push_back(fmt::format("class{}", c));
  }
  return shape;
}

StepCost step_cost(const BenchShape& shape) {
  const ModelSpec& model = shape.spec.model;
  const auto tokens = static_cast<double>(shape.input.grid * shape.input.grid);
  const auto channels = static_cast<double>(shape.input.channels), width = static_cast<double>(model.width);
  const auto hidden = static_cast<double>(model.feed_forward), layers = static_cast<double>(model.layers);
  const auto attention = [&](double d) { return 4 * d * d + 2 * tokens * d; };
  const double encoder = attention(width) + 2 * width * hidden;
  const double decoder = 2 * attention(2 * width) + 4 * width * hidden;
  const double dense = channels * width + layers * (encoder + decoder) + 2 * width * channels;
  // One product serves the distances and POT; only POT's has a gradient, to the tokens alone.
  const double products = static_cast<double>(model.quantizer.prototypes) * (width + layers * 2 * width);
  const double backward_of_products = shape.spec.loss.pot > 0 ? products : 0;
  return {2 * tokens * dense, 2 * tokens * (products + backward_of_products)};
}

double matmul_rate(at::Device device, bool bfloat16) {
  using clock = std::chrono::steady_clock;
  const int64_t n = device.is_cuda() ? 8192 : 1536;
  const auto type = bfloat16 ? at::kBFloat16 : at::kFloat;
  const at::Tensor a = at::randn({n, n}, device).to(type), b = at::randn({n, n}, device).to(type);
  at::Tensor out = at::empty({n, n}, a.options());
  double best = std::numeric_limits<double>::infinity();
  for (int run = 0; run < 8; ++run) {
    const auto begin = clock::now();
    at::mm_out(out, a, b);
    if (device.is_cuda()) torch::cuda::synchronize();
    best = std::min(best, std::chrono::duration<double>(clock::now() - begin).count());
  }
  const auto edge = static_cast<double>(n);
  return 2 * edge * edge * edge / best;
}

}  // namespace hivq
