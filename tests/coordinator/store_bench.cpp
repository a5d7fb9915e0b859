// Metric points per second into the store, through the real core: reports → steps → one synced commit, grouped as the
// server groups what has come in. References of the same run, with the same sync: raw RocksDB with a WriteBatch that
// puts a key a point, as one would without hivq; the store putting the core's rows; and the disk's fdatasync.
//   bench_coordinator [--benchmark_filter=…]; HIVQ_BENCH_DIR=folder chooses the disk (default: the current folder)
// Run all, the last lines give the ratios.

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "coordinator/store.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;

constexpr int points_of_report = 64;  // 16 steps of 4 metrics: what a gang of a small model gathers in 100 ms

std::string bench_folder() {
  const char* chosen = std::getenv("HIVQ_BENCH_DIR");
  return std::string(chosen ? chosen : ".") + "/hivq_store_bench_" + std::to_string(getpid());
}

std::map<std::string, double>& measured() {
  static std::map<std::string, double> rates;  // of the last lines
  return rates;
}

/// A folder that goes when the benchmark ends.
struct Folder {
  std::string path = bench_folder();
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

/// `gangs` gangs, each with a trial that it streams.
struct Cluster {
  Folder folder;
  Store store = std::move(Store::open(folder.path).value());
  std::unique_ptr<Core> core;
  std::vector<Report> streams;
  Millis now = 1;

  explicit Cluster(int gangs) {
    Effects effects;
    core = std::make_unique<Core>(CoreOptions{}, store.snapshot().value(), nullptr, now, effects);
    std::string seeds;
    for (int i = 0; i < gangs; ++i) seeds += fmt::format("{}{}", i == 0 ? "" : ", ", i);
    std::string yaml = "name: bench\nsweep:\n  search: grid\n  parameters:\n    train.seed: [" + seeds + "]\n";
    core->step(Received{"client", {1, Submit{"k", "bench.yaml", yaml}}}, now, effects);
    for (int i = 0; i < gangs; ++i) {
      Hello hello;
      hello.gang = fmt::format("{:016x}", i);
      core->step(Received{hello.gang, {0, hello}}, now, effects);
      Heartbeat idle;
      idle.gang = hello.gang;
      core->step(Received{hello.gang, {0, idle}}, now, effects);
    }
    for (const auto& send : effects.sends) {
      if (auto* assign = std::get_if<Assign>(&send.message.body))
        streams.push_back({send.identity, assign->parts.at(0).lease, 1, {}});
    }
    check(store.commit(effects.writes) && streams.size() == static_cast<size_t>(gangs), "the cluster did not start");
  }

  /// The next report of a gang, as bytes from the wire.
  std::string next_report(size_t gang) {
    Report& report = streams[gang];
    report.first += report.items.size();
    report.items.clear();
    for (int i = 0; i < points_of_report / 4; ++i) {
      auto step = static_cast<int64_t>(report.first) + i;
      double value = 1.0 / static_cast<double>(step);
      report.items.push_back(pack_item(MetricsItem{step,
                                                   {{"train/loss", value},
                                                    {"train/lr", 1e-4},
                                                    {"train/grad_norm", value * 3},
                                                    {"train/commitment", value / 7}}}));
    }
    return encode({0, report});
  }
};

void ThroughTheCore(benchmark::State& state) {
  const auto reports = static_cast<size_t>(state.range(0));  // of one commit
  Cluster cluster(static_cast<int>(reports));
  size_t bytes = 0;
  for (auto _ : state) {
    state.PauseTiming();
    std::vector<std::string> incoming;
    for (size_t gang = 0; gang < reports; ++gang) incoming.push_back(cluster.next_report(gang));
    state.ResumeTiming();
    Effects effects;
    for (size_t gang = 0; gang < reports; ++gang) {
      cluster.core->step(Received{cluster.streams[gang].gang, decode(incoming[gang]).value()}, ++cluster.now, effects);
    }
    check(static_cast<bool>(cluster.store.commit(effects.writes)), "the commit failed");
    check(effects.sends.size() == reports, "not every report was acknowledged");
    for (const auto& write : effects.writes) bytes += write.key.size() + write.value->size();
  }
  auto points = static_cast<double>(state.iterations() * reports * points_of_report);
  state.counters["points/s"] = benchmark::Counter(points, benchmark::Counter::kIsRate);
  state.counters["MB/s"] = benchmark::Counter(static_cast<double>(bytes) / 1e6, benchmark::Counter::kIsRate);
}

/// The reference: RocksDB as it comes, a key a point.
void RawRocksDB(benchmark::State& state) {
  const auto reports = static_cast<size_t>(state.range(0));
  Folder folder;
  rocksdb::Options options;
  options.create_if_missing = true;
  rocksdb::DB* opened = nullptr;
  check(rocksdb::DB::Open(options, folder.path + "/raw", &opened).ok(), "RocksDB does not open");
  const std::unique_ptr<rocksdb::DB> db(opened);
  rocksdb::WriteOptions synced;
  synced.sync = true;
  uint64_t step = 0;
  for (auto _ : state) {
    rocksdb::WriteBatch batch;
    for (uint64_t gang = 0; gang < reports; ++gang) {
      for (uint64_t i = 0; i < points_of_report / 4; ++i) {
        for (const char* name : {"train/loss", "train/lr", "train/grad_norm", "train/commitment"}) {
          std::string key = key_of(TrialId{1, gang});
          key.append(name).push_back('\0');
          append(key, step + i);
          const double value = 1.0 / static_cast<double>(step + i + 1);
          batch.Put(key, rocksdb::Slice(reinterpret_cast<const char*>(&value), sizeof value));
        }
      }
    }
    step += points_of_report / 4;
    check(db->Write(synced, &batch).ok(), "RocksDB does not write");
  }
  auto points = static_cast<double>(state.iterations() * reports * points_of_report);
  state.counters["points/s"] = benchmark::Counter(points, benchmark::Counter::kIsRate);
}

/// What the core and the wire cost: the same rows without them.
void SameRows(benchmark::State& state) {
  const auto reports = static_cast<size_t>(state.range(0));
  Cluster cluster(static_cast<int>(reports));
  for (auto _ : state) {
    state.PauseTiming();
    Effects effects;
    for (size_t gang = 0; gang < reports; ++gang) {
      cluster.core->step(Received{cluster.streams[gang].gang, decode(cluster.next_report(gang)).value()}, ++cluster.now,
                         effects);
    }
    state.ResumeTiming();
    check(static_cast<bool>(cluster.store.commit(effects.writes)), "the commit failed");
  }
  auto points = static_cast<double>(state.iterations() * reports * points_of_report);
  state.counters["points/s"] = benchmark::Counter(points, benchmark::Counter::kIsRate);
}

/// The limit of commits a second: one append of 4 KiB and fdatasync.
void DiskSync(benchmark::State& state) {
  Folder folder;
  int file = open((folder.path + "/sync").c_str(), O_CREAT | O_WRONLY | O_APPEND, 0644);
  const std::string page(4096, 'x');
  for (auto _ : state) {
    check(write(file, page.data(), page.size()) == static_cast<ssize_t>(page.size()) && fdatasync(file) == 0,
          "the disk failed");
  }
  close(file);
  state.counters["syncs/s"] = benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

BENCHMARK(ThroughTheCore)->Arg(1)->Arg(16)->Arg(256)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(RawRocksDB)->Arg(1)->Arg(16)->Arg(256)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(SameRows)->Arg(1)->Arg(16)->Arg(256)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(DiskSync)->UseRealTime()->Unit(benchmark::kMicrosecond);

/// The console's lines, and the rates kept for the ratios.
class Reporter final : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    ConsoleReporter::ReportRuns(runs);
    for (const auto& run : runs) {
      for (const auto& [name, counter] : run.counters) {
        if (name.ends_with("s/s")) measured()[run.benchmark_name()] = counter.value;
      }
    }
  }
};

}  // namespace
}  // namespace hivq

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  hivq::Reporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  auto rate = [](const std::string& name) { return hivq::measured()[name + "/real_time"]; };
  double sync = rate("DiskSync");
  for (int reports : {1, 16, 256}) {
    double core = rate(fmt::format("ThroughTheCore/{}", reports)), raw = rate(fmt::format("RawRocksDB/{}", reports));
    double rows = rate(fmt::format("SameRows/{}", reports));
    if (core == 0 || raw == 0 || rows == 0 || sync == 0) continue;
    fmt::print(
        "{:4} reports a commit: {:9.0f} points/s, {:4.0f} % of raw RocksDB with a key a point, {:3.0f} % of the same rows "
        "without core and wire, {:3.0f} % of one commit a disk sync\n",
        reports, core, 100 * core / raw, 100 * core / rows, 100 * core / (sync * reports * hivq::points_of_report));
  }
}
