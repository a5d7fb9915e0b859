// Images per second of the frozen backbone. Each case prints `of_gemm`: the rate of its convolutions' multiplications
// against at::mm's on large matrices, on the same threads in the same run. Depthwise convolutions and activations are
// bound by memory rather than by multiplications, so 1 is out of reach.

#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>

#include "tests/worker/bench_reference.h"
#include "worker/backbone/architecture.h"
#include "worker/backbone/efficientnet.h"
#include "worker/commands/bench_shape.h"
#include "worker/data/feature_file.h"
#include "worker/data/image_set.h"
#include "worker/data/preprocess.h"

namespace hivq {
namespace {

/// Lite0 at stages 1, 2, 3, 5: the default.
EfficientNet lite0() {
  const BackboneSpec spec;
  const auto weights = load_backbone_weights(spec, HIVQ_DEPS_DIR "/weights");
  if (!weights) panic(weights.error().message);
  return make_efficientnet(spec, weights->file, weights->path).value();
}

/// b4 at the paper's taps, with weights of no meaning: their values do not matter to the time.
EfficientNet b4() {
  BackboneSpec spec;
  spec.name = "efficientnet-b4";
  spec.blocks = {1, 5, 9, 21};
  const Architecture architecture = architecture_of(spec.name).value();
  Naming naming;
  SafeTensors weights;
  const auto add_norm = [&](const std::string& name, int64_t channels) {
    for (const auto* part : {".weight", ".bias", ".running_mean", ".running_var"}) {
      weights.tensors[name + part] = at::rand(channels) + 0.5;
    }
  };
  const auto add = [&](const LayerNames& names, at::IntArrayRef shape) {
    weights.tensors[names.convolution + ".weight"] = at::randn(shape) * 0.01;
    if (names.norm.empty()) weights.tensors[names.convolution + ".bias"] = at::rand(shape[0]);
    if (!names.norm.empty()) add_norm(names.norm, shape[0]);
  };
  add(naming.stem(), {architecture.stem, 3, 3, 3});
  for (const BlockShape& block : architecture.blocks) {
    if (block.expansion != 1) add(naming.of(block, Layer::expand), {block.wide(), block.in, 1, 1});
    add(naming.of(block, Layer::depthwise), {block.wide(), 1, block.kernel, block.kernel});
    add(naming.of(block, Layer::squeeze), {block.squeezed, block.wide(), 1, 1});
    add(naming.of(block, Layer::excite), {block.wide(), block.squeezed, 1, 1});
    add(naming.of(block, Layer::project), {block.out, block.wide(), 1, 1});
  }
  return make_efficientnet(spec, weights, "random").value();
}

/// Floating-point operations of one image's convolutions; those of squeeze-and-excitation are too few to count.
double operations(const EfficientNet& net, int64_t image_size) {
  int64_t size = image_size;
  double sum = 0;
  const auto add = [&](const FoldedConvolution& c) {
    size = (size + c.stride - 1) / c.stride;
    sum += 2.0 * static_cast<double>(c.weight.numel() * size * size);
  };
  add(net.stem);
  for (const InvertedBottleneck& block : net.blocks) {
    if (block.expand) add(*block.expand);
    add(block.depthwise);
    add(block.project);
  }
  return sum;
}

void backbone(benchmark::State& state, const EfficientNet& net) {
  const int64_t batch = state.range(0), size = state.range(1);
  const at::Tensor images = at::randn({batch, 3, size, size});
  const double gemm = matmul_rate(at::kCPU);
  double seconds = 0;
  for (auto _ : state) seconds += seconds_of([&] { benchmark::DoNotOptimize(extract_features(net, images)); });
  const double rate = static_cast<double>(batch * state.iterations()) / seconds;
  state.counters["images/s"] = rate;
  state.counters["GFLOP/s"] = rate * operations(net, size) / 1e9;
  state.counters["of_gemm"] = rate * operations(net, size) / gemm;
}
void backbone_lite0(benchmark::State& state) { backbone(state, lite0()); }
void backbone_b4(benchmark::State& state) { backbone(state, b4()); }
BENCHMARK(backbone_lite0)->ArgsProduct({{1, 4, 32}, {112, 224}})->UseRealTime();
BENCHMARK(backbone_b4)->ArgsProduct({{1, 4, 32}, {224}})->UseRealTime();

/// Decoding, preprocessing and backbone, as the cache is filled; `of_backbone`: against the backbone alone.
void from_file_to_features(benchmark::State& state) {
  const EfficientNet net = lite0();
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
  for (auto _ : state)
    seconds += seconds_of([&] { benchmark::DoNotOptimize(checksum64(std::as_bytes(std::span(values)))); });
  const double each = seconds / static_cast<double>(state.iterations());
  state.counters["GB/s"] = static_cast<double>(values.size() * sizeof(float)) / each / 1e9;
  state.counters["of_copy"] = copying / each;
}
BENCHMARK(checksum)->UseRealTime();

}  // namespace
}  // namespace hivq

BENCHMARK_MAIN();
