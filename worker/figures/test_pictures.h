#pragma once

// The test images that a trial shows with its results: of each class typical ones, with their anomaly maps.

#include <cstdint>
#include <span>
#include <vector>

#include "common/messages.h"
#include "common/result.h"
#include "jobs/spec.h"
#include "worker/data/feature_set.h"
#include "worker/eval/test_scores.h"
#include "worker/model/model.h"

namespace hivq {

/// Those of `images` in the middle by their scores, neither the best nor the worst cases: `count` of them at most, by
/// their scores. `scores` are those of all test images.
std::vector<int64_t> typical_images(std::span<const int64_t> images, std::span<const float> scores, size_t count);

/// Of each class `per_kind` typical normal and anomalous test images, in the order of the classes; fewer of each where
/// they would be more than `most_pictures`. [position among the test images]
std::vector<int64_t> shown_images(const FeatureSet& features, std::span<const float> scores, int64_t per_kind);

/// The pictures of the images that spec.pictures asks for: the model scores them again, which gives them the maps that
/// the evaluation saw. None where the set has no images to show. `found`: of the evaluation at `step`. Not collective:
/// the rank that reports calls it. Errors: an image or a mask that cannot be read.
Result<std::vector<PictureItem>> test_pictures(const Model& model, const EvalSpec& spec, const FeatureSet& features,
                                               const TestScores& found, int64_t step);

}  // namespace hivq
