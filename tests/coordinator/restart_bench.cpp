// How long a coordinator takes to come back, and how much memory its core has, by the trials and points of its store.
//   bench_coordinator --benchmark_filter=Restart
//   HIVQ_RESTART_TRIALS (default 20,000), HIVQ_RESTART_POINTS of each trial (100), HIVQ_RESTART_OPEN percent of the jobs
//   that have not ended (1); HIVQ_BENCH_DIR chooses the disk.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "common/sha256.h"
#include "coordinator/points.h"
#include "coordinator/snapshot.h"
#include "coordinator/store.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
using clock = std::chrono::steady_clock;

constexpr uint64_t trials_of_job = 1000;

uint64_t setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

uint64_t status_bytes(const char* field) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(field)) return std::strtoull(line.c_str() + std::string(field).size(), nullptr, 10) << 10;
  }
  return 0;
}

std::string yaml_of(uint64_t trials) {
  std::string seeds;
  for (uint64_t i = 0; i < trials; ++i) seeds += fmt::format("{}{}", i == 0 ? "" : ", ", i);
  return "name: bench\nsweep:\n  search: grid\n  parameters:\n    train.seed: [" + seeds + "]\n";
}

/// A job of finished trials but for its last one, each with curves, a lease, a checkpoint of one chunk, and log lines.
void write_job(Store& store, JobId id, bool open, uint64_t points, uint64_t& events) {
  JobRow job;
  job.id = id;
  job.key = fmt::format("{:016x}", id);
  job.name = "bench";
  job.yaml = yaml_of(trials_of_job);
  job.metric = "auroc";
  job.goal = "maximize";
  job.state = open ? State::running : State::finished;
  job.trials = trials_of_job;
  std::vector<Write> writes{{Family::jobs, key_of(id), pack(job)}};
  std::minstd_rand random(static_cast<uint32_t>(id));
  for (uint64_t index = 0; index < trials_of_job; ++index) {
    TrialRow trial;
    trial.id = {id, index};
    trial.state = open && index + 1 == trials_of_job ? State::pending : State::finished;
    trial.params = {{"train.seed", std::to_string(index)}};
    trial.initial = {{"auroc", 0.5}, {"pixel_auroc", 0.5}};
    trial.final = {{"auroc", 0.9}, {"pixel_auroc", 0.95}};
    trial.attempts = 1;
    writes.push_back({Family::trials, key_of(trial.id), pack(trial)});
    const Lease lease{trial.id, id * trials_of_job + index};
    writes.push_back({Family::leases, key_of(trial.id), pack(LeaseRow{lease, "0123456789abcdef", 9, false, true, {}})});
    for (const char* name : {"train/loss", "train/grad_norm"}) {
      std::vector<MetricPoint> curve;
      for (uint64_t step = 0; step < points / 2; ++step) {
        const auto noise = static_cast<float>(random() % 1000) * 1e-4F;
        curve.push_back({static_cast<int64_t>(step), static_cast<double>(1.0F / (1.0F + static_cast<float>(step)) + noise)});
      }
      writes.push_back({Family::points, points_key(trial.id, name, 0), encode_points(curve), true});
    }
    const std::string bytes = fmt::format("checkpoint of {}", to_string(trial.id));
    const std::string hash = sha256_hex(bytes);
    writes.push_back({Family::blobs, hash, bytes});
    writes.push_back({Family::uses, use_key(hash, trial.id, 40), ""});
    writes.push_back({Family::checkpoints, checkpoint_key(trial.id, 40),
                      pack(CheckpointRow{{40, bytes.size(), {hash}}, 1, 0.9, false, false})});
    for (const char* text : {"leased to gang 01234567 (attempt 1)", "finished"}) {
      const std::string line = fmt::format("trial {} {}", to_string(trial.id), text);
      writes.push_back({Family::events, key_of(++events), pack(EventRow{1, line})});
      writes.push_back({Family::logs, log_key(lease, events), pack(EventRow{1, line})});
    }
  }
  check(static_cast<bool>(store.commit(writes)), "the commit failed");
}

void Restart(benchmark::State& state) {
  const uint64_t jobs = std::max<uint64_t>(1, setting("HIVQ_RESTART_TRIALS", 20'000) / trials_of_job);
  const uint64_t points = setting("HIVQ_RESTART_POINTS", 100);
  const uint64_t open = std::max<uint64_t>(1, jobs * setting("HIVQ_RESTART_OPEN", 1) / 100);
  const char* chosen = std::getenv("HIVQ_BENCH_DIR");
  const std::string folder = fmt::format("{}/hivq_restart_bench_{}", chosen ? chosen : ".", getpid());
  // Written by a process that dies without closing, as a crash leaves it.
  const auto begin = clock::now();
  pid_t child = fork();
  if (child == 0) {
    fs::create_directories(folder);
    Store store = std::move(Store::open(folder).value());
    uint64_t events = 0;
    for (uint64_t job = 1; job <= jobs; ++job) write_job(store, job, job > jobs - open, points, events);
    Write epoch{Family::meta, "next_epoch", key_of((jobs + 1) * trials_of_job)};
    check(static_cast<bool>(store.commit({&epoch, 1})), "the commit failed");
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) bytes += entry.is_regular_file() ? entry.file_size() : 0;
  fmt::print("{} trials in {} jobs, {} of them open, {} points: {} MB, written in {:.1f} s\n", jobs * trials_of_job, jobs,
             open, jobs * trials_of_job * points, bytes / 1000000,
             std::chrono::duration<double>(clock::now() - begin).count());
  for (auto _ : state) {
    child = fork();
    if (child == 0) {
      const uint64_t before = status_bytes("VmRSS:");
      const auto start = clock::now();
      const auto since = [&] { return std::chrono::duration<double>(clock::now() - start).count(); };
      Store store = std::move(Store::open(folder).value());
      const double opened = since();
      auto snapshot = store.snapshot().value();
      const double read = since();
      Effects effects;
      Core core({}, std::move(snapshot), [&](const TrialId& id) { return read_checkpoints(store, id); }, 1, effects);
      fmt::print("back after {:.2f} s: store open {:.2f} s, rows read {:.2f} s, core made {:.2f} s; {} MB of memory, {} at most\n",
                 since(), opened, read - opened, since() - read, (status_bytes("VmRSS:") - before) / 1000000,
                 (status_bytes("VmHWM:") - before) / 1000000);
      std::fflush(stdout);
      _exit(core.all_jobs_ended() ? 1 : 0);
    }
    int ended = 0;
    waitpid(child, &ended, 0);
    check(ended == 0, "the restart failed");
  }
  fs::remove_all(folder);
}
BENCHMARK(Restart)->Iterations(2)->Unit(benchmark::kSecond);

}  // namespace
}  // namespace hivq
