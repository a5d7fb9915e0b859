#pragma once

// What the benchmarks measure against: at::mm's rate on the same threads in the same run.

#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <functional>

namespace hivq {

inline double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Floating-point operations per second of at::mm at its best of ten.
inline double gemm_rate() {
  const int64_t n = 1024;
  const at::Tensor a = at::randn({n, n}), b = at::randn({n, n});
  double best = 1e9;
  for (int i = 0; i < 10; ++i) best = std::min(best, seconds_of([&] { benchmark::DoNotOptimize(at::mm(a, b)); }));
  return 2.0 * n * n * n / best;
}

}  // namespace hivq
