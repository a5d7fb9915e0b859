#pragma once

// A data set before the backbone: which images train and test, and how to decode one.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "jobs/spec.h"

namespace hivq {

struct ImageRecord {
  int64_t class_index = 0;  // into class_names
  bool anomalous = false;
  std::string name;  // for people: the file, relative to the data set's folder, or `training image 17`
};

/// What is normal and what is not, and so what a metric is taken over.
enum class Protocol {
  many_class,  // classes that are not trained are the anomalous ones: metrics over all test images together
  defects,     // every class has normal and defective images: metrics per class, and their mean
};

struct ImageSet {
  Protocol protocol = Protocol::many_class;
  std::vector<std::string> class_names;
  std::vector<int64_t> trained_classes;  // indices into class_names, each once
  std::vector<ImageRecord> train;        // normal images only
  std::vector<ImageRecord> test;
  /// Names the images' content and their order: two sets with the same identity decode to the same pixels.
  std::string identity;
  /// Image `index` as uint8 [H, W, 3], RGB. The training images come first, then the test images.
  std::function<Result<at::Tensor>(int64_t index)> decode;
  /// The ground truth of TEST image `index` (counted among the test images) as uint8 [H, W], 1 where it is defective,
  /// of the image's size; all 0 for a normal image. Null where the set has no masks. Errors: a mask that is missing,
  /// damaged or of another size than its image.
  std::function<Result<at::Tensor>(int64_t index)> mask;

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

/// The set without its decoder. `contents` names the files' bytes in its identity.
ImageSet image_set_of(const ManyClassSplit& split, const std::vector<std::string>& class_names,
                      std::string_view contents);

}  // namespace hivq
