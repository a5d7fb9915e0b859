#pragma once

// The file of a feature cache: one row per image, of float32 or bfloat16, with a header that says what it holds and a
// table with a checksum per shard of rows. While it is being filled, the table also says which shards are done.
//
//   page 0        header: magic, version, shard size, rows, floats per row, key
//   page 1 …      table: per shard {checksum, state}
//   next page …   rows, side by side

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "common/result.h"
#include "worker/data/file.h"

namespace hivq {

struct FeatureLayout {
  std::string key;         // 64 hexadecimal digits: what the rows were computed from
  int64_t rows = 0;        // images
  int64_t row_floats = 0;  // C·G·G
  bool bfloat16 = false;   // how they are kept; which of the two the key tells, too

  static constexpr int64_t kShardRows = 256;  // the unit of work that one process takes, and of a checksum

  int64_t shards() const { return (rows + kShardRows - 1) / kShardRows; }
  int64_t first_row(int64_t shard) const { return shard * kShardRows; }
  int64_t rows_of(int64_t shard) const { return std::min(kShardRows, rows - first_row(shard)); }
  size_t row_bytes() const { return static_cast<size_t>(row_floats) * (bfloat16 ? 2 : 4); }
  size_t table_offset(int64_t shard) const;
  size_t row_offset(int64_t row) const;
  size_t file_bytes() const { return row_offset(rows); }
};

/// A 64-bit checksum against damage, not against an adversary; any change of one 8-byte word changes it. Runs at the
/// memory's speed, so that the whole file can be verified whenever it is opened.
uint64_t checksum64(std::span<const std::byte> bytes);

/// Rows mapped from a finished file, read-only: a write through the pointer ends the program. The file counts as in use
/// (feature_eviction.h) for as long as this lives.
class MappedFeatures {
 public:
  MappedFeatures(void* base, FeatureLayout layout, Descriptor in_use)
      : base_(base), layout_(std::move(layout)), in_use_(std::move(in_use)) {}
  MappedFeatures(const MappedFeatures&) = delete;
  MappedFeatures& operator=(const MappedFeatures&) = delete;
  ~MappedFeatures();
  const FeatureLayout& layout() const { return layout_; }
  /// Of float32, or as they are kept.
  std::span<const float> rows(int64_t first, int64_t count) const;
  std::span<const std::byte> bytes(int64_t first, int64_t count) const;

 private:
  void* base_;
  FeatureLayout layout_;
  Descriptor in_use_;
};

/// Gives an empty file its size on the disk and its header. Errors: not enough room (names the folder and the
/// megabytes).
Status format_feature_file(const Descriptor& file, const std::string& path, const FeatureLayout& layout);

/// Whether the file's header is intact and tells this layout, and the file has its full size.
bool has_layout(const Descriptor& file, const FeatureLayout& layout);

/// Whether the shard is marked as done; and rounds the rows to how they are kept, writes and then marks them. False,
/// with errno, on failure.
bool is_done(const Descriptor& file, const FeatureLayout& layout, int64_t shard);
bool write_shard(const Descriptor& file, const FeatureLayout& layout, int64_t shard, std::span<const float> rows);

/// Maps a finished file and verifies every checksum. Errors: what is damaged.
Result<std::shared_ptr<const MappedFeatures>> map_features(Descriptor file, const std::string& path,
                                                           const FeatureLayout& layout);

}  // namespace hivq
