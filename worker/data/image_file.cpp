#include "worker/data/image_file.h"

#include <fcntl.h>
#include <torch/torch.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>

#include "worker/data/file.h"

namespace hivq {
namespace {

struct Format {
  bool (*is)(std::string_view bytes);
  Result<ImageSize> (*size)(std::string_view bytes);
  Result<at::Tensor> (*decode)(std::string_view bytes, Narrow narrow);
};
constexpr Format kFormats[] = {{is_png, png_size, decode_png},
                               {is_jpeg, jpeg_size, decode_jpeg},
                               {is_tiff, tiff_size, decode_tiff},
                               {is_bmp, bmp_size, decode_bmp}};
constexpr size_t kHeadBytes = 1 << 16;  // most files tell their size in here

Error at_file(std::string_view origin, const Error& what) { return error("{} {}", origin, what.message); }

Result<const Format*> format_of(std::string_view bytes, std::string_view origin) {
  for (const Format& format : kFormats) {
    if (format.is(bytes)) return &format;
  }
  if (bytes.empty()) return error("{} is empty", origin);
  std::string start;
  for (const char c : bytes.substr(0, 4)) start += fmt::format("{:02x}", static_cast<uint8_t>(c));
  return error("{} is no PNG, JPEG, TIFF or BMP image: it starts with {}", origin, start);
}

Result<at::Tensor> decode(std::string_view bytes, std::string_view origin, Narrow narrow) {
  const Result<const Format*> format = format_of(bytes, origin);
  if (!format) return format.error();
  Result<at::Tensor> pixels = (*format)->decode(bytes, narrow);
  if (!pixels) return at_file(origin, pixels.error());
  return pixels;
}

Result<ImageSize> size_of(std::string_view bytes, std::string_view origin) {
  const Result<const Format*> format = format_of(bytes, origin);
  if (!format) return format.error();
  const Result<ImageSize> size = (*format)->size(bytes);
  if (!size) return at_file(origin, size.error());
  return size;
}

/// The file's first bytes; all of them where there are few.
Result<std::string> read_head(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return file_error("read", path, errno);
  std::string head(kHeadBytes, '\0');
  size_t got = 0;
  while (got < head.size()) {
    const ssize_t n = ::read(file.get(), head.data() + got, head.size() - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return file_error("read", path, errno);
    if (n == 0) break;
    got += static_cast<size_t>(n);
  }
  head.resize(got);
  return head;
}

}  // namespace

bool is_named_as_image(const std::filesystem::path& file) {
  constexpr std::array<std::string_view, 6> kEndings = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"};
  std::string ending = file.extension().string();
  for (char& c : ending) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return !file.filename().string().starts_with('.') && std::ranges::find(kEndings, ending) != kEndings.end();
}

Status check_size(int64_t height, int64_t width) {
  constexpr int64_t kMaxPixels = int64_t{1} << 27;
  if (height > 0 && width > 0 && height <= kMaxPixels / width) return {};
  return error("claims {} × {} pixels; an image has 1 to {} pixels", width, height, kMaxPixels);
}

Result<at::Tensor> decode_image(std::string_view bytes, std::string_view origin) {
  const Result<at::Tensor> pixels = decode(bytes, origin, Narrow::high_byte);
  if (!pixels || pixels->size(2) == 3) return pixels;
  return pixels->repeat({1, 1, 3});
}

Result<at::Tensor> read_image(const std::string& path) {
  const Result<std::string> bytes = read_file(path);
  if (!bytes) return bytes.error();
  return decode_image(*bytes, path);
}

Result<at::Tensor> read_mask(const std::string& path) {
  const Result<std::string> bytes = read_file(path);
  if (!bytes) return bytes.error();
  const Result<at::Tensor> pixels = decode(*bytes, path, Narrow::non_zero);
  if (!pixels) return pixels;
  return pixels->ne(0).any(2).to(at::kByte);
}

Result<ImageSize> read_image_size(const std::string& path) {
  const Result<std::string> head = read_head(path);
  if (!head) return head.error();
  const Result<ImageSize> size = size_of(*head, path);
  if (size || head->size() < kHeadBytes) return size;
  const Result<std::string> bytes = read_file(path);
  if (!bytes) return bytes.error();
  return size_of(*bytes, path);
}

Status write_png(const std::string& path, const at::Tensor& image) { return write_file(path, encode_png(image)); }

}  // namespace hivq
