// BMP: uncompressed images of 1, 4, 8, 16, 24 and 32 bits, and those with bit fields. Our own reader, since the format
// is this small and the usual single-header decoder disclaims safety on bytes of strangers.
// Source: Microsoft, "Bitmap storage", BITMAPFILEHEADER, BITMAPINFOHEADER and BITMAPV5HEADER.

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <vector>

#include "worker/data/image/format.h"

namespace hivq {
namespace {

constexpr size_t kFileHeaderBytes = 14;
constexpr uint32_t kOldHeaderBytes = 12, kInfoHeaderBytes = 40;
enum Compression : uint32_t { kRgb = 0, kBitFields = 3, kAlphaBitFields = 6 };

using Colour = std::array<uint8_t, 3>;

struct Header {
  int64_t width = 0, height = 0;
  bool top_down = false;
  uint32_t bits = 0;                    // of a pixel
  std::array<uint32_t, 3> fields = {};  // masks of red, green and blue in a pixel of 16 or 32 bits
  std::vector<Colour> palette;
  size_t pixels_at = 0;

  size_t row_bytes() const { return (static_cast<size_t>(width) * bits + 31) / 32 * 4; }
};

/// A little-endian number. The caller has checked that it is there.
uint32_t number(std::string_view bytes, size_t at, size_t size = 4) {
  uint32_t value = 0;
  for (size_t i = 0; i < size; ++i) value |= uint32_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
  return value;
}

Error truncated() { return error("is truncated"); }

Status read_fields(std::string_view bytes, uint32_t compression, Header& header) {
  header.fields = header.bits == 16 ? std::array<uint32_t, 3>{0x7c00, 0x03e0, 0x001f}
                                    : std::array<uint32_t, 3>{0xff0000, 0xff00, 0xff};
  if (compression == kRgb) return {};
  const size_t at = kFileHeaderBytes + kInfoHeaderBytes;  // behind the smallest header, or within a larger one
  if (bytes.size() < at + 12) return truncated();
  for (size_t c = 0; c < 3; ++c) {
    const uint32_t field = number(bytes, at + 4 * c);
    const int width = std::popcount(field);
    if (field == 0 || width > 16 || (field >> std::countr_zero(field)) != (uint64_t{1} << width) - 1) {
      return error("is damaged: the bit field {:08x} is impossible", field);
    }
    header.fields[c] = field;
  }
  return {};
}

Status read_palette(std::string_view bytes, size_t at, uint32_t claimed, size_t entry_bytes, Header& header) {
  const uint32_t most = 1u << header.bits, entries = claimed == 0 ? most : std::min(claimed, most);
  if (bytes.size() < at + entries * entry_bytes) return truncated();
  for (uint32_t i = 0; i < entries; ++i, at += entry_bytes) {
    header.palette.push_back(
        {static_cast<uint8_t>(bytes[at + 2]), static_cast<uint8_t>(bytes[at + 1]), static_cast<uint8_t>(bytes[at])});
  }
  return {};
}

Result<Header> read_header(std::string_view bytes) {
  if (bytes.size() < kFileHeaderBytes + kOldHeaderBytes) return truncated();
  const uint32_t header_bytes = number(bytes, kFileHeaderBytes);
  const bool old = header_bytes == kOldHeaderBytes;
  if (!old && header_bytes < kInfoHeaderBytes) return error("is damaged: its header has {} bytes", header_bytes);
  if (bytes.size() - kFileHeaderBytes < header_bytes) return truncated();

  Header header;
  header.pixels_at = number(bytes, 10);
  header.width = old ? int64_t{number(bytes, 18, 2)} : static_cast<int32_t>(number(bytes, 18));
  const int64_t height = old ? int64_t{number(bytes, 20, 2)} : static_cast<int32_t>(number(bytes, 22));
  header.height = std::abs(height);
  header.top_down = height < 0;
  header.bits = number(bytes, old ? 24 : 28, 2);
  if (Status size = check_size(header.height, header.width); !size) return size.error();
  const uint32_t compression = old ? uint32_t{kRgb} : number(bytes, 30);
  const bool fields = compression == kBitFields || compression == kAlphaBitFields;
  const uint32_t bits = header.bits;
  const bool known = bits == 1 || bits == 4 || bits == 8 || bits == 16 || bits == 24 || bits == 32;
  if (!known || (compression != kRgb && !(fields && (bits == 16 || bits == 32)))) {
    return error("is a BMP of {} bits with compression {}, which is not supported; save it as PNG", bits, compression);
  }
  Status read;
  if (bits == 16 || bits == 32) read = read_fields(bytes, compression, header);
  if (bits <= 8) {
    read = read_palette(bytes, kFileHeaderBytes + header_bytes, old ? 0 : number(bytes, 46), old ? 3 : 4, header);
  }
  if (!read) return read.error();
  return header;
}

/// The bits of a field, scaled to a byte.
uint8_t scaled(uint32_t pixel, uint32_t field) {
  const int shift = std::countr_zero(field);
  return static_cast<uint8_t>(uint64_t{(pixel & field) >> shift} * 255 / (field >> shift));
}

/// Nothing where a pixel is of a colour beyond the palette.
bool read_pixel(const Header& header, std::string_view row, size_t x, uint8_t* rgb) {
  const uint32_t bits = header.bits;
  if (bits <= 8) {
    const size_t bit = x * bits;
    const uint32_t byte = static_cast<uint8_t>(row[bit / 8]);
    const uint32_t index = byte >> (8 - bits - bit % 8) & ((1u << bits) - 1);
    if (index >= header.palette.size()) return false;
    std::ranges::copy(header.palette[index], rgb);
  } else if (bits == 24) {
    for (size_t c = 0; c < 3; ++c) rgb[c] = static_cast<uint8_t>(row[3 * x + 2 - c]);
  } else {
    const uint32_t pixel = number(row, x * bits / 8, bits / 8);
    for (size_t c = 0; c < 3; ++c) rgb[c] = scaled(pixel, header.fields[c]);
  }
  return true;
}

}  // namespace

bool is_bmp(std::string_view bytes) { return bytes.starts_with("BM"); }

Result<ImageSize> bmp_size(std::string_view bytes) {
  const Result<Header> header = read_header(bytes);
  if (!header) return header.error();
  return ImageSize{header->height, header->width};
}

Result<at::Tensor> decode_bmp(std::string_view bytes, Narrow) {
  const Result<Header> header = read_header(bytes);
  if (!header) return header.error();
  const size_t row_bytes = header->row_bytes(), rows = static_cast<size_t>(header->height);
  if (header->pixels_at > bytes.size() || (bytes.size() - header->pixels_at) / row_bytes < rows) return truncated();

  at::Tensor pixels = at::empty({header->height, header->width, 3}, at::kByte);
  auto* to = pixels.mutable_data_ptr<uint8_t>();
  for (size_t y = 0; y < rows; ++y) {
    const size_t stored = header->top_down ? y : rows - 1 - y;
    const std::string_view row = bytes.substr(header->pixels_at + stored * row_bytes, row_bytes);
    for (size_t x = 0; x < static_cast<size_t>(header->width); ++x, to += 3) {
      if (!read_pixel(*header, row, x, to)) return error("is damaged: a pixel's colour is beyond its palette");
    }
  }
  return pixels;
}

}  // namespace hivq
