#include <spng.h>
#include <torch/torch.h>

#include <cstdlib>
#include <memory>

#include "worker/data/image_file.h"

namespace hivq {
namespace {

constexpr int kCompression = 3;  // zlib's level; a photo of 256×256: 7 ms, 81 KB (its default: 22 ms, 100 KB)
constexpr size_t kMaxChunkBytes = size_t{1} << 26;  // of ancillary chunks such as text and colour profiles

struct FreeContext {
  void operator()(spng_ctx* context) const { spng_ctx_free(context); }
};
using Context = std::unique_ptr<spng_ctx, FreeContext>;

Error damaged(int code) { return error("is damaged: {}", spng_strerror(code)); }

/// Reads the header; the bytes must outlive the context.
Result<Context> open(std::string_view bytes, spng_ihdr& header) {
  Context png(spng_ctx_new(0));
  check(png != nullptr, "spng_ctx_new: out of memory");
  spng_set_chunk_limits(png.get(), kMaxChunkBytes, kMaxChunkBytes);
  if (const int code = spng_set_png_buffer(png.get(), bytes.data(), bytes.size()); code != 0) return damaged(code);
  if (const int code = spng_get_ihdr(png.get(), &header); code != 0) return damaged(code);
  if (Status size = check_size(header.height, header.width); !size) return size.error();
  return png;
}

int64_t samples_of(const spng_ihdr& header) {
  switch (header.color_type) {
    case SPNG_COLOR_TYPE_GRAYSCALE_ALPHA:
      return 2;
    case SPNG_COLOR_TYPE_TRUECOLOR:
      return 3;
    case SPNG_COLOR_TYPE_TRUECOLOR_ALPHA:
      return 4;
    default:
      return 1;
  }
}

/// Decodes into a tensor of that many bytes.
Status decode_into(const Context& png, int format, const at::Tensor& pixels) {
  size_t bytes = 0;
  if (const int code = spng_decoded_image_size(png.get(), format, &bytes); code != 0) return damaged(code);
  if (bytes != pixels.nbytes()) return error("is damaged: its pixels take {} bytes, not {}", bytes, pixels.nbytes());
  if (const int code = spng_decode_image(png.get(), pixels.mutable_data_ptr(), bytes, format, 0); code != 0) {
    return damaged(code);
  }
  return {};
}

}  // namespace

bool is_png(std::string_view bytes) { return bytes.starts_with("\x89PNG\r\n\x1a\n"); }

Result<ImageSize> png_size(std::string_view bytes) {
  spng_ihdr header = {};
  const Result<Context> png = open(bytes, header);
  if (!png) return png.error();
  return ImageSize{header.height, header.width};
}

Result<at::Tensor> decode_png(std::string_view bytes, Narrow narrow) {
  spng_ihdr header = {};
  const Result<Context> png = open(bytes, header);
  if (!png) return png.error();
  if (header.bit_depth == 16 && narrow == Narrow::non_zero) {
    const int64_t samples = samples_of(header), colours = samples < 3 ? 1 : 3;
    const at::Tensor wide = at::empty({header.height, header.width, samples}, at::kShort);
    if (Status decoded = decode_into(*png, SPNG_FMT_PNG, wide); !decoded) return decoded.error();
    return wide.narrow(2, 0, colours).ne(0).to(at::kByte);
  }
  at::Tensor pixels = at::empty({header.height, header.width, 3}, at::kByte);
  if (Status decoded = decode_into(*png, SPNG_FMT_RGB8, pixels); !decoded) return decoded.error();
  return pixels;
}

std::string encode_png(const at::Tensor& image) {
  check(image.scalar_type() == at::kByte && image.numel() > 0 &&
            (image.dim() == 2 || (image.dim() == 3 && image.size(2) == 3)),
        "encode_png: uint8 [H, W, 3] or [H, W]");
  const at::Tensor pixels = image.to(at::kCPU).contiguous();
  spng_ihdr header = {};
  header.height = static_cast<uint32_t>(pixels.size(0));
  header.width = static_cast<uint32_t>(pixels.size(1));
  header.bit_depth = 8;
  header.color_type = pixels.dim() == 3 ? SPNG_COLOR_TYPE_TRUECOLOR : SPNG_COLOR_TYPE_GRAYSCALE;
  const Context png(spng_ctx_new(SPNG_CTX_ENCODER));
  const auto must = [](int code) {
    if (code != 0) panic(fmt::format("encode_png: {}", spng_strerror(code)));
  };
  must(spng_set_option(png.get(), SPNG_ENCODE_TO_BUFFER, 1));
  must(spng_set_option(png.get(), SPNG_IMG_COMPRESSION_LEVEL, kCompression));
  must(spng_set_ihdr(png.get(), &header));
  must(spng_encode_image(png.get(), pixels.const_data_ptr(), pixels.nbytes(), SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE));
  size_t bytes = 0;
  int code = 0;
  const std::unique_ptr<void, decltype(&std::free)> buffer(spng_get_png_buffer(png.get(), &bytes, &code), &std::free);
  must(code);
  return {static_cast<const char*>(buffer.get()), bytes};
}

}  // namespace hivq
