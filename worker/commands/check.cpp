// hivq-worker check: whether the ranks that mpirun starts find each other and can add up, and what each computes on.

#include <mpi.h>
#include <sched.h>
#include <torch/torch.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/version.h"
#include "worker/collective/mpi_call.h"
#include "worker/collective/nccl_version.h"
#include "worker/commands/commands.h"
#include "worker/commands/places.h"
#include "worker/gang/device.h"
#include "worker/gang/gpus.h"
#include "worker/gang/world.h"

namespace hivq {
namespace {

using Json = nlohmann::ordered_json;
using SteadyClock = std::chrono::steady_clock;

constexpr int64_t kBytes = 4 << 20;  // of the all-reduce that is timed
constexpr int kRepeats = 5;

struct Options {
  DeviceChoice device = DeviceChoice::automatic;
  FeaturePlaces places = default_places();
  int64_t timeout = 10;  // seconds that a rank waits for the others
  bool json = false;
};

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

/// Logical CPUs that this rank may use.
std::vector<int> own_cpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<size_t>(cpu), &mask)) cpus.push_back(cpu);
  }
  return cpus;
}

/// What this rank is, for the report.
Json describe(const World& world, const Collective& collective, const SeenGpus& seen) {
  Json rank = {{"rank", world.rank()},
               {"host", host_name()},
               {"cpus", own_cpus()},
               {"bound", world.bound()},
               {"device", collective.device().str()}};
  const auto index = static_cast<size_t>(std::max<int>(0, collective.device().index()));
  if (collective.device().is_cuda() && index < seen.gpus.size()) {
    rank["gpu"] = seen.gpus[index].name;
    rank["gpu_memory"] = seen.gpus[index].memory;
  }
  return rank;
}

/// Every rank's text, by rank, on rank 0; nothing on the others.
Result<std::vector<std::string>> gather(const World& world, const std::string& text) {
  const int size = static_cast<int>(text.size());
  std::vector<int> sizes(static_cast<size_t>(world.size())), starts(sizes.size());
  const int counted = MPI_Gather(&size, 1, MPI_INT, sizes.data(), 1, MPI_INT, 0, MPI_COMM_WORLD);
  if (Status done = mpi_status(counted, "gather what the ranks tell"); !done) return done.error();
  for (size_t i = 1; i < sizes.size(); ++i) starts[i] = starts[i - 1] + sizes[i - 1];
  std::string all(static_cast<size_t>(world.rank() == 0 ? starts.back() + sizes.back() : 0), '\0');
  const int gathered =
      MPI_Gatherv(text.data(), size, MPI_CHAR, all.data(), sizes.data(), starts.data(), MPI_CHAR, 0, MPI_COMM_WORLD);
  if (Status done = mpi_status(gathered, "gather what the ranks tell"); !done) return done.error();
  std::vector<std::string> texts;
  for (size_t i = 0; world.rank() == 0 && i < sizes.size(); ++i) {
    texts.push_back(all.substr(static_cast<size_t>(starts[i]), static_cast<size_t>(sizes[i])));
  }
  return texts;
}

/// Adds rank + 1 over the ranks, through what training uses; the seconds of one of `kBytes`. Errors: the sum is wrong,
/// the collective's own.
Result<double> time_all_reduce(Collective& collective) {
  const auto ranks = static_cast<double>(collective.size());
  double best = 1e9;
  for (int i = 0; i < kRepeats; ++i) {
    const auto floats = at::TensorOptions().dtype(at::kFloat).device(collective.device());
    const at::Tensor sum = at::full({kBytes / 4}, collective.rank() + 1, floats);
    if (sum.is_cuda()) torch::cuda::synchronize(sum.device().index());
    const auto begin = SteadyClock::now();
    if (Status done = collective.all_reduce_sum(sum); !done) return done.error();
    if (sum.is_cuda()) torch::cuda::synchronize(sum.device().index());
    best = std::min(best, std::chrono::duration<double>(SteadyClock::now() - begin).count());
    const double lowest = sum.min().item<double>(), highest = sum.max().item<double>();
    if (const double right = ranks * (ranks + 1) / 2; lowest != right || highest != right) {
      return error("the ranks' sum is {} to {}, but {} would be right: what connects them loses or changes data",
                   lowest, highest, right);
    }
  }
  return best;
}

/// The files of backbones' weights that training would find.
std::vector<std::string> weight_files(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(folder, failed)) {
    const auto ending = entry.path().extension();
    if (ending == ".pth" || ending == ".safetensors") names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

void print(const Json& report) {
  for (const Json& rank : report["each"]) {
    fmt::print("rank {} on {}: {}{}, {} CPU{}{}\n", rank["rank"].get<int>(), rank["host"].get<std::string>(),
               rank["device"].get<std::string>(),
               rank.contains("gpu") ? " (" + rank["gpu"].get<std::string>() + ")" : std::string(), rank["cpus"].size(),
               rank["cpus"].size() == 1 ? "" : "s", rank["bound"].get<bool>() ? " of its own" : "");
  }
  const double seconds = report["all_reduce"]["seconds"];
  fmt::print("{} rank{} add up: an all-reduce of {} MiB takes {:.2f} ms\n", report["ranks"].get<int>(),
             report["ranks"] == 1 ? "" : "s", kBytes >> 20, 1e3 * seconds);
  if (report["cuda"]["built"].get<bool>()) {
    fmt::print("CUDA {}, driver for CUDA {}, NCCL {}\n", report["cuda"]["runtime"].get<std::string>(),
               report["cuda"]["driver"].get<std::string>(), report["nccl"].get<std::string>());
  } else {
    fmt::print("built without CUDA\n");
  }
}

Result<int> check(const Options& options) {
  const Result<World> world = World::join();
  if (!world) return world.error();
  const SeenGpus seen = see_gpus();
  const auto collective = make_collective(options.device, *world, std::chrono::seconds(options.timeout));
  if (!collective) return collective.error();
  const Result<double> seconds = time_all_reduce(**collective);
  if (!seconds) return seconds.error();
  const auto texts = gather(*world, describe(*world, **collective, seen).dump());
  if (!texts) return texts.error();
  if (world->rank() != 0) return 0;
  Json report = {{"version", version},
                 {"ranks", world->size()},
                 {"each", Json::array()},
                 {"all_reduce", {{"bytes", kBytes}, {"seconds", *seconds}}},
                 {"cuda",
                  {{"built", seen.built_with_cuda},
                   {"driver", seen.driver},
                   {"runtime", seen.runtime},
                   {"gpus", seen.gpus.size()},
                   {"problem", seen.problem}}},
                 {"nccl", nccl_version()},
                 {"weights_folder", options.places.weights_dir},
                 {"weights", weight_files(options.places.weights_dir)}};
  for (const std::string& text : *texts) report["each"].push_back(Json::parse(text));
  if (options.json) fmt::print("{}\n", report.dump(-1, ' ', false, Json::error_handler_t::replace));
  if (!options.json) print(report);
  return 0;
}

Result<int> run(const Options& options) {
  int provided = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
    return error("MPI cannot start");
  }
  const Result<int> code = check(options);
  if (!code) {
    std::fprintf(stderr, "hivq: %s\n", code.error().message.c_str());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  std::fflush(stdout);
  MPI_Finalize();
  return code;
}

}  // namespace

std::function<Result<int>()> declare_check(CLI::App& app) {
  auto options = std::make_shared<Options>();
  const std::map<std::string, DeviceChoice> devices = {
      {"auto", DeviceChoice::automatic}, {"cpu", DeviceChoice::cpu}, {"cuda", DeviceChoice::cuda}};
  app.add_option("--device", options->device, "auto, cpu or cuda")->transform(CLI::CheckedTransformer(devices));
  app.add_option("--timeout", options->timeout, "Seconds that a rank waits for the others")
      ->check(CLI::Range(int64_t{1}, int64_t{3600}))
      ->capture_default_str();
  app.add_flag("--json", options->json, "Print JSON, on one line");
  add_places(app, options->places);
  app.footer("Example:\n  mpirun -np 2 hivq-worker check");
  return [options] { return run(*options); };
}

}  // namespace hivq
