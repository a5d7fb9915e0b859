// Time of a training step. `of_gemm`: its rate of multiplications against at::mm's on large matrices, on the same
// threads in the same run; softmax, dropout, norms and the optimiser are bound by memory, so 1 is out of reach.

#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include <chrono>

#include "tests/worker/bench_reference.h"
#include "worker/eval/evaluate.h"
#include "worker/model/forward.h"
#include "worker/train/step.h"

namespace hivq {
namespace {

/// A trial's shape, and made-up features for it.
struct Shape {
  TrialSpec spec;
  InputShape input;
  FeatureSet features;
};
Shape shape_of(int64_t which) {
  Shape shape;
  ModelSpec& model = shape.spec.model;
  shape.spec.loss.pot = 0.01;
  if (which == 0) {  // of quick.yaml: Fashion-MNIST at 112 pixels
    model.width = 64, model.layers = 2, model.heads = 4, model.feed_forward = 128, model.quantizer.prototypes = 64;
    shape.input = {192, 7, 5};
  } else {  // of the paper's MVTec-AD
    shape.input = {272, 14, 15};
  }
  const int64_t images = 2 * shape.spec.train.batch_size;
  shape.features.train = at::randn({images, shape.input.channels, shape.input.grid, shape.input.grid});
  shape.features.test = shape.features.train;
  for (int64_t i = 0; i < images; ++i) {
    shape.features.train_class.push_back(i % shape.input.classes);
    shape.features.test_class.push_back(i % shape.input.classes);
    shape.features.test_anomalous.push_back(i % 2 == 0);
  }
  for (int64_t c = 0; c < shape.input.classes; ++c) shape.features.trained_classes.push_back(c);
  return shape;
}

/// Multiplications and additions of one image's forward pass: dense layers, attention, distances. Backward does twice
/// that, but for the distances.
struct Operations {
  double differentiable = 0, distances = 0;
  double step() const { return 3 * differentiable + distances; }
};
Operations operations(const Shape& shape) {
  const auto tokens = static_cast<double>(shape.input.grid * shape.input.grid);
  const auto channels = static_cast<double>(shape.input.channels), width = static_cast<double>(shape.spec.model.width);
  const auto hidden = static_cast<double>(shape.spec.model.feed_forward),
             layers = static_cast<double>(shape.spec.model.layers);
  const auto prototypes = static_cast<double>(shape.spec.model.quantizer.prototypes);
  const auto attention = [&](double d) { return 4 * d * d + 2 * tokens * d; };
  const double encoder = attention(width) + 2 * width * hidden;
  const double decoder = 2 * attention(2 * width) + 4 * width * hidden;
  const double distances = prototypes * (width + layers * 2 * width);
  const double pot = shape.spec.loss.pot > 0 ? distances : 0;
  const double dense = channels * width + layers * (encoder + decoder) + 2 * width * channels + pot;
  return {2 * tokens * dense, 2 * tokens * distances};
}

void train(benchmark::State& state) {
  Shape shape = shape_of(state.range(0));
  shape.spec.model.dropout = state.range(1) != 0 ? 0.1 : 0;
  Training training = make_training(shape.spec, shape.input, at::kFloat);
  const auto single = make_single_collective();
  std::vector<int64_t> images;
  for (int64_t i = 0; i < shape.spec.train.batch_size; ++i) images.push_back(i);
  const double gemm = gemm_rate();
  double seconds = 0;
  for (auto _ : state) {
    seconds += seconds_of([&] {
      const Batch batch = load_batch(shape.features, images, 0, 1);
      benchmark::DoNotOptimize(train_step(training, shape.spec, batch, 1e-4, false, *single).value());
    });
  }
  const double rate = static_cast<double>(shape.spec.train.batch_size * state.iterations()) / seconds;
  state.counters["images/s"] = rate;
  state.counters["GFLOP/s"] = rate * operations(shape).step() / 1e9;
  state.counters["of_gemm"] = rate * operations(shape).step() / gemm;
}
BENCHMARK(train)
    ->ArgNames({"paper", "dropout"})
    ->ArgsProduct({{0, 1}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void evaluation(benchmark::State& state) {
  Shape shape = shape_of(state.range(0));
  shape.spec.eval.pot = 80;
  const Training training = make_training(shape.spec, shape.input, at::kFloat);
  const auto single = make_single_collective();
  const double gemm = gemm_rate();
  double seconds = 0;
  for (auto _ : state) {
    seconds += seconds_of(
        [&] { benchmark::DoNotOptimize(evaluate(training.model, shape.spec, shape.features, *single).value()); });
  }
  const double rate = static_cast<double>(shape.features.test.size(0) * state.iterations()) / seconds;
  state.counters["images/s"] = rate;
  state.counters["of_gemm"] = rate * operations(shape).differentiable / gemm;
}
BENCHMARK(evaluation)->ArgName("paper")->Arg(0)->Arg(1)->UseRealTime()->Unit(benchmark::kMillisecond);

/// Dropout's masks: `ns` per element, and `of_copy` against a copy of the tensor.
void dropout(benchmark::State& state) {
  const at::Tensor x = at::randn({16, 8 * 196 * 196});
  at::Tensor copy = at::empty_like(x);
  double copying = 1e9, seconds = 0;
  for (int i = 0; i < 5; ++i) copying = std::min(copying, seconds_of([&] { copy.copy_(x); }));
  Dropout masks{0.1, 1};
  const at::NoGradGuard no_grad;
  for (auto _ : state) seconds += seconds_of([&] { benchmark::DoNotOptimize(masks(x)); });
  const double each = seconds / static_cast<double>(state.iterations());
  state.counters["ns"] = each / static_cast<double>(x.numel()) * 1e9;
  state.counters["of_copy"] = copying / each;
}
BENCHMARK(dropout)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hivq
