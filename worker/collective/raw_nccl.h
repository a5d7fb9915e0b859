#pragma once

// What make_nccl_collective() is measured against.

#include <functional>

#include "worker/collective/collective.h"

namespace hivq {

using RawSum = std::function<Status(const at::Tensor&)>;

/// Sums over the same ranks by ncclAllReduce alone, on the current stream, with a communicator of its own. Collective.
/// Errors: built without CUDA; NCCL's own.
Result<RawSum> make_raw_nccl_sum(const Collective& collective);

}  // namespace hivq
