#include "worker/data/feature_file.h"

#include <c10/util/BFloat16.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

namespace hivq {
namespace {

constexpr size_t kPage = 4096;
constexpr uint32_t kVersion = 1;  // of the layout above and of what the rows mean
constexpr uint64_t kDone = 0x656e6f642071766bULL;

struct Header {
  char magic[8] = {'h', 'i', 'v', 'q', 'f', 'e', 'a', 't'};
  uint32_t version = kVersion;
  uint32_t shard_rows = FeatureLayout::kShardRows;
  int64_t rows = 0;
  int64_t row_floats = 0;
  char key[64] = {};
};

struct ShardEntry {
  uint64_t checksum = 0;
  uint64_t state = 0;  // kDone, or the shard is not computed
};

Header header_of(const FeatureLayout& layout) {
  check(layout.key.size() == sizeof(Header::key), "a feature file's key has 64 digits");
  Header header;
  header.rows = layout.rows;
  header.row_floats = layout.row_floats;
  std::memcpy(header.key, layout.key.data(), sizeof(header.key));
  return header;
}

size_t round_up(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

Error no_room(const std::string& path, size_t bytes) {
  return error(
      "the feature cache {} needs {} MB, and its disk has no room for them; free some space or choose another cache "
      "folder",
      std::filesystem::path(path).parent_path().string(), (bytes + 999'999) / 1'000'000);
}

}  // namespace

size_t FeatureLayout::table_offset(int64_t shard) const {
  return kPage + static_cast<size_t>(shard) * sizeof(ShardEntry);
}

size_t FeatureLayout::row_offset(int64_t row) const {
  return round_up(table_offset(shards())) + static_cast<size_t>(row) * row_bytes();
}

uint64_t checksum64(std::span<const std::byte> values) {
  // FNV-1a over 64-bit words in eight lanes, so that the multiplications overlap. Each step is a bijection of its lane,
  // so a single changed word always shows; the rotation carries high bits to the low ones.
  constexpr uint64_t kPrime = 0x9e3779b97f4a7c15ULL;
  constexpr size_t kLanes = 8;
  std::array<uint64_t, kLanes> lanes;
  for (size_t i = 0; i < kLanes; ++i) lanes[i] = kPrime * (i + 1);
  const auto mix = [](uint64_t lane, uint64_t word) { return std::rotl((lane ^ word) * kPrime, 29); };

  const size_t bytes = values.size(), block = sizeof(lanes);
  const std::byte* at = values.data();
  std::array<uint64_t, kLanes> words;
  for (size_t offset = 0; offset < bytes; offset += block) {
    if (bytes - offset < block) words.fill(0);
    std::memcpy(words.data(), at + offset, std::min(block, bytes - offset));
    for (size_t i = 0; i < kLanes; ++i) lanes[i] = mix(lanes[i], words[i]);
  }
  uint64_t sum = bytes;
  for (const uint64_t lane : lanes) sum = mix(sum, lane);
  return sum;
}

MappedFeatures::~MappedFeatures() { ::munmap(base_, layout_.file_bytes()); }

std::span<const std::byte> MappedFeatures::bytes(int64_t first, int64_t count) const {
  check(first >= 0 && count >= 0 && first + count <= layout_.rows, "rows outside a feature file");
  return {static_cast<const std::byte*>(base_) + layout_.row_offset(first),
          static_cast<size_t>(count) * layout_.row_bytes()};
}

std::span<const float> MappedFeatures::rows(int64_t first, int64_t count) const {
  check(!layout_.bfloat16, "rows of bfloat16 are no floats");
  const auto kept = bytes(first, count);
  return {reinterpret_cast<const float*>(kept.data()), kept.size() / sizeof(float)};
}

Status format_feature_file(const Descriptor& file, const std::string& path, const FeatureLayout& layout) {
  const size_t bytes = layout.file_bytes();
  if (::ftruncate(file.get(), 0) != 0) return file_error("write", path, errno);
  struct statvfs disk = {};
  if (::fstatvfs(file.get(), &disk) == 0 && disk.f_bavail < bytes / disk.f_frsize) return no_room(path, bytes);
  // The blocks are taken now, so that a disk that fills up meanwhile cannot stop the work half-way.
  const int failure = ::posix_fallocate(file.get(), 0, static_cast<off_t>(bytes));
  if (failure == ENOSPC || failure == EDQUOT || failure == EFBIG) return no_room(path, bytes);
  if (failure != 0) return file_error("write", path, failure);
  const Header header = header_of(layout);
  if (!write_fully(file, &header, sizeof(header), 0)) return file_error("write", path, errno);
  return {};
}

bool has_layout(const Descriptor& file, const FeatureLayout& layout) {
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0 || static_cast<size_t>(status.st_size) != layout.file_bytes()) return false;
  // A key is a SHA-256 over all that the rows depend on, and every other field is compared: no checksum is needed here.
  Header header;
  const Header expected = header_of(layout);
  return read_fully(file, &header, sizeof(header), 0) && std::memcmp(&header, &expected, sizeof(header)) == 0;
}

bool is_done(const Descriptor& file, const FeatureLayout& layout, int64_t shard) {
  ShardEntry entry;
  return read_fully(file, &entry, sizeof(entry), layout.table_offset(shard)) && entry.state == kDone;
}

bool write_shard(const Descriptor& file, const FeatureLayout& layout, int64_t shard, std::span<const float> rows) {
  check(rows.size() == static_cast<size_t>(layout.rows_of(shard) * layout.row_floats), "a shard's size");
  std::vector<c10::BFloat16> rounded;
  if (layout.bfloat16) rounded.assign(rows.begin(), rows.end());
  const auto kept = layout.bfloat16 ? std::as_bytes(std::span<const c10::BFloat16>(rounded)) : std::as_bytes(rows);
  const ShardEntry entry{checksum64(kept), kDone};
  return write_fully(file, kept.data(), kept.size(), layout.row_offset(layout.first_row(shard))) &&
         write_fully(file, &entry, sizeof(entry), layout.table_offset(shard));
}

Result<std::shared_ptr<const MappedFeatures>> map_features(Descriptor file, const std::string& path,
                                                           const FeatureLayout& layout) {
  if (!has_layout(file, layout)) return error("{} is damaged: its header or its size is wrong", path);
  void* base = ::mmap(nullptr, layout.file_bytes(), PROT_READ, MAP_SHARED, file.get(), 0);
  if (base == MAP_FAILED) return file_error("map", path, errno);
  auto mapped = std::make_shared<const MappedFeatures>(base, layout, std::move(file));
  for (int64_t shard = 0; shard < layout.shards(); ++shard) {
    ShardEntry entry;
    std::memcpy(&entry, static_cast<const char*>(base) + layout.table_offset(shard), sizeof(entry));
    const auto rows = mapped->bytes(layout.first_row(shard), layout.rows_of(shard));
    if (entry.state != kDone || entry.checksum != checksum64(rows)) {
      return error("{} is damaged: the checksum of images {} to {} is wrong", path, layout.first_row(shard),
                   layout.first_row(shard) + layout.rows_of(shard) - 1);
    }
  }
  return mapped;
}

}  // namespace hivq
