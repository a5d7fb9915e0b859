#include "worker/data/usable_images.h"

#include <torch/torch.h>

#include <algorithm>
#include <limits>

#include "worker/data/masks.h"

namespace hivq {
namespace {

/// Positions of the rows that mark_damaged() marked. A marked row is all NaN, so its first value tells.
std::vector<int64_t> marked(const at::Tensor& features) {
  std::vector<int64_t> positions;
  if (features.numel() == 0) return positions;
  const at::Tensor first = features.flatten(1).select(1, 0).isnan();
  for (int64_t i = 0; i < first.size(0); ++i) {
    if (first[i].item<bool>()) positions.push_back(i);
  }
  return positions;
}

std::vector<int64_t> all_but(size_t count, const std::vector<int64_t>& excluded) {
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < static_cast<int64_t>(count); ++i) {
    if (!std::ranges::binary_search(excluded, i)) kept.push_back(i);
  }
  return kept;
}

std::string reason_of(const ImageSet& images, const ImageRecord& record, int64_t index) {
  const Result<at::Tensor> image = images.decode(index);
  if (!image) return image.error().message;
  return fmt::format(
      "the features of {} in the cache are not finite numbers, or it could not be read when they were "
      "computed",
      record.name);
}

/// A class of which every training image was left out has nothing to learn from.
Status check_classes(const ImageSet& images, const UsableImages& usable) {
  for (const int64_t c : images.trained_classes) {
    const auto is_class = [&](int64_t i) { return images.train[static_cast<size_t>(i)].class_index == c; };
    const bool had = std::ranges::any_of(images.train, [c](const ImageRecord& r) { return r.class_index == c; });
    if (had && std::ranges::none_of(usable.train, is_class)) {
      return error("class {} has no training image that can be used: {}", images.class_names[static_cast<size_t>(c)],
                   usable.warnings.front());
    }
  }
  return {};
}

}  // namespace

Error damaged_error(const std::string& what) {
  return error("{}; mend or remove the image, or set data.damaged to skip", what);
}

void mark_damaged(at::Tensor features, const std::vector<int64_t>& damaged) {
  at::Tensor broken = features.flatten(1).isfinite().all(1).logical_not();
  for (const int64_t i : damaged) broken[i] = true;
  features.index_put_({broken}, std::numeric_limits<float>::quiet_NaN());
}

Result<UsableImages> find_usable(const ImageSet& images, const at::Tensor& train, const at::Tensor& test, bool fail) {
  UsableImages usable;
  const auto sift = [&](const std::vector<ImageRecord>& records, const at::Tensor& features, size_t offset) -> Status {
    for (const int64_t i : marked(features)) {
      const ImageRecord& record = records[static_cast<size_t>(i)];
      const std::string reason = reason_of(images, record, i + static_cast<int64_t>(offset));
      if (fail) return damaged_error(reason);
      usable.warnings.push_back("left out: " + reason);
    }
    return {};
  };
  if (Status sifted = sift(images.train, train, 0); !sifted) return sifted.error();
  if (Status sifted = sift(images.test, test, images.train.size()); !sifted) return sifted.error();
  usable.train = all_but(images.train.size(), marked(train));
  usable.test = all_but(images.test.size(), marked(test));
  if (Status classes = check_classes(images, usable); !classes) return classes.error();
  return usable;
}

at::Tensor rows_of(const at::Tensor& features, const std::vector<int64_t>& positions) {
  if (static_cast<int64_t>(positions.size()) == features.size(0)) return features;
  return features.index_select(0, at::tensor(positions, at::kLong));
}

FeatureSet describe(const std::shared_ptr<const ImageSet>& images, const UsableImages& usable, int64_t image_size) {
  FeatureSet set;
  set.protocol = images->protocol;
  set.class_names = images->class_names;
  set.trained_classes = images->trained_classes;
  set.warnings = usable.warnings;
  for (const int64_t i : usable.train) {
    const int64_t c = images->train[static_cast<size_t>(i)].class_index;
    set.train_class.push_back(std::ranges::find(set.trained_classes, c) - set.trained_classes.begin());
  }
  for (const int64_t i : usable.test) {
    const ImageRecord& record = images->test[static_cast<size_t>(i)];
    set.test_class.push_back(record.class_index);
    set.test_anomalous.push_back(record.anomalous);
    set.test_name.push_back(record.name);
  }
  set.train_image = [images, train = usable.train](int64_t i) {
    return images->decode(train.at(static_cast<size_t>(i)));
  };
  set.test_image = [images, test = usable.test, offset = static_cast<int64_t>(images->train.size())](int64_t i) {
    return images->decode(offset + test.at(static_cast<size_t>(i)));
  };
  if (images->mask) set.test_mask = cached_masks(images, usable.test, image_size);
  return set;
}

}  // namespace hivq
