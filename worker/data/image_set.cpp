#include "worker/data/image_set.h"

#include <algorithm>
#include <numeric>

#include "worker/data/cifar10.h"
#include "worker/data/defect_sets.h"
#include "worker/data/fashion_mnist.h"

namespace hivq {
namespace {

struct Loader {
  std::string_view name;
  Result<ImageSet> (*load)(const DataSpec& data);
};
constexpr Loader kLoaders[] = {{"fashion-mnist", load_fashion_mnist},
                               {"cifar10", load_cifar10},
                               {"mvtec", load_mvtec},
                               {"visa", load_visa},
                               {"json-lines", load_json_lines}};

Result<std::vector<int64_t>> checked_classes(const DataSpec& data, int64_t classes) {
  std::vector<int64_t> normal = data.normal_classes;
  if (normal.empty()) {
    normal.resize(static_cast<size_t>(classes));
    std::iota(normal.begin(), normal.end(), 0);
  }
  for (size_t i = 0; i < normal.size(); ++i) {
    if (normal[i] < 0 || normal[i] >= classes) {
      return error("data.normal_classes names class {}, but {} has the classes 0 to {}", normal[i], data.name,
                   classes - 1);
    }
    if (std::find(normal.begin(), normal.begin() + i, normal[i]) != normal.begin() + i) {
      return error("data.normal_classes names class {} twice; name each class once", normal[i]);
    }
  }
  return normal;
}

/// Positions of the first `per_class` (0: all) labels of each wanted class, in file order.
std::vector<int64_t> first_of_each(const std::vector<uint8_t>& labels, const std::vector<bool>& wanted,
                                   int64_t per_class) {
  std::vector<int64_t> taken(wanted.size(), 0), positions;
  for (size_t i = 0; i < labels.size(); ++i) {
    const uint8_t label = labels[i];
    if (!wanted[label] || (per_class > 0 && taken[label] == per_class)) continue;
    ++taken[label];
    positions.push_back(static_cast<int64_t>(i));
  }
  return positions;
}

}  // namespace

Result<ManyClassSplit> split_many_class(const DataSpec& data, const std::vector<std::string>& class_names,
                                        const std::vector<uint8_t>& train_labels,
                                        const std::vector<uint8_t>& test_labels) {
  auto normal = checked_classes(data, static_cast<int64_t>(class_names.size()));
  if (!normal) return normal.error();
  std::vector<bool> is_normal(class_names.size(), false);
  for (const int64_t index : *normal) is_normal[static_cast<size_t>(index)] = true;

  ManyClassSplit split;
  split.trained_classes = std::move(*normal);
  split.train_source = first_of_each(train_labels, is_normal, data.train_per_class);
  for (const int64_t c : split.trained_classes) {
    if (std::ranges::find(train_labels, static_cast<uint8_t>(c)) == train_labels.end()) {
      return error("class {} ({}) of {} has no training images; leave it out of data.normal_classes", c,
                   class_names[static_cast<size_t>(c)], data.name);
    }
  }
  split.test_source = first_of_each(test_labels, std::vector<bool>(class_names.size(), true), data.test_per_class);
  for (const int64_t i : split.train_source) {
    split.train.push_back({train_labels[static_cast<size_t>(i)], false, fmt::format("training image {}", i)});
  }
  for (const int64_t i : split.test_source) {
    const uint8_t label = test_labels[static_cast<size_t>(i)];
    split.test.push_back({label, !is_normal[label], fmt::format("test image {}", i)});
  }
  return split;
}

ImageSet image_set_of(const ManyClassSplit& split, const std::vector<std::string>& class_names,
                      std::string_view contents) {
  ImageSet set;
  set.class_names = class_names;
  set.trained_classes = split.trained_classes;
  set.train = split.train;
  set.test = split.test;
  std::vector<int64_t> sorted = set.trained_classes;  // the order of the classes does not change the images' order
  std::ranges::sort(sorted);
  set.identity = fmt::format("{} classes {} train {} test {}", contents, fmt::join(sorted, ","), set.train.size(),
                             set.test.size());
  return set;
}

Result<ImageSet> load_images(const DataSpec& data) {
  for (const Loader& loader : kLoaders) {
    if (data.name == loader.name) return loader.load(data);
  }
  std::vector<std::string_view> names;
  for (const Loader& loader : kLoaders) names.push_back(loader.name);
  return error("data.name is `{}`; the known data sets are: {}", data.name, fmt::join(names, ", "));
}

}  // namespace hivq
