// Suggestions a second: a trial is proposed, told, evaluated and told again, after so many others. The reference is a
// random search, which learns nothing; reference/optuna_compare.py measures Optuna's.

#include <benchmark/benchmark.h>

#include "tests/jobs/search_problems.h"

namespace hivq {
namespace {

/// A searcher that was told `known` trials of Hartmann's function, spread over the space.
std::unique_ptr<Searcher> informed(const std::string& search, int64_t known) {
  const Problem problem = hartmann6();
  auto searcher = searcher_of(sweep_of(problem, search, 100'000'000, 1));
  auto spread = searcher_of(sweep_of(problem, "random", known, 2));
  for (int64_t i = 0; i < known; ++i) {
    Observation seen;
    seen.index = i;
    seen.params = spread->propose(i)->params;
    seen.state = Observation::State::ended;
    seen.values = problem.values(seen.params);
    seen.curve = {{1, seen.values.front()}};
    searcher->tell(seen);
  }
  return searcher;
}

void suggest(benchmark::State& state, const std::string& search, int64_t known) {
  const Problem problem = hartmann6();
  auto searcher = informed(search, known);
  int64_t index = known;
  for (auto _ : state) {
    Observation seen;
    seen.index = index;
    auto proposal = searcher->propose(index++);
    if (!proposal) return state.SkipWithError("nothing is proposed");
    seen.params = std::move(proposal->params);
    searcher->tell(seen);
    seen.state = Observation::State::ended;
    seen.values = problem.values(seen.params);
    seen.curve = {{1, seen.values.front()}};
    searcher->tell(seen);
  }
}

constexpr int64_t sizes[] = {300, 1000, 10'000};  // trials that are known

/// Microseconds a suggestion, by the benchmark's name.
class Reporter : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    ConsoleReporter::ReportRuns(runs);
    for (const Run& run : runs) {
      if (!run.error_occurred) times[run.benchmark_name()] = run.GetAdjustedCPUTime();
    }
  }
  std::map<std::string, double> times;
};

}  // namespace
}  // namespace hivq

int main(int argc, char** argv) {
  using namespace hivq;
  constexpr const char* searches[] = {"random", "sobol", "tpe", "bohb", "gp", "cma-es", "nsga2", "pbt"};
  for (const char* search : searches) {
    for (const int64_t size : sizes) {
      benchmark::RegisterBenchmark(fmt::format("{}/{}", search, size).c_str(), suggest, std::string(search), size)
          ->Unit(benchmark::kMicrosecond);
    }
  }
  benchmark::Initialize(&argc, argv);
  Reporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  for (const char* search : searches) {
    std::string line = fmt::format("{:7}", search);
    for (const int64_t size : sizes) {
      const double time = reporter.times[fmt::format("{}/{}", search, size)];
      const double random = reporter.times[fmt::format("random/{}", size)];
      if (time > 0) line += fmt::format("  {:6}: {:8.0f}/s, {:6.1f} x random", size, 1e6 / time, time / random);
    }
    fmt::print("{}\n", line);
  }
}
