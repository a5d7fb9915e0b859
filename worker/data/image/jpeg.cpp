#include <torch/torch.h>

#include <csetjmp>
#include <cstdio>

#include <jerror.h>
#include <jpeglib.h>

#include "worker/data/image/format.h"

namespace hivq {
namespace {

constexpr int kMaxScans = 500;  // of a progressive image: a few bytes could otherwise cost minutes

/// libjpeg's state. Its errors jump back to on_error, so the functions that set it hold nothing that must be destroyed.
struct Reader {
  jpeg_decompress_struct jpeg = {};
  jpeg_error_mgr errors = {};
  jpeg_progress_mgr progress = {};
  std::jmp_buf on_error = {};
  char reason[JMSG_LENGTH_MAX] = "";
  ~Reader() { jpeg_destroy_decompress(&jpeg); }
};

Reader& reader_of(j_common_ptr jpeg) { return *static_cast<Reader*>(jpeg->client_data); }

[[noreturn]] void stop(j_common_ptr jpeg) {
  Reader& reader = reader_of(jpeg);
  jpeg->err->format_message(jpeg, reader.reason);
  std::longjmp(reader.on_error, 1);
}

/// libjpeg only warns of pixels that it had to make up; other warnings are of things that harm nothing.
void on_message(j_common_ptr jpeg, int level) {
  if (level >= 0) return;
  switch (jpeg->err->msg_code) {
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC:
      stop(jpeg);
  }
}

void on_progress(j_common_ptr jpeg) {
  if (reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number <= kMaxScans) return;
  Reader& reader = reader_of(jpeg);
  std::snprintf(reader.reason, sizeof reader.reason, "it has more than %d scans", kMaxScans);
  std::longjmp(reader.on_error, 1);
}

bool read_header(Reader& reader, std::string_view bytes) {
  jpeg_decompress_struct& jpeg = reader.jpeg;
  jpeg.err = jpeg_std_error(&reader.errors);
  reader.errors.error_exit = stop;
  reader.errors.emit_message = on_message;
  reader.progress.progress_monitor = on_progress;
  jpeg.client_data = &reader;
  if (setjmp(reader.on_error) != 0) return false;
  jpeg_create_decompress(&jpeg);
  jpeg.progress = &reader.progress;
  jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_read_header(&jpeg, TRUE);
  return true;
}

bool read_pixels(Reader& reader, uint8_t* pixels) {
  jpeg_decompress_struct& jpeg = reader.jpeg;
  if (setjmp(reader.on_error) != 0) return false;
  jpeg_start_decompress(&jpeg);
  const size_t row_bytes = size_t{jpeg.output_width} * static_cast<size_t>(jpeg.output_components);
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = pixels + jpeg.output_scanline * row_bytes;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_decompress(&jpeg);
  return true;
}

Error damaged(const Reader& reader) { return error("is damaged: {}", reader.reason); }

Status open(Reader& reader, std::string_view bytes) {
  if (!read_header(reader, bytes)) return damaged(reader);
  return check_size(reader.jpeg.image_height, reader.jpeg.image_width);
}

/// Round(a·b/255).
int multiply(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

/// CMYK [H, W, 4], inverted as Adobe writes it and Pillow takes all of them → RGB by Pillow's formula.
at::Tensor rgb_of_cmyk(const at::Tensor& cmyk) {
  at::Tensor rgb = at::empty({cmyk.size(0), cmyk.size(1), 3}, at::kByte);
  const auto* from = cmyk.const_data_ptr<uint8_t>();
  auto* to = rgb.mutable_data_ptr<uint8_t>();
  for (int64_t i = 0; i < cmyk.size(0) * cmyk.size(1); ++i, from += 4, to += 3) {
    for (int c = 0; c < 3; ++c) to[c] = static_cast<uint8_t>(from[3] - multiply(255 - from[c], from[3]));
  }
  return rgb;
}

}  // namespace

bool is_jpeg(std::string_view bytes) { return bytes.starts_with("\xff\xd8\xff"); }

Result<ImageSize> jpeg_size(std::string_view bytes) {
  Reader reader;
  if (Status opened = open(reader, bytes); !opened) return opened.error();
  return ImageSize{reader.jpeg.image_height, reader.jpeg.image_width};
}

Result<at::Tensor> decode_jpeg(std::string_view bytes, Narrow) {
  Reader reader;
  if (Status opened = open(reader, bytes); !opened) return opened.error();
  jpeg_decompress_struct& jpeg = reader.jpeg;  // its defaults are Pillow's: accurate DCT, smooth upsampling
  int64_t components = 0;
  switch (jpeg.jpeg_color_space) {
    case JCS_GRAYSCALE:
      jpeg.out_color_space = JCS_GRAYSCALE, components = 1;
      break;
    case JCS_RGB:
    case JCS_YCbCr:
      jpeg.out_color_space = JCS_RGB, components = 3;
      break;
    case JCS_CMYK:
    case JCS_YCCK:
      jpeg.out_color_space = JCS_CMYK, components = 4;
      break;
    default:
      return error("has {} unknown colour components; save it as RGB", jpeg.num_components);
  }
  at::Tensor pixels = at::empty({jpeg.image_height, jpeg.image_width, components}, at::kByte);
  if (!read_pixels(reader, pixels.mutable_data_ptr<uint8_t>())) return damaged(reader);
  return components == 4 ? rgb_of_cmyk(pixels) : pixels;
}

}  // namespace hivq
