#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace hivq {

/// Images of CIFAR-10's files: 32×32 bytes of red, then of green, then of blue for each.
struct Cifar10Batch {
  static constexpr int64_t kSide = 32, kClasses = 10;
  static constexpr size_t kImageBytes = 3 * kSide * kSide;
  std::vector<uint8_t> labels;  // below kClasses
  std::string pixels;           // kImageBytes for each label
};

/// A file of the binary version: of each image one byte of label and its pixels.
/// Errors name `origin`: another length, a label that is no class.
Result<Cifar10Batch> read_binary_batch(std::string_view bytes, const std::string& origin);

/// A file of the version for Python: a pickled dict with `labels`, a list, and `data`, a numpy array of bytes. Errors
/// as above, and what the pickle lacks. It is read, never run.
Result<Cifar10Batch> read_python_batch(std::string_view bytes, const std::string& origin);

}  // namespace hivq
