// Images per second of the frozen backbone. Each case prints `of_gemm`: the rate of its convolutions' multiplications
// against at::mm's on large matrices, on the same threads in the same run. Depthwise convolutions and ReLU6 are bound
// by memory rather than by multiplications, so 1 is out of reach.

#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>

#include "tests/worker/bench_reference.h"
#include "worker/backbone/efficientnet_lite.h"
#include "worker/data/feature_file.h"
#include "worker/data/image_set.h"
#include "worker/data/preprocess.h"

namespace hivq {
namespace {

EfficientNetLite network() {
  const std::string path = HIVQ_DEPS_DIR "/weights/efficientnet-lite0.safetensors";
  const auto weights = load_safetensors(path);
  if (!weights) panic(weights.error().message + "; run cmake/setup.sh");
  return make_efficientnet_lite0(*weights, {1, 2, 3, 5}, path).value();
}

/// Floating-point operations of one image's convolutions.
double operations(const EfficientNetLite& net, int64_t image_size) {
  int64_t size = image_size;
  double sum = 0;
  const auto add = [&](const FoldedConvolution& c) {
    size = (size + c.stride - 1) / c.stride;
    sum += 2.0 * static_cast<double>(c.weight.numel() * size * size);
  };
  add(net.stem);
  for (const auto& block : net.blocks) std::ranges::for_each(block.convolutions, add);
  return sum;
}

void backbone(benchmark::State& state) {
  const EfficientNetLite net = network();
  const int64_t batch = state.range(0), size = state.range(1);
  const at::Tensor images = at::randn({batch, 3, size, size});
  const double gemm = gemm_rate();
  double seconds = 0;
  for (auto _ : state) seconds += seconds_of([&] { benchmark::DoNotOptimize(extract_features(net, images)); });
  const double rate = static_cast<double>(batch * state.iterations()) / seconds;
  state.counters["images/s"] = rate;
  state.counters["GFLOP/s"] = rate * operations(net, size) / 1e9;
  state.counters["of_gemm"] = rate * operations(net, size) / gemm;
}
BENCHMARK(backbone)->ArgsProduct({{1, 4, 32}, {112, 224}})->UseRealTime();

/// Decoding, preprocessing and backbone, as the cache is filled; `of_backbone`: against the backbone alone.
void from_file_to_features(benchmark::State& state) {
  const EfficientNetLite net = network();
  const ImageSet images = load_images(DataSpec{}).value();
  const int64_t batch = 4, size = state.range(0);  // as in shared_features.cpp
  const at::Tensor random = at::randn({batch, 3, size, size});
  images.decode(0).value();  // unpacks the file
  double alone = 1e9, seconds = 0;
  for (int i = 0; i < 5; ++i) {
    alone = std::min(alone, seconds_of([&] { benchmark::DoNotOptimize(extract_features(net, random)); }));
  }
  for (auto _ : state) {
    seconds += seconds_of([&] {
      std::vector<at::Tensor> inputs;
      for (int64_t i = 0; i < batch; ++i) inputs.push_back(preprocess(images.decode(i).value(), size));
      benchmark::DoNotOptimize(extract_features(net, at::stack(inputs)));
    });
  }
  state.counters["images/s"] = static_cast<double>(batch * state.iterations()) / seconds;
  state.counters["of_backbone"] = alone * static_cast<double>(state.iterations()) / seconds;
}
BENCHMARK(from_file_to_features)->Arg(112)->Arg(224)->UseRealTime();

/// The cache's checksum; `of_copy`: against memcpy of the same bytes.
void checksum(benchmark::State& state) {
  std::vector<float> values(64 << 20, 1.0f), copy(values.size());
  const double copying = seconds_of([&] { std::ranges::copy(values, copy.begin()); });
  double seconds = 0;
  for (auto _ : state) seconds += seconds_of([&] { benchmark::DoNotOptimize(checksum64(values)); });
  const double each = seconds / static_cast<double>(state.iterations());
  state.counters["GB/s"] = static_cast<double>(values.size() * sizeof(float)) / each / 1e9;
  state.counters["of_copy"] = copying / each;
}
BENCHMARK(checksum)->UseRealTime();

}  // namespace
}  // namespace hivq

BENCHMARK_MAIN();
