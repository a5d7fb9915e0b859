#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "common/result.h"
#include "worker/data/image_set.h"

namespace hivq {

/// The ground truth of the test images at `positions` as FeatureSet::test_mask gives it: uint8 [S, S], S = image_size,
/// the nearest pixel of the mask. Each mask is decoded once and kept as bits (6 KB at 224×224), since every evaluation
/// asks for all of them. May be called from several threads at once.
std::function<Result<at::Tensor>(int64_t i)> cached_masks(std::shared_ptr<const ImageSet> images,
                                                          std::vector<int64_t> positions, int64_t image_size);

}  // namespace hivq
