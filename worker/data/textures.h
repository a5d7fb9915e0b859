#pragma once

// A small data set with defects, made from photos of textures: for tests, demonstrations and figures where none of the
// public ones may be had.

#include <cstdint>
#include <string>

#include "common/result.h"

namespace hivq {

struct TextureOptions {
  std::string photos;            // a folder of images; each is a class, named by its file
  std::string out;               // the data set; absent or empty before
  int64_t crop = 256;            // pixels of an image's side; at most half of a photo's height, and all of its width
  int64_t train = 100;           // images of each class
  int64_t test_good = 30;        // images of each class
  int64_t test_per_defect = 12;  // images of each class and kind of defect
  uint64_t seed = 1;
};

/// Makes a data set in MVTec-AD's layout (defect_sets.h). Training images are crops of a photo's upper half, test
/// images of its lower half, so that no pixel is in both. Defects: scratch, stain, hole, patch (of another texture;
/// only where there are several photos) and smear, of random place, size and strength, each with its mask. The same
/// options and photos give the same files, byte by byte. Errors: no photos; a photo that is too small or damaged; a
/// folder that is not empty or cannot be written.
Status make_textures(const TextureOptions& options);

}  // namespace hivq
