#pragma once

// The scores of all test images, each computed on one rank and known to every rank.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/result.h"
#include "jobs/spec.h"
#include "worker/collective/collective.h"
#include "worker/data/feature_set.h"
#include "worker/eval/pixel_metrics.h"
#include "worker/model/model.h"

namespace hivq {

struct TestScores {
  // Of each test image, [m]:
  std::vector<float> max, mean, std;  // the scores
  std::vector<double> error;          // ‖h0 − h̃0‖², a mean over elements
  std::vector<int64_t> predicted;     // index among the trained classes
  float map_low = 0, map_high = 0;    // the ends of all maps
  /// By class (index into class_names); only those whose masks hold normal and defective pixels.
  std::map<int64_t, PixelMetrics> pixels;

  std::string failure;  // why the images cannot be scored, the same on every rank; empty: they are
};

/// A class's images are scored on one rank where there are masks, so that no pixel travels; else the images are shared
/// in batches. Batches hold the same images for any number of ranks, so the scores do not depend on it. Collective. An
/// Error is the collective's.
Result<TestScores> score_test_images(const Model& model, const EvalSpec& spec, const FeatureSet& features,
                                     Collective& collective);

/// The scores that EvalSpec::score names.
const std::vector<float>& chosen_scores(const TestScores& scores, const EvalSpec& spec);

/// [m] index of each test image's class among the trained classes, −1 for the others.
std::vector<int64_t> trained_class_of_test(const FeatureSet& features);

/// What the data set calls test image `index`; its number where it has no names.
std::string test_name(const FeatureSet& features, int64_t index);

}  // namespace hivq
