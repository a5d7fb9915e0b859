// Time of a training step. `of_gemm`: its rate of multiplications against at::mm's on large matrices, on the same
// threads in the same run; softmax, dropout, norms and the optimiser are bound by memory, so 1 is out of reach.

#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include <chrono>

#include "tests/worker/bench_reference.h"
#include "worker/commands/bench_shape.h"
#include "worker/eval/evaluate.h"
#include "worker/model/forward.h"
#include "worker/model/fused_attention.h"
#include "worker/train/step.h"

namespace hivq {
namespace {

BenchShape shape_of(const benchmark::State& state) {
  return bench_shape(state.range(0) != 0 ? "paper" : "quick", 16, at::kCPU).value();
}

void train(benchmark::State& state) {
  BenchShape shape = shape_of(state);
  shape.spec.model.dropout = state.range(1) != 0 ? 0.1 : 0;
  Training training = make_training(std::span(&shape.spec, 1), shape.input, at::kFloat);
  const auto single = make_single_collective();
  std::vector<int64_t> images;
  for (int64_t i = 0; i < shape.spec.train.batch_size; ++i) images.push_back(i);
  const StepSetting setting{1e-4};
  const double gemm = matmul_rate(at::kCPU);
  double seconds = 0;
  for (auto _ : state) {
    seconds += seconds_of([&] {
      const Batch batch = load_batch(shape.features, images, 0, 1);
      benchmark::DoNotOptimize(
          train_step(training, std::span(&shape.spec, 1), batch, std::span(&setting, 1), *single).value());
    });
  }
  const double rate = static_cast<double>(shape.spec.train.batch_size * state.iterations()) / seconds;
  state.counters["images/s"] = rate;
  state.counters["GFLOP/s"] = rate * step_cost(shape).step() / 1e9;
  state.counters["of_gemm"] = rate * step_cost(shape).step() / gemm;
}
BENCHMARK(train)
    ->ArgNames({"paper", "dropout"})
    ->ArgsProduct({{0, 1}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void evaluation(benchmark::State& state) {
  BenchShape shape = shape_of(state);
  shape.spec.eval.pot = 80;
  const Training training = make_training(std::span(&shape.spec, 1), shape.input, at::kFloat);
  const auto single = make_single_collective();
  const double gemm = matmul_rate(at::kCPU);
  double seconds = 0;
  for (auto _ : state) {
    seconds += seconds_of(
        [&] { benchmark::DoNotOptimize(evaluate(training.model, shape.spec, shape.features, *single).value()); });
  }
  const double rate = static_cast<double>(shape.features.test.size(0) * state.iterations()) / seconds;
  state.counters["images/s"] = rate;
  state.counters["of_gemm"] = rate * step_cost(shape).forward() / gemm;
}
BENCHMARK(evaluation)->ArgName("paper")->Arg(0)->Arg(1)->UseRealTime()->Unit(benchmark::kMillisecond);

/// Attention at the paper's decoder, forward and backward: `of_tensor_operations` is the time of the same in
/// LibTorch's.
void attention_kernel(benchmark::State& state) {
  const int64_t heads = 8, width = 512;
  const at::Tensor qk = at::randn({16, 196, 2 * width}).requires_grad_(),
                   v = at::randn({16, 196, width}).requires_grad_();
  const auto run = [&](auto attention_of) {
    Dropout dropout{{{0.1, 1}}};
    LayerSetting how{heads, at::Tensor(), dropout};
    attention_of(qk.narrow(2, 0, width), qk.narrow(2, width, width), v, how).sum().backward();
  };
  double fused = 0, plain = 0;
  for (auto _ : state) {
    fused += seconds_of([&] { run(fused_attention); });
    state.PauseTiming();
    plain += seconds_of([&] { run(attend); });
    state.ResumeTiming();
  }
  state.counters["of_tensor_operations"] = fused / plain;
}
BENCHMARK(attention_kernel)->UseRealTime()->Unit(benchmark::kMillisecond);

/// A step of so many trials side by side: `of_alone` is its time by that of as many steps of one trial.
void pack_of_trials(benchmark::State& state) {
  const BenchShape shape = bench_shape("quick", 16, at::kCPU).value();
  const int64_t trials = state.range(0);
  const std::vector<TrialSpec> specs(static_cast<size_t>(trials), shape.spec);
  const std::vector<StepSetting> settings(specs.size(), {1e-4});
  Training together = make_training(specs, shape.input, at::kFloat);
  Training alone = make_training(std::span(specs).first(1), shape.input, at::kFloat);
  const auto single = make_single_collective();
  std::vector<int64_t> images;
  for (int64_t i = 0; i < 16 * trials; ++i) images.push_back(i % 16);
  const auto step = [&](Training& training, int64_t count) {
    const auto n = static_cast<size_t>(count);
    const Batch batch = load_batch(shape.features, std::span(images).first(16 * n), 0, 1, count);
    benchmark::DoNotOptimize(
        train_step(training, std::span(specs).first(n), batch, std::span(settings).first(n), *single).value());
  };
  double fused = 0, one = 0;
  for (auto _ : state) {
    fused += seconds_of([&] { step(together, trials); });
    state.PauseTiming();
    one += seconds_of([&] { step(alone, 1); });
    state.ResumeTiming();
  }
  state.counters["of_alone"] = fused / (one * static_cast<double>(trials));
}
BENCHMARK(pack_of_trials)->ArgName("trials")->Arg(2)->Arg(8)->UseRealTime()->Unit(benchmark::kMillisecond);

/// Dropout's masks: `ns` per element, and `of_copy` against a copy of the tensor.
void dropout(benchmark::State& state) {
  const at::Tensor x = at::randn({16, 8 * 196 * 196});
  at::Tensor copy = at::empty_like(x);
  double copying = 1e9, seconds = 0;
  for (int i = 0; i < 5; ++i) copying = std::min(copying, seconds_of([&] { copy.copy_(x); }));
  Dropout masks{{{0.1, 1}}};
  const at::NoGradGuard no_grad;
  for (auto _ : state) seconds += seconds_of([&] { benchmark::DoNotOptimize(masks(x)); });
  const double each = seconds / static_cast<double>(state.iterations());
  state.counters["ns"] = each / static_cast<double>(x.numel()) * 1e9;
  state.counters["of_copy"] = copying / each;
}
BENCHMARK(dropout)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hivq
