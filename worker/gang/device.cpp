#include "worker/gang/device.h"

#include <ATen/Context.h>
#include <torch/cuda.h>

#ifdef HIVQ_CUDA
#include <cuda_runtime_api.h>
#endif

#include <algorithm>
#include <cstdlib>

namespace hivq {
namespace {

/// The same bits in every run on a GPU, as exact resume wants: sums in a fixed order instead of the order in which
/// threads come to them.
void compute_reproducibly() {
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);  // cuBLAS's condition for it
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

/// HIVQ_RANKS_PER_GPU, for tests of several ranks on a machine with one GPU.
int ranks_per_gpu() {
  const char* text = std::getenv("HIVQ_RANKS_PER_GPU");
  return text == nullptr ? 1 : std::max(1, std::atoi(text));
}

/// NCCL refuses ranks of one host that share a GPU; ranks of several hosts it lets exchange over sockets.
void pass_for_a_host(int rank) { setenv("NCCL_HOSTID", fmt::format("hivq-{}", rank).c_str(), /*overwrite=*/0); }

}  // namespace

Result<std::unique_ptr<Collective>> make_collective(DeviceChoice choice, const World& world,
                                                    std::chrono::seconds timeout) {
  // Every rank must take the same backend: automatic means CUDA only where all of them have it.
  const int device = world.local_rank() / ranks_per_gpu();
  const bool has_gpu = static_cast<int>(torch::cuda::device_count()) > device;
  const Result<Status> all_have = world.agree(has_gpu ? Status() : error("a rank has no GPU"));
  if (!all_have) return all_have.error();
  const bool cuda = choice == DeviceChoice::cuda || (choice == DeviceChoice::automatic && *all_have);
  if (!cuda) return world.size() == 1 ? make_single_collective() : make_mpi_collective(timeout);
  compute_reproducibly();
  if (ranks_per_gpu() > 1) pass_for_a_host(world.rank());
  Result<std::unique_ptr<Collective>> made = make_nccl_collective(device, timeout);
  const Result<Status> all_made = world.agree(made ? Status() : made.error());
  if (!all_made) return all_made.error();
  if (!*all_made) return all_made->error();
  return made;
}

std::string describe_devices(const Collective& collective) {
  const int ranks = collective.size();
#ifdef HIVQ_CUDA
  cudaDeviceProp gpu;
  if (collective.device().is_cuda() && cudaGetDeviceProperties(&gpu, collective.device().index()) == cudaSuccess) {
    return fmt::format("{} × {}", ranks, gpu.name);
  }
#endif
  return fmt::format("{} CPU rank{}", ranks, ranks == 1 ? "" : "s");
}

Result<FeatureSet> move_to(FeatureSet features, at::Device device) {
  if (features.train.device() == device && features.test.device() == device) return features;
  try {
    features.train = features.train.to(device);
    features.test = features.test.to(device);
  } catch (const c10::OutOfMemoryError&) {
    return error(
        "the features ({} MiB) do not fit into the memory of {}: use fewer images (data.train_per_class), or a GPU "
        "with "
        "more memory",
        (features.train.nbytes() + features.test.nbytes()) >> 20, device.str());
  }
  return features;
}

}  // namespace hivq
