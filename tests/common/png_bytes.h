#pragma once

#include <cstdint>
#include <string>

namespace hivq {

/// The beginning of a PNG file of 8 bits a sample, and some bytes in the place of its pixels: enough for those who only
/// keep PNGs.
inline std::string png_bytes(uint32_t width, uint32_t height, bool grey, const std::string& rest) {
  std::string png("\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", 16);
  for (const uint32_t number : {width, height}) {
    for (int shift = 24; shift >= 0; shift -= 8) png.push_back(static_cast<char>(number >> shift & 0xff));
  }
  png += {8, static_cast<char>(grey ? 0 : 2), 0, 0, 0};
  return png + rest;
}

}  // namespace hivq
