#pragma once

// Codebooks that start at tokens of the training images (`model.quantizer.start: data | k-means++`).

#include "worker/data/feature_set.h"
#include "worker/model/model.h"

namespace hivq {

/// Sets every prototype to a token of the first training images of its class in the order of the first epoch, as the
/// untrained encoder gives it (of all classes, where one codebook serves all): drawn alike (`data`), or each in
/// proportion to its squared distance from those drawn before (`k-means++`; Arthur and Vassilvitskii, 2007). Each
/// starts with a count of one token.
void start_codebooks_from_data(Model& model, const FeatureSet& features, uint64_t seed);

/// Errors: a codebook with more prototypes than its training images have tokens, so that some could never be used.
Status check_prototypes(const ModelSpec& spec, const FeatureSet& features);

}  // namespace hivq
