#pragma once

// Keeps the feature cache within a size: the files that were used longest ago go first.

#include <cstdint>
#include <string>

#include "worker/data/file.h"

namespace hivq {

/// Notes that a file of the cache is in use, until the descriptor closes, and when.
void mark_in_use(const Descriptor& file);

/// Removes features that no process uses, the least recently used first, until `bytes` more fit into `limit` bytes (0:
/// no limit) and on the disk, or nothing is left to remove. What is in use stays.
void make_room(const std::string& folder, size_t bytes, size_t limit);

}  // namespace hivq
