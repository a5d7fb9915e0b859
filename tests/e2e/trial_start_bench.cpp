// How fast a trial starts: on a gang that is warm (its ranks, data and features are there), against a gang that has to
// be started with mpirun first. The real programs, two ranks, a trial of one step of training.
//
//   build/release/bin/bench_e2e
//
// trial_start/cold_gang: mpirun to the trial's first metric. trial_start/warm_gang: submission to the first metric; its
// counters are the time to the trial's end and how many times faster than the cold gang it started.

#include <benchmark/benchmark.h>

#include <chrono>
#include <optional>
#include <thread>

#include "tests/e2e/harness.h"

namespace hivq {
namespace {

using clock = std::chrono::steady_clock;

double seconds_since(clock::time_point begin) { return std::chrono::duration<double>(clock::now() - begin).count(); }

const char* const kOneStep = R"(name: one step
data: {name: fashion-mnist, normal_classes: [0, 1], train_per_class: 4, test_per_class: 2, image_size: 64}
model: {width: 32, layers: 1, heads: 4, feed_forward: 64, quantizer: {prototypes: 16}}
train: {epochs: 1, batch_size: 8, lr_drop_epoch: 0}
)";

/// A coordinator with at most one gang of two ranks.
class Bench {
 public:
  Bench() : coordinator_(workspace_, workspace_.path("data")), client_(coordinator_.client()) {}

  void start_gang() {
    gang_ = workspace_.start({"mpirun", "-np", "2", "--oversubscribe", "--bind-to", "none", e2e::program("hivq-worker"),
                              "--coordinator", coordinator_.endpoint, "--cache", workspace_.path("features")},
                             "gang.log");
  }
  void stop_gang() {
    if (gang_) stop(*std::exchange(gang_, std::nullopt), std::chrono::seconds(10));
    wait([&] { return client_.ask<GangList>(QueryGangs{}).value().gangs.empty(); }, "the gang to be gone");
  }
  JobId submit() {
    const std::string key = "bench " + std::to_string(++submitted_);
    return client_.ask<Submitted>(Submit{key, "bench.yaml", kOneStep}).value().job;
  }
  void wait_for_first_metric(JobId job) {
    wait([&] { return !client_.ask<MetricSeries>(QueryMetrics{{job, 0}, ""}).value().series.empty(); }, "a metric");
  }
  void wait_for_end(JobId job) {
    JobView view;
    wait(
        [&] {
          view = client_.ask<JobDetail>(ShowJob{job}).value().job;
          return view.ended != 0;
        },
        "the trial's end");
    check(view.finished == 1, "a trial of the benchmark failed");
  }

 private:
  template <typename Condition>
  void wait(Condition condition, const char* what) {
    const auto begin = clock::now();
    while (!condition()) {
      if (seconds_since(begin) > 120) panic(std::string("the benchmark waited 120 s for ") + what);
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
  }

  e2e::Workspace workspace_;
  e2e::Coordinator coordinator_;
  Client client_;
  std::optional<ProcessId> gang_;
  int submitted_ = 0;
};

}  // namespace
}  // namespace hivq

int main(int argc, char** argv) {
  using namespace hivq;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  Bench bench;
  bench.start_gang();  // once, so that the features are in the cache of the host
  bench.wait_for_end(bench.submit());
  bench.stop_gang();

  double cold_seconds = 0;
  benchmark::RegisterBenchmark("trial_start/cold_gang",
                               [&](benchmark::State& state) {
                                 double sum = 0;
                                 for (auto _ : state) {
                                   const JobId job = bench.submit();
                                   const auto begin = clock::now();
                                   bench.start_gang();
                                   bench.wait_for_first_metric(job);
                                   state.SetIterationTime(seconds_since(begin));
                                   sum += seconds_since(begin);
                                   bench.wait_for_end(job);
                                   bench.stop_gang();
                                 }
                                 cold_seconds = sum / static_cast<double>(state.iterations());
                               })
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond)
      ->Iterations(3);

  benchmark::RegisterBenchmark(
      "trial_start/warm_gang",
      [&](benchmark::State& state) {
        bench.start_gang();
        bench.wait_for_end(bench.submit());
        double first = 0, finished = 0;
        for (auto _ : state) {
          const auto begin = clock::now();
          const JobId job = bench.submit();
          bench.wait_for_first_metric(job);
          state.SetIterationTime(seconds_since(begin));
          first += seconds_since(begin);
          bench.wait_for_end(job);
          finished += seconds_since(begin);
        }
        state.counters["finished_ms"] = 1000 * finished / static_cast<double>(state.iterations());
        if (cold_seconds > 0)
          state.counters["times_faster_than_cold"] = cold_seconds * static_cast<double>(state.iterations()) / first;
        bench.stop_gang();
      })
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond)
      ->Iterations(30);

  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
