#pragma once

// Sorts any number of scores within a bounded memory: sorted runs go to a temporary file when the memory is full, and
// are merged in one pass at the end.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "common/result.h"
#include "worker/data/file.h"

namespace hivq {

struct ScoreEntry {
  uint32_t key = 0;  // rises as the score falls
  uint32_t tag = 0;  // the caller's
  bool operator==(const ScoreEntry&) const = default;
};

/// The key of a score: equal for equal scores, −0 and 0 among them. NaN has no rank and so no key.
inline uint32_t falling_key(float score) {
  const auto bits = std::bit_cast<uint32_t>(score + 0.0f);  // −0 becomes 0
  return (bits >> 31) != 0 ? bits : ~bits & 0x7fffffffu;
}

/// Sorts by key, ascending; entries of one key stay in the order in which they were added. So what drain() gives
/// depends on nothing but what was added, and not on the memory.
class ScoreSort {
 public:
  /// `memory`: bytes for entries, the room for sorting included. `folder`: where the temporary file lies, which has no
  /// name, so that nothing is left of it when the process ends in whatever way; empty: the system's ($TMPDIR or /tmp).
  explicit ScoreSort(size_t memory, std::string folder = {});

  /// Errors: the temporary file cannot be made or written, as on a full disk.
  Status add(std::span<const ScoreEntry> entries);

  using Visitor = std::function<void(std::span<const ScoreEntry>)>;
  /// Hands all entries over, sorted, in blocks; none is left. Errors: the temporary file cannot be written or read.
  Status drain(const Visitor& visit);

  uint64_t size() const { return size_; }
  size_t runs() const { return run_begin_.size(); }  // in the file

 private:
  Status spill();
  Status merge(const Visitor& visit);

  size_t capacity_;  // entries in memory
  std::string folder_;
  std::vector<ScoreEntry> buffer_;
  Descriptor file_;
  std::vector<uint64_t> run_begin_;  // in entries, from the file's begin
  uint64_t written_ = 0;             // entries
  uint64_t size_ = 0;
};

}  // namespace hivq
