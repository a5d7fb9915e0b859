// Pixels per second of the exact pixel metrics, as an evaluation computes them: AUROC, average precision, F1-max and
// AU-PRO of maps with their masks. `of_sort`: against std::sort of the same floats alone, in the same run.

#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include <algorithm>
#include <random>

#include "tests/worker/bench_reference.h"
#include "worker/eval/pixel_metrics.h"

namespace hivq {
namespace {

constexpr int64_t kSize = 224;
constexpr size_t kPixels = kSize * kSize;

struct Maps {
  std::vector<float> scores;   // of all images
  std::vector<uint8_t> masks;  // two thirds of the images have a defect of some 2 % of the pixels
};

Maps made_up(size_t images) {
  const auto count = static_cast<int64_t>(images);
  torch::manual_seed(1);
  const at::Tensor coarse = at::rand({count, 1, 14, 14});
  const at::Tensor large = at::upsample_bilinear2d(coarse, {kSize, kSize}, /*align_corners=*/true).contiguous();
  Maps maps;
  maps.scores.assign(large.const_data_ptr<float>(), large.const_data_ptr<float>() + large.numel());
  maps.masks.assign(images * kPixels, 0);
  std::mt19937 random(1);
  for (size_t i = 0; i < images; ++i) {
    if (i % 3 == 0) continue;
    const size_t row = random() % 190, column = random() % 190;
    for (size_t y = row; y < row + 32; ++y) {
      for (size_t x = column; x < column + 32; ++x) maps.masks[i * kPixels + y * kSize + x] = 1;
    }
  }
  return maps;
}

PixelMetrics metrics_of(const Maps& maps, size_t memory) {
  PixelScores pixels(memory);
  for (size_t at = 0; at < maps.scores.size(); at += kPixels) {
    const Status added = pixels.add(std::span(maps.scores).subspan(at, kPixels),
                                    std::span(maps.masks).subspan(at, kPixels), kSize, kSize);
    if (!added) panic(added.error().message);
  }
  return pixels.compute().value().value();
}

/// Arguments: images, and megabytes of memory.
void pixel_metrics(benchmark::State& state) {
  const Maps maps = made_up(static_cast<size_t>(state.range(0)));
  double sorting = 1e9, seconds = 0;
  for (int i = 0; i < 2; ++i) {
    std::vector<float> copy = maps.scores;
    sorting = std::min(sorting, seconds_of([&] { std::ranges::sort(copy); }));
    benchmark::DoNotOptimize(copy.data());
  }
  for (auto _ : state) {
    seconds +=
        seconds_of([&] { benchmark::DoNotOptimize(metrics_of(maps, static_cast<size_t>(state.range(1)) << 20)); });
  }
  const double each = seconds / static_cast<double>(state.iterations());
  state.counters["pixels/s"] = static_cast<double>(maps.scores.size()) / each;
  state.counters["of_sort"] = sorting / each;
}
BENCHMARK(pixel_metrics)
    ->Args({100, 256})
    ->Args({167, 256})
    ->Args({167, 16})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hivq
