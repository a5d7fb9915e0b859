// Scheduling decisions: a gang is idle, which trial has it? With 10,000 gangs and 100,000 waiting trials of many users,
// projects, priorities, sizes and labels. Reference of the same run: a scheduler that sorts all that waits for every
// decision, as one would write it first. And what a core of a million trials takes.
//   bench_coordinator --benchmark_filter='Decisions|Million'

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "coordinator/snapshot.h"
#include "tests/coordinator/map_store.h"

namespace hivq {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int gangs_count = 10'000, jobs_count = 2000, trials_of_job = 50;
constexpr int projects_count = 20, users_count = 10;  // users of each project

double micros(Clock::duration time) { return std::chrono::duration<double, std::micro>(time).count(); }

double percentile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::ptrdiff_t>(part * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<size_t>(at)];
}

/// The same cluster for the scheduler and its reference, from a seed.
struct Load {
  std::mt19937_64 random{7};
  std::vector<Kind> kinds;  // of the gangs
  std::vector<Need> needs;  // of the jobs
  std::vector<Terms> jobs;

  template <typename T>
  T one_of(const std::vector<T>& of) {
    return of[random() % of.size()];
  }

  Load() {
    const std::vector<uint64_t> sizes{1, 1, 1, 2, 2, 4, 8};
    const std::vector<std::string> pools{"", "", "a100", "h100"};
    auto labels = [](const std::string& pool) { return pool.empty() ? Labels{} : Labels{{"pool", pool}}; };
    for (int i = 0; i < gangs_count; ++i) kinds.push_back({one_of(sizes), labels(one_of(pools))});
    for (int i = 0; i < jobs_count; ++i) {
      const bool any = random() % 3 == 0;
      needs.push_back({any ? 0 : one_of(sizes), labels(one_of(pools))});
      const uint64_t project = random() % projects_count;
      jobs.push_back({static_cast<JobId>(i + 1), one_of<int64_t>({0, 0, 0, 0, 1, 5}),
                      fmt::format("project {}", project), fmt::format("user {}-{}", project, random() % users_count)});
    }
  }
};

/// Sorts everything that waits for each decision, and walks the gangs.
class SortEverything {
 public:
  explicit SortEverything(const Load& load) : load_(load), idle_(load.kinds.size()) {
    for (uint64_t job = 0; job < load.jobs.size(); ++job) {
      for (uint64_t trial = 0; trial < trials_of_job; ++trial) waiting_.push_back({job, trial});
    }
  }
  void set_idle(size_t gang, bool idle) { idle_[gang] = idle; }
  /// The gang that got a trial.
  std::optional<size_t> next() {
    std::sort(waiting_.begin(), waiting_.end(), [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
    for (auto trial = waiting_.begin(); trial != waiting_.end(); ++trial) {
      for (size_t gang = 0; gang < idle_.size(); ++gang) {
        if (!idle_[gang] || !fits(load_.needs[trial->first], load_.kinds[gang])) continue;
        const Terms& terms = load_.jobs[trial->first];
        project_[terms.project] += static_cast<double>(load_.kinds[gang].ranks);
        user_[terms.user] += static_cast<double>(load_.kinds[gang].ranks);
        waiting_.erase(trial);
        idle_[gang] = false;
        return gang;
      }
    }
    return std::nullopt;
  }

 private:
  std::tuple<int64_t, double, double, uint64_t, uint64_t> rank(const std::pair<uint64_t, uint64_t>& trial) {
    const Terms& terms = load_.jobs[trial.first];
    return {-terms.priority, project_[terms.project], user_[terms.user], trial.first, trial.second};
  }

  const Load& load_;
  std::vector<bool> idle_;
  std::vector<std::pair<uint64_t, uint64_t>> waiting_;
  std::map<std::string, double> project_, user_;
};

/// The scheduler with all gangs busy and 100,000 trials waiting, in a run that goes on and on.
struct Cluster {
  Load load;
  Scheduler scheduler;
  std::vector<GangId> gangs;
  std::vector<TrialId> runs;  // of each gang
  uint64_t next_trial = trials_of_job;
  Millis now = 1'700'000'000'000;

  Cluster()
      : scheduler(
            parse_policy("projects: {\"project 0\": {weight: 4}}\nusers: {\"*\": {max_ranks: 900}}\n", "p").value()) {
    for (int i = 0; i < gangs_count; ++i) {
      gangs.push_back(fmt::format("{:016x}", i));
      scheduler.put_gang(gangs.back(), load.kinds[static_cast<size_t>(i)], now);
      scheduler.set_idle(gangs.back(), true);
    }
    runs.resize(gangs.size());
    for (uint64_t trial = 0; trial < 5; ++trial) add_all(1'000'000 + trial);
    place();
    for (uint64_t trial = 0; trial < trials_of_job; ++trial) add_all(trial);
    place();
  }
  void add_all(uint64_t trial) {
    for (size_t job = 0; job < load.jobs.size(); ++job) add(job, trial);
  }
  void add(size_t job, uint64_t trial) { scheduler.add(load.jobs[job], load.needs[job], trial, {}, now); }
  void place() {
    while (auto placement = scheduler.next(now)) note(*placement);
  }
  void note(const Placement& placement) { runs[std::stoul(placement.gang, nullptr, 16)] = placement.trials.front(); }
};

/// A pack ends, its gang is idle, and gets the next; one that could not be given at once is tried with the next.
void Decisions(benchmark::State& state) {
  Cluster cluster;
  std::vector<double> times;
  for (auto _ : state) {
    const size_t gang = cluster.load.random() % cluster.gangs.size();
    cluster.now += 20;
    cluster.add(cluster.load.random() % cluster.load.jobs.size(), cluster.next_trial++);
    const auto begin = Clock::now();
    cluster.scheduler.ended(cluster.gangs[gang], cluster.now);
    cluster.scheduler.set_idle(cluster.gangs[gang], true);
    auto placement = cluster.scheduler.next(cluster.now);
    const auto time = Clock::now() - begin;
    benchmark::DoNotOptimize(placement);
    state.SetIterationTime(std::chrono::duration<double>(time).count());
    if (placement) times.push_back(micros(time));
    cluster.place();
    cluster.scheduler.take_usage();
  }
  SortEverything reference(cluster.load);
  std::vector<double> slow;
  for (size_t gang = 0; gang < 30; ++gang) {
    reference.set_idle(gang, true);
    const auto begin = Clock::now();
    benchmark::DoNotOptimize(reference.next());
    slow.push_back(micros(Clock::now() - begin));
  }
  double sum = 0;
  for (double time : times) sum += time;
  state.counters["waiting"] = static_cast<double>(cluster.scheduler.waiting());
  state.counters["p50_us"] = percentile(times, 0.5);
  state.counters["p99_us"] = percentile(times, 0.99);
  state.counters["dispatches/s"] = 1e6 * static_cast<double>(times.size()) / sum;
  state.counters["sorting_p50_us"] = percentile(slow, 0.5);
  state.counters["times_sorting"] = percentile(slow, 0.5) / percentile(times, 0.5);
}

/// Who shall make room: the tick's question, all gangs busy and two priorities above what runs.
void PreemptionDecisions(benchmark::State& state) {
  Cluster cluster;
  std::vector<double> times;
  cluster.now += 3'600'000;
  for (auto _ : state) {
    const auto begin = Clock::now();
    benchmark::DoNotOptimize(cluster.scheduler.preempt(cluster.now));
    const auto time = Clock::now() - begin;
    state.SetIterationTime(std::chrono::duration<double>(time).count());
    times.push_back(micros(time));
  }
  state.counters["p50_us"] = percentile(times, 0.5);
  state.counters["p99_us"] = percentile(times, 0.99);
}

/// The same through the core: a trial's end comes in, its gang's next trial goes out.
void DecisionsOfTheCore(benchmark::State& state) {
  Effects effects;
  Millis now = 1;
  Core core(CoreOptions{}, {}, nullptr, now, effects);
  auto from = [&](const std::string& peer, Body body) {
    core.step(Received{peer, {1, std::move(body)}}, ++now, effects);
  };
  std::vector<Lease> runs(gangs_count);
  for (int i = 0; i < gangs_count; ++i) {
    Hello hello;
    hello.gang = fmt::format("{:016x}", i);
    hello.ranks = 1;
    from(hello.gang, hello);
    from(hello.gang, Heartbeat{hello.gang, {}});
  }
  for (int job = 0; job < 11; ++job) {
    effects = {};
    from("client", Submit{"", "bench.yaml",
                          fmt::format("name: bench\nproject: p{}\nsweep: {{search: random, trials: 10000, parameters: "
                                      "{{train.lr: {{log_uniform: [1e-5, 1e-2]}}}}}}\n",
                                      job),
                          "user"});
    for (const auto& send : effects.sends) {
      if (auto* assign = std::get_if<Assign>(&send.message.body))
        runs[std::stoul(send.identity, nullptr, 16)] = assign->parts[0].lease;
    }
  }
  std::mt19937_64 random(3);
  std::vector<double> times;
  for (auto _ : state) {
    if (core.scheduler().waiting() == 0) break;
    const size_t gang = random() % runs.size();
    const std::string name = fmt::format("{:016x}", gang);
    Report end{name, runs[gang], 1, {pack_item(EndItem{})}};
    effects = {};
    const auto begin = Clock::now();
    core.step(Received{name, {0, std::move(end)}}, ++now, effects);
    const auto time = Clock::now() - begin;
    state.SetIterationTime(std::chrono::duration<double>(time).count());
    times.push_back(micros(time));
    for (const auto& send : effects.sends) {
      if (auto* assign = std::get_if<Assign>(&send.message.body)) runs[gang] = assign->parts[0].lease;
    }
  }
  state.counters["waiting"] = static_cast<double>(core.scheduler().waiting());
  state.counters["p50_us"] = percentile(times, 0.5);
  state.counters["p99_us"] = percentile(times, 0.99);
  state.counters["dispatches/s"] = benchmark::Counter(static_cast<double>(times.size()), benchmark::Counter::kIsRate);
}

/// Ten jobs of 100,000 trials each: what a core of them takes, and how long one needs to start again.
void CoreOfAMillionTrials(benchmark::State& state) {
  MapStore store;
  for (auto _ : state) {
    Effects effects;
    const size_t before = mallinfo2().uordblks;
    auto core = std::make_unique<Core>(CoreOptions{}, Snapshot{}, nullptr, 1, effects);
    const auto begin = Clock::now();
    for (int job = 0; job < 10; ++job) {
      core->step(Received{"client",
                          {1, Submit{"", "bench.yaml",
                                     "name: bench\nsweep: {search: random, trials: 100000, parameters: "
                                     "{train.lr: {log_uniform: [1e-5, 1e-2]}}}\n",
                                     "user"}}},
                 2, effects);
      store.commit(effects.writes);
      effects = {};
    }
    state.counters["submit_s"] = std::chrono::duration<double>(Clock::now() - begin).count();
    check(core->scheduler().waiting() == 1'000'000, "a trial does not wait");
    const size_t with_store = mallinfo2().uordblks;
    core.reset();
    state.counters["bytes_a_trial"] = static_cast<double>(with_store - mallinfo2().uordblks) / 1e6;
    state.counters["MB_with_rows"] = static_cast<double>(with_store - before) / 1e6;
    const auto restart = Clock::now();
    core = std::make_unique<Core>(CoreOptions{}, read_snapshot(store).value(), nullptr, 3, effects);
    state.SetIterationTime(std::chrono::duration<double>(Clock::now() - restart).count());
    check(core->scheduler().waiting() == 1'000'000, "a trial does not wait after a restart");
  }
}

BENCHMARK(Decisions)->UseManualTime()->Unit(benchmark::kMicrosecond)->Iterations(100'000);
BENCHMARK(PreemptionDecisions)->UseManualTime()->Unit(benchmark::kMicrosecond)->Iterations(2000);
BENCHMARK(DecisionsOfTheCore)->UseManualTime()->Unit(benchmark::kMicrosecond)->Iterations(50'000);
BENCHMARK(CoreOfAMillionTrials)->UseManualTime()->Unit(benchmark::kSecond)->Iterations(1);

}  // namespace
}  // namespace hivq
