#pragma once

// Dead-prototype revival: a prototype that no token comes to any more starts again at a token of the batch.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "common/result.h"
#include "worker/collective/collective.h"
#include "worker/model/quantizer.h"
#include "worker/train/objective.h"

namespace hivq {

struct Revival {
  double below = 0;  // a prototype whose moving average n of tokens is below it is dead
  uint64_t seed = 0;
  int64_t step = 0;
};

/// Moves the dead prototypes of the codebooks `rows` [R] to tokens of their class in the global batch, drawn by seed
/// and step, so that the ranks' number does not matter, and sets their n to `below`. `levels`: this rank's share of the
/// batch, or nothing where that is empty. `revivals` [T]: of each trial. One all-reduce where a prototype is dead, none
/// otherwise.
Status revive_prototypes(Model& model, const std::vector<Quantized>& levels, const Batch& batch, const at::Tensor& rows,
                         std::span<const Revival> revivals, Collective& collective);

}  // namespace hivq
