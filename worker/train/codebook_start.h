#pragma once

// Codebooks that start at tokens of the training images (`model.quantizer.start: data`).

#include "worker/data/feature_set.h"
#include "worker/model/model.h"

namespace hivq {

/// Sets every prototype to a token of the first training images of its class in the order of the first epoch, as the
/// untrained encoder gives it (of all classes, where one codebook serves all). Where there are fewer tokens than
/// prototypes, tokens occur again with a little noise. Each starts with a count of one token.
void start_codebooks_from_data(Model& model, const FeatureSet& features, uint64_t seed);

}  // namespace hivq
