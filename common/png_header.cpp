#include "common/png_header.h"

namespace hivq {

namespace {

// PNG (Third Edition), 5.2 and 11.2.1: the signature, then the chunk IHDR of 13 bytes, its numbers big-endian.
constexpr std::string_view signature("\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", 16);
constexpr size_t header_bytes = signature.size() + 13;

uint32_t number_at(std::string_view bytes, size_t at) {
  uint32_t number = 0;
  for (size_t i = 0; i < 4; ++i) number = number << 8 | static_cast<unsigned char>(bytes[at + i]);
  return number;
}

}  // namespace

std::optional<PngHeader> read_png_header(std::string_view bytes) {
  if (bytes.size() < header_bytes || !bytes.starts_with(signature)) return std::nullopt;
  PngHeader header{number_at(bytes, 16), number_at(bytes, 20), static_cast<uint8_t>(bytes[24]), bytes[25] == 0};
  if (header.width == 0 || header.height == 0) return std::nullopt;
  return header;
}

}  // namespace hivq
