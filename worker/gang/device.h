#pragma once

// What a rank computes on.

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "common/result.h"
#include "worker/collective/collective.h"
#include "worker/data/feature_set.h"
#include "worker/gang/world.h"

namespace hivq {

/// `auto`: cuda where this program has it and the host has a GPU.
enum class DeviceChoice { automatic, cpu, cuda };

/// The collective of all ranks on the devices that they compute on: NCCL with a GPU per rank, or MPI on CPUs.
/// Collective. Errors are the same on every rank.
Result<std::unique_ptr<Collective>> make_collective(DeviceChoice choice, const World& world,
                                                    std::chrono::seconds timeout = kCollectiveTimeout);

/// "2 CPU ranks", "8 × NVIDIA H100".
std::string describe_devices(const Collective& collective);

/// The features on the device; unchanged where they lie there already. Errors: not enough memory there.
Result<FeatureSet> move_to(FeatureSet features, at::Device device);

}  // namespace hivq
