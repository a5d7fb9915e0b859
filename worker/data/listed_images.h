#pragma once

// Data sets of image files with defects within each class (MVTec-AD, VisA, lists, one's own folders): what their
// loaders share. A loader says which files there are; here the classes are chosen, everything is checked, and an
// ImageSet comes out.

#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "worker/data/image_set.h"

namespace hivq {

struct ListedImage {
  std::string class_name;
  std::string image;  // relative to the folder
  bool anomalous = false;
  std::string mask;   // relative to the folder; empty, where the set has masks and this is anomalous: all is defective
  std::string where;  // names the line that lists it, `/data/test.json:12`; empty where it was found in a folder
};

struct ListedImages {
  std::string folder;
  std::vector<ListedImage> train, test;
  bool has_masks = false;
};

/// data.path. Errors: empty, or no folder; `layout` says what it should hold.
Result<std::string> folder_of(const DataSpec& data, std::string_view layout);

/// Whether data.classes asks for the class; it does for each where it names none.
bool is_wanted(const DataSpec& data, std::string_view class_name);

/// The wanted classes, in the order of their names, since codebooks and heads go by a class's index. Of each, as many
/// images as data.train_per_class and .test_per_class say, spread evenly over its list so that every kind of defect
/// stays in. The identity is of the images' paths, sizes and times of change: hashing 5 GB would cost each start tens
/// of seconds where a stat costs milliseconds, and ctime, unlike mtime, changes with the content whoever writes it.
/// Errors: an unknown class (and the nearest name); a class without training images; no test images; a file that is
/// missing; a mask of another size than its image.
Result<ImageSet> make_image_set(const DataSpec& data, ListedImages listed);

}  // namespace hivq
