// How metric points may lie in RocksDB: bytes a point on disk, points written a second (commits of 16 reports of 64 points,
// synced), and curves read a second. The curves are losses as float32 gives them: noise on a decay.
//   bench_coordinator --benchmark_filter=Layout

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/merge_operator.h>
#include <rocksdb/write_batch.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <random>

#include "coordinator/points.h"
#include "coordinator/rows.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t trials = 16, metrics = 4, steps_of_report = 16, rounds = 400;  // 6,400 steps, 409,600 points
const char* const names[metrics] = {"train/loss", "train/grad_norm", "train/commitment", "train/lr"};

class Merge final : public rocksdb::MergeOperator {
 public:
  const char* Name() const override { return "points"; }
  bool FullMergeV2(const MergeOperationInput& in, MergeOperationOutput* out) const override {
    std::vector<std::string_view> rows;
    if (in.existing_value != nullptr) rows.push_back(in.existing_value->ToStringView());
    for (const auto& operand : in.operand_list) rows.push_back(operand.ToStringView());
    out->new_value = merge_points(rows);
    return true;
  }
  bool PartialMergeMulti(const rocksdb::Slice&, const std::deque<rocksdb::Slice>& operands, std::string* merged,
                         rocksdb::Logger*) const override {
    std::vector<std::string_view> rows;
    for (const auto& operand : operands) rows.push_back(operand.ToStringView());
    *merged = merge_points(rows);
    return true;
  }
};

double value_of(uint64_t trial, uint64_t metric, uint64_t step) {
  if (metric == 3) return 1e-4;
  std::minstd_rand random(static_cast<uint32_t>(trial * 1'000'003 + metric * 7919 + step));
  random.discard(2);
  const float noise = static_cast<float>(random() % 10'000) * 1e-5F;
  return static_cast<double>((1.0F + noise) / (1.0F + 0.01F * static_cast<float>(step)));
}

/// Range 0: 0 a key a point, 1 a row a step of all metrics, otherwise rows of so many steps of one metric.
void Layout(benchmark::State& state) {
  const auto layout = static_cast<uint64_t>(state.range(0));
  const char* chosen = std::getenv("HIVQ_BENCH_DIR");
  const std::string folder = fmt::format("{}/hivq_layout_bench_{}", chosen ? chosen : ".", getpid());
  for (auto _ : state) {
    fs::remove_all(folder);
    rocksdb::Options options;
    options.create_if_missing = true;
    options.compression = rocksdb::kLZ4Compression;
    options.merge_operator = std::make_shared<Merge>();
    rocksdb::DB* opened = nullptr;
    check(rocksdb::DB::Open(options, folder, &opened).ok(), "RocksDB does not open");
    const std::unique_ptr<rocksdb::DB> db(opened);
    const auto point_key = [](uint64_t trial, uint64_t metric, uint64_t number) {
      std::string key = key_of(TrialId{1, trial});
      key.append(names[metric]).push_back('\0');
      append(key, number);
      return key;
    };
    rocksdb::WriteOptions synced;
    synced.sync = true;
    auto begin = std::chrono::steady_clock::now();
    for (uint64_t round = 0; round < rounds; ++round) {
      rocksdb::WriteBatch batch;
      for (uint64_t trial = 0; trial < trials; ++trial) {
        const uint64_t first = round * steps_of_report;
        if (layout == 1) {
          for (uint64_t step = first; step < first + steps_of_report; ++step) {
            std::map<std::string, double> row;
            for (uint64_t m = 0; m < metrics; ++m) row[names[m]] = value_of(trial, m, step);
            batch.Put(key_of(TrialId{1, trial}) + key_of(step), pack(row));
          }
          continue;
        }
        for (uint64_t m = 0; m < metrics; ++m) {
          std::vector<MetricPoint> points;
          for (uint64_t step = first; step < first + steps_of_report; ++step) {
            points.push_back({static_cast<int64_t>(step), value_of(trial, m, step)});
            if (layout == 0) batch.Put(point_key(trial, m, step), pack(points.back().value));
          }
          if (layout > 1) batch.Merge(point_key(trial, m, first / layout), encode_points(points));
        }
      }
      check(db->Write(synced, &batch).ok(), "RocksDB does not write");
    }
    const double writing = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    check(db->CompactRange({}, nullptr, nullptr).ok(), "RocksDB does not compact");
    uint64_t bytes = 0;
    db->GetIntProperty("rocksdb.total-sst-files-size", &bytes);
    begin = std::chrono::steady_clock::now();
    uint64_t read = 0, curves = 0;
    for (uint64_t trial = 0; trial < trials; ++trial, ++curves) {
      const std::string prefix =
          layout == 1 ? key_of(TrialId{1, trial}) : key_of(TrialId{1, trial}) + names[0] + std::string(1, '\0');
      const std::unique_ptr<rocksdb::Iterator> at(db->NewIterator({}));
      for (at->Seek(prefix); at->Valid() && at->key().starts_with(prefix); at->Next()) {
        if (layout == 0) read += unpack<double>(at->value().ToStringView()).value() > 0;
        if (layout == 1) {
          read += unpack<std::map<std::string, double>>(at->value().ToStringView()).value()[names[0]] > 0;
        }
        if (layout > 1) read += decode_points(at->value().ToStringView()).value().size();
      }
    }
    const double reading = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    check(read == trials * rounds * steps_of_report, "points are missing");
    const double points = static_cast<double>(trials * metrics * rounds * steps_of_report);
    state.counters["bytes/point"] = static_cast<double>(bytes) / points;
    state.counters["written/s"] = points / writing;
    state.counters["curves/s"] = static_cast<double>(curves) / reading;
  }
  fs::remove_all(folder);
}
BENCHMARK(Layout)->Arg(0)->Arg(1)->Arg(256)->Arg(1024)->Arg(4096)->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hivq
