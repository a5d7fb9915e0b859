#include "worker/data/zip.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>

namespace hivq {
namespace {

// Section 4.3 of PKWARE's APPNOTE.TXT: sizes of the records' fixed parts, and where their fields lie. Little-endian.
constexpr std::string_view kLocalMark = "PK\3\4", kCentralMark = "PK\1\2", kEndMark = "PK\5\6", kEnd64Mark = "PK\6\6",
                           kLocator64Mark = "PK\6\7";
constexpr size_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocator64Bytes = 20;
constexpr size_t kMaxComment = 65535;
constexpr uint32_t kIn64 = 0xffffffff;  // the value stands in the ZIP64 field instead

static_assert(std::endian::native == std::endian::little);

template <typename Unsigned>
Unsigned number(std::string_view record, size_t offset) {
  Unsigned value = 0;
  std::memcpy(&value, record.data() + offset, sizeof value);
  return value;
}

/// The record of `size` bytes at `offset`, where it is there and begins with `mark`.
std::optional<std::string_view> record(std::string_view bytes, uint64_t offset, size_t size, std::string_view mark) {
  if (offset > bytes.size() || size > bytes.size() - offset) return std::nullopt;
  const std::string_view found = bytes.substr(offset, size);
  return found.starts_with(mark) ? std::optional(found) : std::nullopt;
}

struct Directory {
  uint64_t files = 0, offset = 0;
};

std::optional<Directory> find_directory(std::string_view bytes) {
  const size_t searched = std::min(bytes.size(), kEndBytes + kMaxComment);
  const size_t in_tail = bytes.substr(bytes.size() - searched).rfind(kEndMark);
  if (in_tail == std::string_view::npos) return std::nullopt;
  const size_t end_at = bytes.size() - searched + in_tail;
  const auto end = record(bytes, end_at, kEndBytes, kEndMark);
  if (!end) return std::nullopt;
  if (end_at >= kLocator64Bytes) {
    if (const auto locator = record(bytes, end_at - kLocator64Bytes, kLocator64Bytes, kLocator64Mark)) {
      const auto end64 = record(bytes, number<uint64_t>(*locator, 8), kEnd64Bytes, kEnd64Mark);
      if (!end64) return std::nullopt;
      return Directory{number<uint64_t>(*end64, 32), number<uint64_t>(*end64, 48)};
    }
  }
  return Directory{number<uint16_t>(*end, 10), number<uint32_t>(*end, 16)};
}

struct Entry {
  std::string name;
  uint16_t method = 0;
  uint32_t checksum = 0;
  uint64_t stored = 0, size = 0, local = 0;
};

/// Values that do not fit into 32 bits stand one after the other in the extra field 1.
void widen(Entry& entry, std::string_view extra) {
  while (extra.size() >= 4) {
    const uint16_t kind = number<uint16_t>(extra, 0), length = number<uint16_t>(extra, 2);
    std::string_view field = extra.substr(4, length);
    extra.remove_prefix(std::min<size_t>(extra.size(), size_t{4} + length));
    if (kind != 1) continue;
    for (uint64_t* value : {&entry.size, &entry.stored, &entry.local}) {
      if (*value != kIn64 || field.size() < 8) continue;
      *value = number<uint64_t>(field, 0);
      field.remove_prefix(8);
    }
  }
}

/// Reads the directory's entry at `offset`, and moves the offset behind it.
std::optional<Entry> read_entry(std::string_view bytes, uint64_t& offset) {
  const auto fixed = record(bytes, offset, kCentralBytes, kCentralMark);
  if (!fixed) return std::nullopt;
  const size_t name = number<uint16_t>(*fixed, 28), extra = number<uint16_t>(*fixed, 30);
  const size_t all = kCentralBytes + name + extra + number<uint16_t>(*fixed, 32);
  const auto whole = record(bytes, offset, all, kCentralMark);
  if (!whole) return std::nullopt;
  Entry entry;
  entry.name = whole->substr(kCentralBytes, name);
  entry.method = number<uint16_t>(*fixed, 10);
  entry.checksum = number<uint32_t>(*fixed, 16);
  entry.stored = number<uint32_t>(*fixed, 20);
  entry.size = number<uint32_t>(*fixed, 24);
  entry.local = number<uint32_t>(*fixed, 42);
  widen(entry, whole->substr(kCentralBytes + name, extra));
  offset += all;
  return entry;
}

std::optional<std::string_view> data_of(std::string_view bytes, const Entry& entry) {
  const auto local = record(bytes, entry.local, kLocalBytes, kLocalMark);
  if (!local) return std::nullopt;
  const uint64_t begin = entry.local + kLocalBytes + number<uint16_t>(*local, 26) + number<uint16_t>(*local, 28);
  return record(bytes, begin, entry.size, "");
}

bool is_intact(std::string_view data, uint32_t checksum) {
  if (checksum == 0) return true;  // torch.serialization's compute_crc32 = False
  return crc32_z(0, reinterpret_cast<const Bytef*>(data.data()), data.size()) == checksum;
}

}  // namespace

Result<std::map<std::string, std::string_view>> read_zip(std::string_view bytes, std::string_view origin) {
  const auto directory = find_directory(bytes);
  if (!directory) return error("{}: it is a zip archive without its end: it is truncated", origin);
  std::map<std::string, std::string_view> files;
  uint64_t offset = directory->offset;
  for (uint64_t i = 0; i < directory->files; ++i) {
    const std::optional<Entry> entry = read_entry(bytes, offset);
    if (!entry) return error("{}: the directory of the zip archive is damaged at byte {}", origin, offset);
    if (entry->method != 0 || entry->stored != entry->size) {
      return error("{}: `{}` in the zip archive is compressed; torch.save does not do so", origin, entry->name);
    }
    const auto data = data_of(bytes, *entry);
    if (!data || !is_intact(*data, entry->checksum))
      return error("{}: `{}` in the zip archive is damaged", origin, entry->name);
    files[entry->name] = *data;
  }
  return files;
}

}  // namespace hivq
