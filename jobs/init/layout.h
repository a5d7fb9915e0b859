#pragma once

// What the folders of one's own images mean: which are classes, which images are good and which are defective, what is
// trained and what is tested, which masks belong to which images. Pure.

#include <cstdint>
#include <string>
#include <vector>

#include "common/result.h"
#include "jobs/init/survey.h"

namespace hivq::init {

struct Example {
  std::string class_name;
  std::string file;  // relative to Dataset::path
  bool defective = false;
  std::string mask;  // relative to Dataset::path; empty: none
  int64_t width = 0, height = 0;
};

struct ClassCount {
  std::string name;
  uint64_t train = 0, test_good = 0, test_defective = 0, masks = 0;
};

struct Dataset {
  std::string name;    // of the folder
  std::string layout;  // how the folders were read, for people
  std::string path;    // data.path, absolute
  bool lists = false;  // json-lines, with lists that are to be written; else the loader of MVTec-AD's folders
  std::vector<std::string> classes;  // data.classes; empty: all
  bool damaged = false;              // not all images were decoded: those that cannot be are to be skipped
  bool has_masks = false;            // every defective image has one
  std::vector<Example> train, test;  // what will be used
  std::vector<std::string> notes;    // what will not be used or measured, and why; a sentence each
};

/// `folder` is absolute. Where no good image is set aside for the test, one in five of each class is. Errors: no
/// images, or folders that say neither class nor good and defective; with the ways to arrange them.
Result<Dataset> read_layout(const std::string& folder, const Survey& survey);

/// By class, in the order of their names.
std::vector<ClassCount> count_classes(const Dataset& dataset);

/// The arrangements that are understood, as lines for people.
std::string known_layouts();

}  // namespace hivq::init
