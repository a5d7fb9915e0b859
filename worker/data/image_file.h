#pragma once

// Image files: PNG, JPEG, TIFF (the first page) and BMP, told apart by content and not by name, as Pillow reads them.
// Samples of 16 bits become their high byte (>> 8). Errors name the file: missing, another format, damaged, truncated,
// larger than 2^27 pixels, samples of floating point.

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "common/result.h"
#include "worker/data/image/format.h"

namespace hivq {

/// An image as uint8 [H, W, 3], RGB. `origin` names the bytes in errors.
Result<at::Tensor> read_image(const std::string& path);
Result<at::Tensor> decode_image(std::string_view bytes, std::string_view origin);

/// A mask as uint8 [H, W]: 1 where a colour's sample is not 0, that is where the image is defective.
Result<at::Tensor> read_mask(const std::string& path);

/// Whether a file is called as an image is: .png, .jpg, .jpeg, .bmp, .tif, .tiff in any case, and not hidden.
bool is_named_as_image(const std::filesystem::path& file);

/// Reads no further than it must.
Result<ImageSize> read_image_size(const std::string& path);

/// uint8 [H, W, 3], RGB, or [H, W], grey → the bytes of a PNG file. The same pixels give the same bytes.
std::string encode_png(const at::Tensor& image);
Status write_png(const std::string& path, const at::Tensor& image);

}  // namespace hivq
