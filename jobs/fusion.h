#pragma once

// Which trials may train side by side on one gang, as one batched model.

#include <string>

#include "jobs/spec.h"

namespace hivq {

/// Trials with equal keys may: all that shapes tensors, the losses that there are and the sequence of batches are equal
/// in them. Free are the seed, the optimiser's numbers, the weights of losses that stay on (or off), rates that
/// stay on (or off), the codebooks' decay, how maps become scores, how many pictures are kept, and where
/// the model starts from.
std::string fusion_key(const TrialSpec& trial);

}  // namespace hivq
