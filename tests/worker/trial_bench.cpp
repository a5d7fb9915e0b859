// What a whole trial costs beyond its steps.

#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include "tests/worker/bench_reference.h"
#include "worker/commands/bench_shape.h"
#include "worker/train/run_trial.h"

namespace hivq {
namespace {

/// A trial of quick.yaml's shape that leaves a checkpoint after every epoch of 63 steps: `slower` is what that adds to
/// its time, beside the same trial without checkpoints.
void checkpoint_every_epoch(benchmark::State& state) {
  BenchShape shape = bench_shape("quick", 16, at::kCPU).value();
  const int64_t images = 63 * 16;
  shape.features.train = at::randn({images, 192, 4, 4});
  shape.features.train_class.resize(static_cast<size_t>(images));
  for (int64_t i = 0; i < images; ++i) shape.features.train_class[static_cast<size_t>(i)] = i % 5;
  shape.spec.train.epochs = 4, shape.spec.train.checkpoint_every = 1, shape.spec.train.eval_every = 1000;
  const auto single = make_single_collective();
  double bytes = 0;
  const auto train = [&](bool checkpoints) {
    TrialHooks hooks;
    if (checkpoints)
      hooks.checkpoint = [&](int64_t, std::string written) { bytes = static_cast<double>(written.size()); };
    TrialRun run;
    run.spec = shape.spec, run.hooks = hooks;
    return seconds_of(
        [&] { benchmark::DoNotOptimize(run_trials(std::span(&run, 1), shape.features, *single).value()); });
  };
  double with = 0, without = 0;
  for (auto _ : state) {
    with += train(true);
    state.PauseTiming();
    without += train(false);
    state.ResumeTiming();
  }
  state.counters["slower"] = with / without - 1;
  state.counters["MiB"] = bytes / (1 << 20);
}
BENCHMARK(checkpoint_every_epoch)->UseRealTime()->Unit(benchmark::kMillisecond)->MinTime(20);

}  // namespace
}  // namespace hivq
