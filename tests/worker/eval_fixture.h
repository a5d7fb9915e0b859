#pragma once

// Small made-up sets for the tests of evaluation.

#include "tests/worker/model_fixture.h"

namespace hivq {

/// Three trained classes, each with normal and defective test images; a defect is a rectangle, and some images have
/// two. Image 11 is of a class without any other image.
inline FeatureSet made_up_defects(int64_t test, at::ScalarType type) {
  FeatureSet set = made_up_features(12, test, 3, type);
  set.protocol = Protocol::defects;
  set.class_names = {"a b", "T-shirt/top", "screw", "lonely"};
  int64_t defects = 0;
  for (int64_t i = 0; i < test; ++i) {
    const auto at = static_cast<size_t>(i);
    if (set.test_anomalous[at]) set.test_class[at] = defects++ % 3;
    if (i == 11) set.test_class[at] = 3;
    set.test_name.push_back(
        fmt::format("{}/test/{:03}.png", set.class_names[static_cast<size_t>(set.test_class[at])], i));
  }
  set.test_mask = [](int64_t i) -> Result<at::Tensor> {
    at::Tensor mask = at::zeros({48, 48}, at::kByte);
    mask.narrow(0, 3 + i % 20, 9).narrow(1, (5 * i) % 30, 4 + i % 7).fill_(1);
    if (i % 2 == 0) mask.narrow(0, 40, 5).narrow(1, i % 40, 6).fill_(1);
    return mask;
  };
  return set;
}

}  // namespace hivq
