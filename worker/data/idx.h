#pragma once

// IDX files, the format of MNIST and its relatives. Source: http://yann.lecun.com/exdb/mnist, "The IDX file format".

#include <cstdint>
#include <string>
#include <vector>

#include "common/result.h"

namespace hivq {

struct Idx {
  std::vector<int64_t> shape;
  std::vector<uint8_t> values;  // row-major, as many as the shape says
};

/// Reads an IDX file of unsigned bytes, gzip-compressed or plain, with `dimensions` dimensions.
/// Errors name the file and what is wrong: missing, another format, truncated, too long, damaged.
Result<Idx> read_idx(const std::string& path, int dimensions);

}  // namespace hivq
