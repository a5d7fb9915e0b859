#pragma once

// A data set before the backbone: which images train and test, and how to decode one.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/result.h"
#include "jobs/spec.h"

namespace hivq {

struct ImageRecord {
  int64_t class_index = 0;  // into class_names
  bool anomalous = false;
};

struct ImageSet {
  std::vector<std::string> class_names;
  std::vector<int64_t> trained_classes;  // indices into class_names, each once
  std::vector<ImageRecord> train;        // normal images only
  std::vector<ImageRecord> test;
  /// Names the images' content and their order: two sets with the same identity decode to the same pixels.
  std::string identity;
  /// Image `index` as uint8 [H, W, 3], RGB. The training images come first, then the test images.
  std::function<Result<at::Tensor>(int64_t index)> decode;

  int64_t size() const { return static_cast<int64_t>(train.size() + test.size()); }
};

/// Opens the data set that the specification names. Errors name the file or the field and the remedy.
Result<ImageSet> load_images(const DataSpec& data);

/// The many-class protocol (MODEL.md, "CIFAR-10 protocol"): the normal classes' training images train, every class's
/// test images test, and a test image of another class is anomalous. The first n images of each class are taken, in
/// file order.
struct ManyClassSplit {
  std::vector<int64_t> trained_classes;
  std::vector<ImageRecord> train, test;
  std::vector<int64_t> train_source, test_source;  // the images' positions among the labels
};
Result<ManyClassSplit> split_many_class(const DataSpec& data, const std::vector<std::string>& class_names,
                                        const std::vector<uint8_t>& train_labels,
                                        const std::vector<uint8_t>& test_labels);

}  // namespace hivq
