// hivq-worker bench: where a training step's time goes, and how near it comes to what the machine can do. Alone, or on
// several ranks: mpirun -np 2 hivq-worker bench

#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <mpi.h>
#include <torch/csrc/autograd/profiler_kineto.h>
#include <torch/cuda.h>
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "worker/collective/raw_nccl.h"
#include "worker/commands/bench_shape.h"
#include "worker/commands/commands.h"
#include "worker/gang/device.h"
#include "worker/gang/placement.h"
#include "worker/train/recorded_steps.h"
#include "worker/train/step.h"

namespace hivq {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string shape = "paper", trace;
  int64_t batch = 16, steps = 10, warmup = 4, trials = 1;
  DeviceChoice device = DeviceChoice::automatic;
  int threads = 0;
  bool bind = true, json = false;
  std::string precision = "float32";
};

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// The best of several runs, each until the device is done.
template <typename Work>
double best_of(int runs, bool cuda, Work work) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < runs; ++i) {
    const auto begin = Clock::now();
    work();
    if (cuda) torch::cuda::synchronize();
    best = std::min(best, seconds_since(begin));
  }
  return best;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// Seconds in each RECORD_USER_SCOPE while it lives; on a GPU each scope waits for the device.
class Phases {
 public:
  explicit Phases(bool cuda) {
    current_ = this;
    cuda_ = cuda;
    handle_ =
        at::addThreadLocalCallback(at::RecordFunctionCallback(&start, &end).scopes({at::RecordScope::USER_SCOPE}));
  }
  ~Phases() {
    at::removeCallback(handle_);
    current_ = nullptr;
  }
  const std::map<std::string, double>& seconds() const { return seconds_; }

 private:
  struct Begin : at::ObserverContext {
    Clock::time_point when = Clock::now();
  };
  static std::unique_ptr<at::ObserverContext> start(const at::RecordFunction&) { return std::make_unique<Begin>(); }
  static void end(const at::RecordFunction& scope, at::ObserverContext* context) {
    if (current_->cuda_) torch::cuda::synchronize();
    current_->seconds_[scope.name()] += seconds_since(static_cast<Begin*>(context)->when);
  }
  static inline thread_local Phases* current_ = nullptr;
  at::CallbackHandle handle_ = 0;
  std::map<std::string, double> seconds_;
  bool cuda_ = false;
};

/// Bytes per second that a copy reads and writes.
double copy_rate(at::Device device) {
  const at::Tensor from = at::ones({64 << 20}, device);
  at::Tensor to = at::empty_like(from);
  return 2 * static_cast<double>(from.nbytes()) / best_of(8, device.is_cuda(), [&] { to.copy_(from); });
}

/// What the gang's all-reduce costs by itself.
struct Exchange {
  double bytes = 0;
  double ours = 0;  // seconds: begin_sum and finish_sums of buckets, without anything beside them
  double raw = 0;   // MPI_Allreduce or ncclAllReduce of as many
};

Result<Exchange> measure_exchange(const Training& training, Collective& collective) {
  Exchange exchange;
  const at::Tensor& sums = training.sums;
  exchange.bytes = static_cast<double>(sums.nbytes());
  const int64_t bucket = bucket_bytes(sums.device()) / static_cast<int64_t>(sums.element_size());
  constexpr int kRuns = 7;
  Status failure;
  const bool cuda = sums.is_cuda();
  MPI_Barrier(MPI_COMM_WORLD);
  exchange.ours = best_of(kRuns, cuda, [&] {
    for (int64_t at = 0; failure && at < sums.numel(); at += bucket) {
      failure = collective.begin_sum(sums.narrow(0, at, std::min(bucket, sums.numel() - at)));
    }
    if (failure) failure = collective.finish_sums();
  });
  if (!failure) return failure.error();
  RawSum raw_sum = [](const at::Tensor& tensor) -> Status {
    MPI_Allreduce(MPI_IN_PLACE, tensor.data_ptr(), static_cast<int>(tensor.numel()), MPI_FLOAT, MPI_SUM,
                  MPI_COMM_WORLD);
    return {};
  };
  if (cuda) {
    auto nccl = make_raw_nccl_sum(collective);
    if (!nccl) return nccl.error();
    raw_sum = std::move(*nccl);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  exchange.raw = best_of(kRuns, cuda, [&] {
    if (failure) failure = raw_sum(sums);
  });
  if (!failure) return failure.error();
  return exchange;
}

/// Bytes per second that the slowest link of a ring carries in each direction (NCCL's "bus bandwidth").
double bus_rate(const Exchange& exchange, int ranks) {
  return exchange.bytes / exchange.ours * 2 * (ranks - 1) / ranks;
}

struct Measured {
  std::vector<double> steps;             // seconds of each
  std::map<std::string, double> phases;  // seconds of a step in each, in steps of their own
  Exchange exchange;
  double peak = 0, copy = 0;
  bool recorded = false;  // the steps ran as a graph
  std::string refusal;    // or why not
};

class Bench {
 public:
  Bench(const Options& options, BenchShape shape, Collective& collective)
      : options_(options), shape_(std::move(shape)), collective_(collective) {
    specs_.assign(static_cast<size_t>(options.trials), shape_.spec);
    for (size_t i = 0; i < specs_.size(); ++i) {
      specs_[i].train.seed = i;
      specs_[i].train.precision = options.precision;
    }
    settings_.assign(specs_.size(), {1e-4});
    training_ = make_training(specs_, shape_.input, shape_.features.train.options());
    std::vector<int64_t> of_trial(static_cast<size_t>(options.batch));
    std::iota(of_trial.begin(), of_trial.end(), 0);
    for (size_t i = 0; i < specs_.size(); ++i) images_.insert(images_.end(), of_trial.begin(), of_trial.end());
  }

  Result<Measured> run() {
    Measured measured;
    measured.peak = matmul_rate(collective_.device(), options_.precision == "bfloat16");
    measured.copy = copy_rate(collective_.device());
    for (int64_t i = 0; i < options_.warmup; ++i) {
      if (Status done = step(); !done) return done.error();
    }
    for (int64_t i = 0; i < options_.steps; ++i) {
      MPI_Barrier(MPI_COMM_WORLD);
      const auto begin = Clock::now();
      if (Status done = step(); !done) return done.error();
      measured.steps.push_back(seconds_since(begin));
    }
    if (training_.recorded) {
      measured.recorded = training_.recorded->recorded() > 0;
      measured.refusal = training_.recorded->refusal();
    }
    training_.records = false;  // a graph has no phases
    const int64_t watched = std::max<int64_t>(1, options_.steps / 2);
    {
      const Phases phases(cuda());
      for (int64_t i = 0; i < watched; ++i) {
        if (Status done = step(); !done) return done.error();
      }
      for (const auto& [name, seconds] : phases.seconds()) {
        measured.phases[name] = seconds / static_cast<double>(watched);
      }
    }
    if (!options_.trace.empty()) {
      if (Status traced = trace(); !traced) return traced.error();
    }
    if (collective_.size() > 1) {
      const auto exchange = measure_exchange(training_, collective_);
      if (!exchange) return exchange.error();
      measured.exchange = *exchange;
    }
    return measured;
  }

  double operations() const { return step_cost(shape_).step() * static_cast<double>(options_.batch * options_.trials); }
  bool cuda() const { return collective_.device().is_cuda(); }

 private:
  Status step() {
    RECORD_USER_SCOPE("step");
    std::optional<Batch> batch;
    {
      RECORD_USER_SCOPE("load");
      batch = load_batch(shape_.features, images_, collective_.rank(), collective_.size(), options_.trials);
    }
    const auto reports = train_step(training_, specs_, *batch, settings_, collective_);
    if (!reports) return reports.error();
    if (cuda()) torch::cuda::synchronize();
    for (const StepReport& report : *reports) {
      if (!report.applied) return error("{} is not finite", report.losses.not_finite());
    }
    return {};
  }

  /// Three steps in Chrome's format (chrome://tracing, Perfetto).
  Status trace() {
    namespace profiler = torch::autograd::profiler;
    const profiler::ProfilerConfig config(profiler::ProfilerState::KINETO, /*report_input_shapes=*/true);
    std::set<profiler::ActivityType> activities = {profiler::ActivityType::CPU};
    if (cuda()) activities.insert(profiler::ActivityType::CUDA);
    profiler::prepareProfiler(config, activities);
    profiler::enableProfiler(
        config, activities,
        {at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION, at::RecordScope::USER_SCOPE});
    Status done;
    for (int i = 0; done && i < 3; ++i) done = step();
    const auto result = profiler::disableProfiler();
    if (!done || collective_.rank() != 0) return done;
    result->save(options_.trace);
    return {};
  }

  const Options& options_;
  BenchShape shape_;
  Collective& collective_;
  std::vector<TrialSpec> specs_;
  std::vector<StepSetting> settings_;
  Training training_;
  std::vector<int64_t> images_;
};

nlohmann::ordered_json to_json(const Bench& bench, const Options& options, const Collective& collective, int threads,
                               const Measured& m) {
  const double step = median(m.steps), rate = bench.operations() / step / collective.size();
  nlohmann::ordered_json json = {{"shape", options.shape},
                                 {"device", describe_devices(collective)},
                                 {"precision", options.precision},
                                 {"ranks", collective.size()},
                                 {"threads", threads},
                                 {"batch", options.batch},
                                 {"trials", options.trials},
                                 {"step_seconds", step},
                                 {"step_seconds_min", *std::ranges::min_element(m.steps)},
                                 {"images_per_second", static_cast<double>(options.batch * options.trials) / step},
                                 {"flops_per_second", rate},
                                 {"peak_flops_per_second", m.peak},
                                 {"of_peak", rate / m.peak},
                                 {"copy_bytes_per_second", m.copy},
                                 {"phases", m.phases}};
  if (bench.cuda()) {
    json["recorded"] = m.recorded;
    if (!m.refusal.empty()) json["refusal"] = m.refusal;
  }
  if (collective.size() > 1) {
    const auto waited = m.phases.find("all-reduce");
    json["all_reduce"] = {{"bytes", m.exchange.bytes},
                          {"alone_seconds", m.exchange.ours},
                          {"raw_seconds", m.exchange.raw},
                          {"bus_bytes_per_second", bus_rate(m.exchange, collective.size())},
                          {"waited_seconds", waited == m.phases.end() ? 0 : waited->second}};
  }
  return json;
}

void print(const nlohmann::ordered_json& json) {
  const auto number = [&](const char* key) { return json[key].get<double>(); };
  const double step = number("step_seconds");
  fmt::print("a training step of `{}`, {}, batch {}, {} trial{} on {}, {} thread{} each\n",
             json["shape"].get<std::string>(), json["precision"].get<std::string>(), json["batch"].get<int64_t>(),
             json["trials"].get<int64_t>(), json["trials"] == 1 ? "" : "s", json["device"].get<std::string>(),
             json["threads"].get<int>(), json["threads"] == 1 ? "" : "s");
  fmt::print(
      "{:>12.2f} ms    {:.1f} images/s    {:.1f} GFLOP/s a rank = {:.0f} % of at::mm's {:.1f}    copy {:.1f} GB/s\n",
      1e3 * step, number("images_per_second"), number("flops_per_second") / 1e9, 100 * number("of_peak"),
      number("peak_flops_per_second") / 1e9, number("copy_bytes_per_second") / 1e9);
  const double whole = json["phases"].value("step", step);
  for (const auto& [name, seconds] : json["phases"].items()) {
    if (name != "step")
      fmt::print("{:>12.2f} ms  {:3.0f} %  {}\n", 1e3 * seconds.get<double>(), 100 * seconds.get<double>() / whole,
                 name);
  }
  if (json.contains("recorded")) {
    fmt::print("{}{}\n",
               json["recorded"].get<bool>() ? "timed as a CUDA graph, the parts without it" : "not a CUDA graph",
               json.contains("refusal") ? ": " + json["refusal"].get<std::string>() : "");
  }
  if (!json.contains("all_reduce")) return;
  const auto& exchange = json["all_reduce"];
  const double alone = exchange["alone_seconds"], raw = exchange["raw_seconds"], waited = exchange["waited_seconds"];
  fmt::print("all-reduce of {:.1f} MiB: {:.2f} ms alone, bus {:.2f} GB/s ({:.2f} times {}'s {:.2f} ms); ",
             exchange["bytes"].get<double>() / (1 << 20), 1e3 * alone,
             exchange["bus_bytes_per_second"].get<double>() / 1e9, alone / raw,
             json.contains("recorded") ? "ncclAllReduce" : "MPI_Allreduce", 1e3 * raw);
  fmt::print("{:.2f} ms of it seen in a step: {:.0f} % hidden behind backward\n", 1e3 * waited,
             100 * std::clamp(1 - waited / alone, 0.0, 1.0));
}

Result<int> measure(const Options& options) {
  const Result<World> world = World::join();
  if (!world) return world.error();
  const RankPlacement placement = place_rank(*world, {options.threads, 1, options.bind});
  at::set_num_threads(placement.threads);
  const auto collective = make_collective(options.device, *world);
  if (!collective) return collective.error();
  auto shape = bench_shape(options.shape, options.batch, (*collective)->device());
  if (!shape) return shape.error();
  Bench bench(options, std::move(*shape), **collective);
  const auto measured = bench.run();
  if (!measured) return measured.error();
  if (world->rank() != 0) return 0;
  const auto json = to_json(bench, options, **collective, placement.threads, *measured);
  options.json ? fmt::print("{}\n", json.dump()) : print(json);
  return 0;
}

Result<int> run(const Options& options) {
  int provided = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
    return error("MPI cannot start");
  }
  const Result<int> code = measure(options);
  if (!code) {
    std::fprintf(stderr, "hivq: %s\n", code.error().message.c_str());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return code;
}

}  // namespace

std::function<Result<int>()> declare_bench(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--shape", options->shape, "paper (MVTec-AD) or quick (jobs/specs/quick.yaml)")->capture_default_str();
  app.add_option("--batch", options->batch, "Images of a step, over all ranks")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--trials", options->trials, "Trials side by side")->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--steps", options->steps, "Steps that are timed")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--warmup", options->warmup, "Steps before them; a GPU records the fourth")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option("--threads", options->threads, "Threads of a rank; 0: its share of the host's cores")
      ->capture_default_str();
  app.add_flag("--bind,!--no-bind", options->bind, "Keep each rank to cores of its own");
  app.add_option("--precision", options->precision, "In which the layers multiply: float32 or bfloat16")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  const std::map<std::string, DeviceChoice> devices = {
      {"auto", DeviceChoice::automatic}, {"cpu", DeviceChoice::cpu}, {"cuda", DeviceChoice::cuda}};
  app.add_option("--device", options->device, "auto, cpu or cuda")->transform(CLI::CheckedTransformer(devices));
  app.add_option("--trace", options->trace, "Write three steps to FILE in Chrome's trace format")->type_name("FILE");
  app.add_flag("--json", options->json, "Print JSON");
  return [options] { return run(*options); };
}

}  // namespace hivq
