// The kernels for GPUs, run on the CPU: each thread of a block is one of the CPU's. What they compute, and the code
// that starts them, beside tensor operations and the CPU's own kernels.

#include <math.h>

#include <array>
#include <barrier>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>

#include "tests/worker/model_fixture.h"
#include "tests/worker/trial_fixture.h"
#include "worker/gpu/arguments.h"
#include "worker/gpu/kernels.h"
#include "worker/model/gpu_attention.h"
#include "worker/model/pot.h"

namespace hivq {
namespace {

/// What CUDA gives to a kernel.
struct Place {
  unsigned x = 0, y = 0, z = 0;
};
struct Warp {
  std::barrier<> barrier{32};
  std::array<std::byte, 32> values[32];
};
Place blockIdx, blockDim, gridDim;
thread_local Place threadIdx;
thread_local Warp* warp = nullptr;
thread_local unsigned lane = 0;
std::barrier<>* block_barrier = nullptr;

/// What each lane has.
template <typename T, typename Use>
auto with_all_lanes(T x, Use use) {
  static_assert(sizeof x <= sizeof warp->values[0]);
  std::memcpy(&warp->values[lane], &x, sizeof x);
  warp->barrier.arrive_and_wait();
  const auto of_lane = [&](unsigned other) {
    T value;
    std::memcpy(&value, &warp->values[other], sizeof value);
    return value;
  };
  const auto result = use(of_lane);
  warp->barrier.arrive_and_wait();
  return result;
}
template <typename T>
T __shfl_xor_sync(unsigned, T x, int apart) {
  return with_all_lanes(x, [&](auto of_lane) { return of_lane(lane ^ static_cast<unsigned>(apart)); });
}
template <typename T>
T __shfl_sync(unsigned, T x, unsigned from) {
  return with_all_lanes(x, [&](auto of_lane) { return of_lane(from); });
}
unsigned __ballot_sync(unsigned, bool x) {
  return with_all_lanes(x, [](auto of_lane) {
    unsigned bits = 0;
    for (unsigned i = 0; i < 32; ++i) bits |= static_cast<unsigned>(of_lane(i)) << i;
    return bits;
  });
}
int __ffs(int x) { return ffs(x); }
template <typename T>
T rsqrt(T x) {
  return 1 / std::sqrt(x);
}
float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
void __syncwarp() { warp->barrier.arrive_and_wait(); }
float __expf(float x) { return std::exp(x); }
void __syncthreads() { block_barrier->arrive_and_wait(); }

/// The matrix units' product, as attention_tiles.cuh describes it.
void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  struct Factors {
    unsigned a[4], b[2];
  };
  const auto half = [](unsigned pair, unsigned which) {
    return std::bit_cast<float>(which == 0 ? pair << 16 : pair & 0xffff0000u);
  };
  const Factors mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  with_all_lanes(mine, [&](auto of_lane) {
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      for (unsigned k = 0; k < 16; ++k) {
        const Factors left = of_lane(row % 8 * 4 + k % 8 / 2), right = of_lane(column * 4 + k % 8 / 2);
        c[i] += half(left.a[row / 8 + k / 8 * 2], k % 2) * half(right.b[k / 8], k % 2);
      }
    }
    return 0;
  });
}

/// What a lane takes of squares whose rows the lanes point at.
unsigned short element(const void* row, unsigned column) { return static_cast<const unsigned short*>(row)[column]; }
void take_as_columns(unsigned (&to)[4], const void* row) {
  with_all_lanes(row, [&](auto of_lane) {
    for (unsigned i = 0; i < 4; ++i) {
      const void* own = of_lane(8 * i + lane / 4);
      to[i] = element(own, lane % 4 * 2) | unsigned{element(own, lane % 4 * 2 + 1)} << 16;
    }
    return 0;
  });
}
void take_as_rows(unsigned (&to)[4], const void* row) {
  with_all_lanes(row, [&](auto of_lane) {
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned first = 8 * i + lane % 4 * 2;
      to[i] = element(of_lane(first), lane / 4) | unsigned{element(of_lane(first + 1), lane / 4)} << 16;
    }
    return 0;
  });
}

#define HIVQ_BLOCK_HEIGHT 2  // fewer threads that wait for each other
#define __device__
#define __global__
#define __noinline__
#define __shared__ static
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wsign-compare"
#include "worker/gpu/kernels.cu"
#pragma GCC diagnostic pop

/// A kernel with its arguments: what a thread does.
using Thread = std::function<void()>;
template <typename... P>
std::function<Thread(void**)> bound(void (*kernel)(P...)) {
  return [kernel](void** arguments) {
    return [&]<size_t... I>(std::index_sequence<I...>) -> Thread {
      return [kernel, values = std::make_tuple(*static_cast<P*>(arguments[I])...)] { std::apply(kernel, values); };
    }(std::index_sequence_for<P...>());
  };
}

/// `together`: how many threads of a block wait for each other; the others may run one after another.
struct Emulated {
  unsigned together;
  std::function<Thread(void**)> bind;
};
constexpr unsigned kAlone = 1, kWarp = 32, kBlock = 0;

using Kernels = std::map<std::string, Emulated>;

template <typename T, typename Low>
Kernels kernels() {
  return {{"dropout", {kAlone, bound(dropout<T, T>)}},
          {"relu_dropout", {kAlone, bound(relu_dropout<T, Low>)}},
          {"relu_dropout_backward", {kAlone, bound(relu_dropout_backward<T, Low>)}},
          {"place", {kAlone, bound(place<T, Low>)}},
          {"place_backward", {kAlone, bound(place_backward<T, Low>)}},
          {"residual_norm", {kWarp, bound(residual_norm<T, Low, 8>)}},
          {"residual_norm_backward", {kWarp, bound(residual_norm_backward<T, Low, 8>)}},
          {"column_sums", {kBlock, bound(column_sums<T, Low>)}},
          {"norm_parameters", {kBlock, bound(norm_parameters<T, T>)}},
          {"sum_by_group", {kAlone, bound(sum_by_group<T, T>)}},
          {"split_heads", {kAlone, bound(split_heads<T, Low>)}},
          {"merge_heads", {kAlone, bound(merge_heads<T, Low>)}},
          {"softmax_dropout", {kWarp, bound(softmax_dropout<T, Low, 8>)}},
          {"softmax_dropout_backward", {kWarp, bound(softmax_dropout_backward<T, Low, 8>)}},
          {"nearest_prototype", {kWarp, bound(nearest_prototype<T, T>)}},
          {"codebook_statistics", {kBlock, bound(codebook_statistics<T, T>)}},
          {"move_prototypes", {kWarp, bound(move_prototypes<T, T>)}},
          {"pot_rows", {kWarp, bound(pot_rows<T, T>)}},
          {"pot_columns", {kBlock, bound(pot_columns<T, T>)}},
          {"squared_norms", {kWarp, bound(squared_norms<T, T>)}},
          {"adamw", {kBlock, bound(adamw<T, T>)}},
          {"pot_backward", {kWarp, bound(pot_backward<T, T>)}}};
}

/// Those for heads of a width.
template <int kWidth>
Kernels tiles() {
  return {{"attend", {kBlock, bound(attend<float, Bfloat16, kWidth>)}},
          {"attend_backward_queries", {kBlock, bound(attend_backward_queries<float, Bfloat16, kWidth>)}},
          {"attend_backward_keys", {kBlock, bound(attend_backward_keys<float, Bfloat16, kWidth>)}}};
}

const Emulated& kernel_of(const std::string& name, GpuTypes types) {
  static const Kernels floats = kernels<float, float>(), doubles = kernels<double, double>(),
                       mixed = kernels<float, Bfloat16>();
  static const std::map<int, Kernels> by_width = {{16, tiles<16>()}, {32, tiles<32>()}, {64, tiles<64>()}};
  static const Emulated bits{kWarp, bound(dropout_bits<float, float>)};
  if (name == "dropout_bits") return bits;
  if (name.starts_with("attend")) return by_width.at(types.constant).at(name);
  return (types.values == at::kDouble ? doubles : types.low == at::kBFloat16 ? mixed : floats).at(name);
}

/// Block after block.
void emulate(const std::string& name, GpuTypes types, GpuExtent grid, GpuExtent block, void** arguments) {
  const Emulated& kernel = kernel_of(name, types);
  const Thread body = kernel.bind(arguments);
  if (kernel.together == kBlock && block.y > 4) block.y = kHeight;
  const unsigned threads = block.x * block.y, together = kernel.together == kBlock ? threads : kernel.together;
  std::vector<Warp> warps(std::max(1u, together / 32));
  std::barrier<> all(together), between(together);
  block_barrier = &all;
  blockDim = {block.x, block.y, 1}, gridDim = {grid.x, grid.y, grid.z};
  const auto run = [&](unsigned first) {  // the threads first, first + together, …
    warp = &warps[first / 32];
    lane = first % 32;
    for (unsigned at = 0; at < grid.x * grid.y; ++at) {
      if (first == 0) blockIdx = {at % grid.x, at / grid.x, 0};
      between.arrive_and_wait();
      for (unsigned i = first; i < threads; i += together) {
        threadIdx = {i % block.x, i / block.x, 0};
        body();
      }
      between.arrive_and_wait();
    }
  };
  if (together == 1) return run(0);
  std::vector<std::jthread> running;
  for (unsigned i = 0; i < together; ++i) running.emplace_back(run, i);
}

class GpuKernels : public testing::Test {
 protected:
  void SetUp() override { emulate_gpu(emulate); }
  void TearDown() override { emulate_gpu(nullptr); }
};

TEST_F(GpuKernels, DropoutGivesTheMaskOfTheTensorOperations) {
  Dropout dropout{{{0.1, 0xfedcba9876543210, 4000000000u, 5}, {0.4, 7, 4000000000u, 2}}, 3};
  for (const int64_t count : {1, 7, 255, 256, 257, 1000, 4096}) {
    for (const auto type : {at::kFloat, at::kDouble}) {
      const at::Tensor x = at::randn({4, count}, type);
      const at::Tensor expected = x * dropout_mask(dropout, x);
      Dropout on_gpu = dropout;
      on_gpu.step = at::full({}, int64_t{4000000000}, at::kLong);
      EXPECT_TRUE(at::equal(on_gpu(x), expected)) << count;
    }
  }
}

TEST_F(GpuKernels, RoundToBfloat16AsLibTorch) {
  const at::Tensor x = at::cat({at::randn({1000}), at::tensor({0.0f, -0.0f, INFINITY, -INFINITY, NAN, 3.4e38f, 1e-40f}),
                                at::tensor({1.00390625f, 1.01171875f, -1.00390625f})});
  const at::Tensor expected = x.to(at::kBFloat16).to(at::kFloat);
  for (int64_t i = 0; i < x.numel(); ++i) {
    Bfloat16 rounded;
    put(&rounded, x[i].item<float>());
    const float value = rounded, wanted = expected[i].item<float>();
    EXPECT_TRUE(value == wanted || (std::isnan(value) && std::isnan(wanted))) << x[i].item<float>();
  }
}

/// Attention in tiles beside that by products: more than one tile of keys and of queries, and rows that lie apart.
TEST_F(GpuKernels, AttentionInTilesIsThatByProducts) {
  torch::manual_seed(3);
  for (const auto& [width, tokens, dropped, masked] :
       {std::tuple<int64_t, int64_t, bool, bool>{16, 70, true, false}, {32, 64, false, true}, {64, 70, true, true}}) {
    const int64_t images = 2, heads = 2, columns = heads * width;
    const auto low = at::TensorOptions(at::kBFloat16);
    const at::Tensor both = at::randn({images, tokens, 2 * columns}).to(low),
                     v = at::randn({images, tokens, columns}).to(low);
    const at::Tensor q = both.narrow(2, 0, columns), k = both.narrow(2, columns, columns);
    const at::Tensor g = at::randn({images, tokens, columns}).to(low);
    at::Tensor mask;
    if (masked) mask = at::zeros({tokens, tokens}).masked_fill_(at::rand({tokens, tokens}).lt(0.2), -INFINITY);
    const double rate = dropped ? 0.3 : 0;
    const Dropout dropout{{{rate, 5, 7, 3}, {rate / 2, 6, 7, 3}}, 2, at::full({}, 7, at::kLong)};  // of two trials
    const GpuAttention how{heads, mask, {at::kFloat, at::kBFloat16}};
    const auto run = [&](bool in_tiles) {
      without_attention_tiles(!in_tiles);
      std::vector<at::Tensor> saved, results = {gpu_attend(how, dropout, q, k, v, saved)};
      at::Tensor to_both = at::zeros_like(both), to_v = at::zeros_like(v);
      gpu_attend_backward(how, dropout, saved, g,
                          {to_both.narrow(2, 0, columns), to_both.narrow(2, columns, columns), to_v});
      results.insert(results.end(), {to_both, to_v});
      without_attention_tiles(false);
      return results;
    };
    const auto tiles = run(true), products = run(false);
    for (size_t i = 0; i < tiles.size(); ++i) {
      EXPECT_CLOSE(tiles[i].to(at::kFloat), products[i].to(at::kFloat), 0.02) << width << ", result " << i;
      EXPECT_GT(products[i].abs().max().item<float>(), 0.1);
    }
  }
}

TEST_F(GpuKernels, RefreshingACodebookGivesTheBitsOfItsUpdate) {
  Codebook codebook = make_codebook(at::randn({2, 5, 70}), 1);
  const CodebookStatistics statistics{at::rand({2, 5}), at::randn({2, 5, 70})};
  ema_update(codebook, statistics, at::arange(2), at::full({2}, 0.9, at::kDouble), at::ones({2}, at::kBool));
  const at::Tensor updated = codebook.squared_norm.clone();
  refresh(codebook);
  EXPECT_TRUE(at::equal(codebook.squared_norm, updated));
  EXPECT_CLOSE(updated, codebook.embed.square().sum(2), 1e-6);
}

/// Several steps with everything that a step can have, by the kernels and without them.
struct Case {
  const char* name;
  int64_t trials;
  double dropout;
  bool switching, masked;
  bool bfloat16 = false;
};
class GpuSteps : public testing::TestWithParam<Case> {
 protected:
  Training trained(bool emulated) const {
    const Case& how = GetParam();
    std::vector<TrialSpec> specs(static_cast<size_t>(how.trials), small_trial());
    for (size_t i = 0; i < specs.size(); ++i) {
      specs[i].train.seed = i;
      specs[i].model.dropout = how.dropout;
      specs[i].model.expert_switching = specs[i].model.quantizer.codebook_switching = how.switching;
      specs[i].model.neighbour_mask = how.masked ? 1 : 0;
      if (how.bfloat16) specs[i].train.precision = "bfloat16", specs[i].model.width = 32;
    }
    const FeatureSet features = made_up_features(12, 1, 3, how.bfloat16 ? at::kFloat : at::kDouble);
    emulate_gpu(emulated ? emulate : nullptr);
    Training training = make_training(specs, {6, 3, 3}, features.train.options());
    auto collective = make_single_collective();
    const std::vector<StepSetting> settings(specs.size(), {1e-3});
    for (int i = 0; i < 2; ++i) {
      std::vector<int64_t> images;
      for (size_t trial = 0; trial < specs.size(); ++trial) {
        for (const int64_t image : {0, 3, 5, 4 + i}) images.push_back(image);
      }
      const Batch batch = load_batch(features, images, 0, 1, how.trials);
      for (const StepReport& report : train_step(training, specs, batch, settings, *collective).value()) {
        EXPECT_TRUE(report.applied);
      }
    }
    emulate_gpu(nullptr);
    return training;
  }
};

TEST_P(GpuSteps, AreTheCpus) {
  const Training gpu = trained(true), cpu = trained(false);
  const double tolerance = GetParam().bfloat16 ? 0.02 : 1e-9;
  EXPECT_CLOSE(gpu.model.values, cpu.model.values, tolerance);
  const at::Tensor moments = cpu.optimizer.exp_avg;  // of the gradients
  EXPECT_LE((gpu.optimizer.exp_avg - moments).norm().item<double>(), 5 * tolerance * moments.norm().item<double>());
  EXPECT_CLOSE(gpu.distance, cpu.distance, tolerance);
  for (size_t level = 0; level < gpu.use.size(); ++level) {
    EXPECT_CLOSE(gpu.use[level], cpu.use[level], 0);
    EXPECT_CLOSE(gpu.model.codebooks[level].embed, cpu.model.codebooks[level].embed, tolerance);
    EXPECT_CLOSE(gpu.model.codebooks[level].cluster_size, cpu.model.codebooks[level].cluster_size, tolerance);
    EXPECT_CLOSE(gpu.model.codebooks[level].squared_norm, cpu.model.codebooks[level].squared_norm, tolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Of, GpuSteps,
    testing::Values(Case{"OneTrial", 1, 0.3, true, false}, Case{"WithoutDropout", 1, 0, true, true},
                    Case{"OneCodebook", 1, 0.3, false, false}, Case{"TwoTrials", 2, 0.3, true, false},
                    Case{"TwoTrialsOneCodebook", 2, 0.3, false, false}, Case{"InBfloat16", 2, 0.3, true, false, true}),
    [](const auto& made) { return made.param.name; });

}  // namespace
}  // namespace hivq
