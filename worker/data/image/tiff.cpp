// TIFF through libtiff. The usual kinds (8 or 16 bits; grey, palette, RGB; strips or tiles) are read sample by sample,
// so that alpha is dropped and 16 bits are narrowed as everywhere; the rest is left to libtiff's conversion to RGBA.

#include <tiffio.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "worker/data/image/format.h"

namespace hivq {
namespace {

constexpr tmsize_t kMaxAllocation = tmsize_t{1} << 31;  // bytes that libtiff may take at once for what a file claims
constexpr int kMaxSamples = 16;                         // of a pixel

/// The bytes as a file, and what libtiff says of them.
struct Source {
  std::string_view bytes;
  size_t at = 0;
  std::string reason;
};

tmsize_t read_source(thandle_t handle, void* to, tmsize_t bytes) {
  Source& source = *static_cast<Source*>(handle);
  const size_t left = source.bytes.size() - std::min(source.at, source.bytes.size());
  const size_t n = std::min(left, static_cast<size_t>(bytes));
  if (n > 0) std::memcpy(to, source.bytes.data() + source.at, n);
  source.at += n;
  return static_cast<tmsize_t>(n);
}

toff_t seek_source(thandle_t handle, toff_t offset, int from) {
  Source& source = *static_cast<Source*>(handle);
  source.at = offset + (from == SEEK_CUR ? source.at : from == SEEK_END ? source.bytes.size() : 0);
  return source.at;
}

tmsize_t refuse_write(thandle_t, void*, tmsize_t) { return 0; }
int close_source(thandle_t) { return 0; }
toff_t size_of_source(thandle_t handle) { return static_cast<Source*>(handle)->bytes.size(); }

/// Keeps the first error, which is the cause of the others.
int on_error(TIFF*, void* user, const char*, const char* format, va_list arguments) {
  Source& source = *static_cast<Source*>(user);
  char text[512] = "";
  std::vsnprintf(text, sizeof text, format, arguments);
  if (source.reason.empty()) source.reason = text;
  return 1;
}
int on_warning(TIFF*, void*, const char*, const char*, va_list) { return 1; }

struct Close {
  void operator()(TIFF* tiff) const { TIFFClose(tiff); }
};
using Tiff = std::unique_ptr<TIFF, Close>;

struct Header {
  uint32_t width = 0, height = 0;
  uint16_t bits = 1, samples = 1, format = SAMPLEFORMAT_UINT, photometric = PHOTOMETRIC_MINISBLACK;
  uint16_t planar = PLANARCONFIG_CONTIG, compression = COMPRESSION_NONE, orientation = ORIENTATION_TOPLEFT;

  bool separate() const { return planar == PLANARCONFIG_SEPARATE && samples > 1; }
  bool turned() const { return orientation >= ORIENTATION_LEFTTOP; }  // stored with rows as columns
  int colours() const { return photometric == PHOTOMETRIC_RGB ? 3 : 1; }
  bool usual() const {
    const bool known = photometric == PHOTOMETRIC_MINISBLACK || photometric == PHOTOMETRIC_MINISWHITE ||
                       photometric == PHOTOMETRIC_RGB || (photometric == PHOTOMETRIC_PALETTE && bits == 8);
    return known && (bits == 8 || bits == 16);
  }
};

Error damaged(const Source& source) {
  return error("is damaged: {}", source.reason.empty() ? "no pixels" : source.reason);
}

Result<Tiff> open(Source& source) {
  const std::unique_ptr<TIFFOpenOptions, decltype(&TIFFOpenOptionsFree)> options(TIFFOpenOptionsAlloc(),
                                                                                 &TIFFOpenOptionsFree);
  check(options != nullptr, "TIFFOpenOptionsAlloc: out of memory");
  TIFFOpenOptionsSetMaxSingleMemAlloc(options.get(), kMaxAllocation);
  TIFFOpenOptionsSetErrorHandlerExtR(options.get(), on_error, &source);
  TIFFOpenOptionsSetWarningHandlerExtR(options.get(), on_warning, nullptr);
  Tiff tiff(TIFFClientOpenExt("image", "rm", &source, read_source, refuse_write, seek_source, close_source,
                              size_of_source, nullptr, nullptr, options.get()));
  if (!tiff) return damaged(source);
  return tiff;
}

Result<Header> read_header(const Tiff& tiff, const Source& source) {
  Header header;
  if (TIFFGetField(tiff.get(), TIFFTAG_IMAGEWIDTH, &header.width) != 1 ||
      TIFFGetField(tiff.get(), TIFFTAG_IMAGELENGTH, &header.height) != 1) {
    return source.reason.empty() ? error("is damaged: it tells no size") : damaged(source);
  }
  if (Status size = check_size(header.height, header.width); !size) return size.error();
  TIFFGetFieldDefaulted(tiff.get(), TIFFTAG_BITSPERSAMPLE, &header.bits);
  TIFFGetFieldDefaulted(tiff.get(), TIFFTAG_SAMPLESPERPIXEL, &header.samples);
  TIFFGetFieldDefaulted(tiff.get(), TIFFTAG_SAMPLEFORMAT, &header.format);
  TIFFGetFieldDefaulted(tiff.get(), TIFFTAG_PLANARCONFIG, &header.planar);
  TIFFGetFieldDefaulted(tiff.get(), TIFFTAG_COMPRESSION, &header.compression);
  TIFFGetFieldDefaulted(tiff.get(), TIFFTAG_ORIENTATION, &header.orientation);
  TIFFGetField(tiff.get(), TIFFTAG_PHOTOMETRIC, &header.photometric);
  return header;
}

Status check_samples(const Header& header) {
  if (header.format == SAMPLEFORMAT_IEEEFP || header.format == SAMPLEFORMAT_COMPLEXIEEEFP) {
    return error("holds samples of floating point, whose range is unknown; convert them to 8 or 16 bits");
  }
  if (header.format == SAMPLEFORMAT_INT || header.format == SAMPLEFORMAT_COMPLEXINT || header.bits > 16) {
    return error("holds samples of {}{} bits; convert them to 8 or 16 bits without a sign",
                 header.format == SAMPLEFORMAT_INT ? "signed " : "", header.bits);
  }
  if (header.samples < header.colours() || header.samples > kMaxSamples) {
    return error("is damaged: its pixels have {} samples", header.samples);
  }
  return {};
}

/// The bytes of one plane, [H, W, samples], as stored, in the machine's order.
using Plane = std::vector<uint8_t>;

bool read_strips(TIFF* tiff, const Header& header, uint16_t plane, size_t row_bytes, Plane& to) {
  if (static_cast<size_t>(TIFFScanlineSize64(tiff)) != row_bytes) return false;
  for (uint32_t y = 0; y < header.height; ++y) {
    if (TIFFReadScanline(tiff, to.data() + y * row_bytes, y, plane) != 1) return false;
  }
  return true;
}

bool read_tiles(TIFF* tiff, const Header& header, uint16_t plane, size_t pixel_bytes, Plane& to) {
  uint32_t width = 0, height = 0;
  TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &width);
  TIFFGetField(tiff, TIFFTAG_TILELENGTH, &height);
  if (!check_size(height, width)) return false;
  const size_t tile_row = width * pixel_bytes, row_bytes = header.width * pixel_bytes;
  std::vector<uint8_t> tile(tile_row * height);
  if (static_cast<size_t>(TIFFTileSize64(tiff)) != tile.size()) return false;
  for (uint32_t y = 0; y < header.height; y += height) {
    for (uint32_t x = 0; x < header.width; x += width) {
      if (TIFFReadTile(tiff, tile.data(), x, y, 0, plane) < 0) return false;
      const uint32_t rows = std::min(height, header.height - y), columns = std::min(width, header.width - x);
      for (uint32_t row = 0; row < rows; ++row) {
        std::memcpy(to.data() + (y + row) * row_bytes + x * pixel_bytes, tile.data() + row * tile_row,
                    columns * pixel_bytes);
      }
    }
  }
  return true;
}

/// One plane that holds everything, or one of each colour.
Result<std::vector<Plane>> read_planes(TIFF* tiff, const Header& header, const Source& source) {
  std::vector<Plane> planes;
  const int count = header.separate() ? header.colours() : 1;
  const size_t pixel_bytes = size_t{header.bits} / 8 * (header.separate() ? 1 : header.samples);
  for (int i = 0; i < count; ++i) {
    Plane plane(size_t{header.width} * header.height * pixel_bytes);
    const auto index = static_cast<uint16_t>(i);
    const bool read = TIFFIsTiled(tiff) ? read_tiles(tiff, header, index, pixel_bytes, plane)
                                        : read_strips(tiff, header, index, header.width * pixel_bytes, plane);
    if (!read) return damaged(source);
    planes.push_back(std::move(plane));
  }
  return planes;
}

/// Samples of the planes, one colour after another of each pixel.
class Samples {
 public:
  Samples(const Header& header, const std::vector<Plane>& planes) : header_(header), planes_(planes) {}

  uint32_t at(size_t pixel, size_t colour) const {
    const Plane& plane = planes_[header_.separate() ? colour : 0];
    const size_t index = header_.separate() ? pixel : pixel * header_.samples + colour;
    if (header_.bits == 8) return plane[index];
    uint16_t wide = 0;
    std::memcpy(&wide, plane.data() + 2 * index, 2);
    return wide;
  }

 private:
  const Header& header_;
  const std::vector<Plane>& planes_;
};

Result<at::Tensor> colours_of_palette(TIFF* tiff, const Header& header, const Samples& samples, Narrow narrow) {
  std::array<uint16_t*, 3> map = {};
  if (TIFFGetField(tiff, TIFFTAG_COLORMAP, &map[0], &map[1], &map[2]) != 1) {
    return error("is damaged: its palette is missing");
  }
  at::Tensor pixels = at::empty({header.height, header.width, 3}, at::kByte);
  auto* to = pixels.mutable_data_ptr<uint8_t>();
  for (size_t i = 0; i < size_t{header.width} * header.height; ++i) {
    for (const uint16_t* colour : map) *to++ = narrowed(colour[samples.at(i, 0)], narrow);
  }
  return pixels;
}

Result<at::Tensor> read_usual(TIFF* tiff, const Header& header, const Source& source, Narrow narrow) {
  const Result<std::vector<Plane>> planes = read_planes(tiff, header, source);
  if (!planes) return planes.error();
  const Samples samples(header, *planes);
  if (header.photometric == PHOTOMETRIC_PALETTE) return colours_of_palette(tiff, header, samples, narrow);
  const auto colours = static_cast<size_t>(header.colours());
  const uint32_t inverted = header.photometric == PHOTOMETRIC_MINISWHITE ? (1u << header.bits) - 1 : 0;
  at::Tensor pixels = at::empty({header.height, header.width, header.colours()}, at::kByte);
  auto* to = pixels.mutable_data_ptr<uint8_t>();
  for (size_t i = 0; i < size_t{header.width} * header.height; ++i) {
    for (size_t c = 0; c < colours; ++c) {
      const uint32_t sample = samples.at(i, c) ^ inverted;
      *to++ = header.bits == 8 ? static_cast<uint8_t>(sample) : narrowed(sample, narrow);
    }
  }
  return pixels;
}

/// Bilevel, few bits, CMYK, Lab, YCbCr …
Result<at::Tensor> read_unusual(TIFF* tiff, const Header& header, const Source& source) {
  char reason[1024] = "";
  if (TIFFRGBAImageOK(tiff, reason) != 1) return error("is a TIFF that cannot be read: {}; save it as PNG", reason);
  std::vector<uint32_t> raster(size_t{header.width} * header.height);
  if (TIFFReadRGBAImageOriented(tiff, header.width, header.height, raster.data(), header.orientation, 1) != 1) {
    return damaged(source);
  }
  at::Tensor pixels = at::empty({header.height, header.width, 3}, at::kByte);
  auto* to = pixels.mutable_data_ptr<uint8_t>();
  for (const uint32_t rgba : raster) {
    *to++ = static_cast<uint8_t>(TIFFGetR(rgba));
    *to++ = static_cast<uint8_t>(TIFFGetG(rgba));
    *to++ = static_cast<uint8_t>(TIFFGetB(rgba));
  }
  return pixels;
}

/// The image upright, as the orientation tag wants it shown.
at::Tensor upright(at::Tensor pixels, const Header& header) {
  if (header.turned()) pixels = pixels.transpose(0, 1);
  switch (header.orientation) {
    case ORIENTATION_TOPRIGHT:
    case ORIENTATION_RIGHTTOP:
      return pixels.flip(1).contiguous();
    case ORIENTATION_BOTRIGHT:
    case ORIENTATION_RIGHTBOT:
      return pixels.flip({0, 1}).contiguous();
    case ORIENTATION_BOTLEFT:
    case ORIENTATION_LEFTBOT:
      return pixels.flip(0).contiguous();
    default:
      return pixels.contiguous();
  }
}

}  // namespace

bool is_tiff(std::string_view bytes) {
  using namespace std::string_view_literals;
  return bytes.starts_with("II*\0"sv) || bytes.starts_with("MM\0*"sv) || bytes.starts_with("II+\0"sv) ||
         bytes.starts_with("MM\0+"sv);
}

Result<ImageSize> tiff_size(std::string_view bytes) {
  Source source{bytes, 0, ""};
  const Result<Tiff> tiff = open(source);
  if (!tiff) return tiff.error();
  const Result<Header> header = read_header(*tiff, source);
  if (!header) return header.error();
  if (header->turned()) return ImageSize{header->width, header->height};
  return ImageSize{header->height, header->width};
}

Result<at::Tensor> decode_tiff(std::string_view bytes, Narrow narrow) {
  Source source{bytes, 0, ""};
  const Result<Tiff> tiff = open(source);
  if (!tiff) return tiff.error();
  Result<Header> header = read_header(*tiff, source);
  if (!header) return header.error();
  if (header->photometric == PHOTOMETRIC_YCBCR && header->compression == COMPRESSION_JPEG) {
    TIFFSetField(tiff->get(), TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);  // libjpeg converts
    header->photometric = PHOTOMETRIC_RGB;
  }
  if (Status samples = check_samples(*header); !samples) return samples.error();
  const Result<at::Tensor> pixels =
      header->usual() ? read_usual(tiff->get(), *header, source, narrow) : read_unusual(tiff->get(), *header, source);
  if (!pixels) return pixels;
  return upright(*pixels, *header);
}

}  // namespace hivq
