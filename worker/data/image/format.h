#pragma once

// What the decoders of the image formats share. A decoder gets a whole file's bytes and gives uint8 [H, W, 3], or
// [H, W, 1] where the image is grey; alpha is dropped, not composited, as Pillow's convert("RGB") does. Its Errors go
// on after a file's name: `is damaged: …`.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

#include "common/result.h"

namespace hivq {

struct ImageSize {
  int64_t height = 0, width = 0;  // pixels
  bool operator==(const ImageSize&) const = default;
};

/// How samples of 16 bits become bytes: their high byte, as in an image that never had more, or whether they are not 0,
/// as a mask's small labels want it.
enum class Narrow { high_byte, non_zero };

inline uint8_t narrowed(uint32_t sample, Narrow narrow) {
  return static_cast<uint8_t>(narrow == Narrow::high_byte ? sample >> 8 : sample != 0);
}

/// Errors: no pixels, or more than 2^27 (11,585 × 11,585): so few bytes could otherwise ask for all memory.
Status check_size(int64_t height, int64_t width);

bool is_png(std::string_view bytes);
Result<ImageSize> png_size(std::string_view bytes);
Result<at::Tensor> decode_png(std::string_view bytes, Narrow narrow);

bool is_jpeg(std::string_view bytes);
Result<ImageSize> jpeg_size(std::string_view bytes);
Result<at::Tensor> decode_jpeg(std::string_view bytes, Narrow narrow);

bool is_tiff(std::string_view bytes);
Result<ImageSize> tiff_size(std::string_view bytes);
Result<at::Tensor> decode_tiff(std::string_view bytes, Narrow narrow);

bool is_bmp(std::string_view bytes);
Result<ImageSize> bmp_size(std::string_view bytes);
Result<at::Tensor> decode_bmp(std::string_view bytes, Narrow narrow);

}  // namespace hivq
