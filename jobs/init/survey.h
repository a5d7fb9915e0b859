#pragma once

// The image files of a folder, as `hivq-worker survey` tells of them.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace hivq::init {

struct Image {
  std::string file;               // relative to the folder
  int64_t width = 0, height = 0;  // pixels
  std::string problem;            // why it cannot be used; empty: nothing is known
};

struct Survey {
  std::vector<Image> images;         // by name
  std::vector<std::string> other;    // files that are not named as images
  uint64_t decoded = 0;              // images that were decoded to the end; of the rest only the head was read
  uint64_t gpus = 0;                 // that hivq-worker can use
  std::vector<std::string> weights;  // files in the folder of the backbones' weights
};

/// Reads its lines of JSON; lines that are none are passed over. Errors: it did not come to its end.
Result<Survey> read_survey(std::string_view lines);

}  // namespace hivq::init
