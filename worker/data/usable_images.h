#pragma once

// Images that cannot be used: those that cannot be decoded, and those whose features are not finite. In the feature
// file their rows are NaN, so every process that maps it knows them without decoding anything.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/result.h"
#include "worker/data/feature_set.h"
#include "worker/data/image_set.h"

namespace hivq {

/// The Error of an image that is damaged where data.damaged is `fail`: what is wrong, and the remedy.
Error damaged_error(const std::string& what);

/// Fills the rows of `features` [n, …] with NaN that are listed, or that hold anything but finite numbers.
void mark_damaged(at::Tensor features, const std::vector<int64_t>& damaged);

struct UsableImages {
  std::vector<int64_t> train, test;   // positions in ImageSet::train and ::test, ascending
  std::vector<std::string> warnings;  // one for every other image: which, and why
};

/// The images whose rows are not marked. Errors: the first marked image where `fail`; a class all of whose training
/// images are marked.
Result<UsableImages> find_usable(const ImageSet& images, const at::Tensor& train, const at::Tensor& test, bool fail);

/// The rows at the positions; the tensor itself, not a copy, where these are all.
at::Tensor rows_of(const at::Tensor& features, const std::vector<int64_t>& positions);

/// All of a FeatureSet but its features.
FeatureSet describe(const std::shared_ptr<const ImageSet>& images, const UsableImages& usable, int64_t image_size);

}  // namespace hivq
