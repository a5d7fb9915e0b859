#pragma once

// Looks at everything in a store: every block's checksum, every row, every chunk's SHA-256, and whether rows agree with
// each other.

#include <functional>
#include <string>
#include <vector>

#include "coordinator/store.h"

namespace hivq {

/// What is wrong, and what to do about it.
struct Finding {
  std::string what;
  std::string remedy;
};

struct Verified {
  uint64_t jobs = 0, trials = 0, points = 0, checkpoints = 0, chunks = 0, chunk_bytes = 0, log_lines = 0, events = 0,
           pictures = 0;
  std::vector<Finding> findings;  // of each kind the first few, and how many more
};

/// Reads the whole store; nothing is changed. Errors: the store cannot be read at all.
Result<Verified> verify(const Store& store);

}  // namespace hivq
