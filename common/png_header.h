#pragma once

// What the first bytes of a PNG file say of it; its pixels are nobody's business here.

#include <cstdint>
#include <optional>
#include <string_view>

namespace hivq {

struct PngHeader {
  uint32_t width = 0, height = 0;  // pixels
  uint8_t bits = 0;                // of a sample
  bool grey = false;               // without colours, palette and transparency
};

/// Nothing where the bytes do not begin as a PNG does, or it has no pixels.
std::optional<PngHeader> read_png_header(std::string_view bytes);

}  // namespace hivq
