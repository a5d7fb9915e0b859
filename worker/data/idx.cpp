#include "worker/data/idx.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "worker/data/file.h"

namespace hivq {
namespace {

constexpr int kUnsignedByte = 0x08;               // the format's code of the values' type
constexpr int64_t kMaxValues = int64_t{1} << 36;  // 64 GiB: beyond any such data set
constexpr size_t kPieceBytes = size_t{1} << 22;   // grows with what is there, not with what the header claims

struct CloseGzip {
  void operator()(gzFile_s* file) const { gzclose_r(file); }
};
using Gzip = std::unique_ptr<gzFile_s, CloseGzip>;

/// Reads up to `bytes` bytes; fewer at the end of the file.
Result<size_t> read_some(const Gzip& file, uint8_t* to, size_t bytes, const std::string& path) {
  size_t done = 0;
  while (done < bytes) {
    const int n = gzread(file.get(), to + done, static_cast<unsigned>(std::min(bytes - done, kPieceBytes)));
    if (n < 0) {
      int code = 0;
      const char* reason = gzerror(file.get(), &code);
      if (code == Z_ERRNO) return file_error("read", path, errno);
      return error("{} is damaged: {}", path, reason);
    }
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  // A gzip file that is cut reads as short, and says so only here.
  int code = 0;
  const char* reason = gzerror(file.get(), &code);
  if (code == Z_BUF_ERROR) return error("{} is truncated: {}", path, reason);
  return done;
}

/// The shape that the header tells.
Result<std::vector<int64_t>> read_header(const Gzip& file, int dimensions, const std::string& path) {
  std::vector<uint8_t> header(4 + 4 * static_cast<size_t>(dimensions));
  const Result<size_t> got = read_some(file, header.data(), header.size(), path);
  if (!got) return got.error();
  if (*got < header.size()) return error("{} is truncated: its header is incomplete", path);
  if (header[0] != 0 || header[1] != 0 || header[2] != kUnsignedByte || header[3] != dimensions) {
    return error("{} is not an IDX file of bytes with {} dimensions: it starts with {:02x}{:02x}{:02x}{:02x}", path,
                 dimensions, header[0], header[1], header[2], header[3]);
  }
  std::vector<int64_t> shape;
  int64_t values = 1;
  for (size_t i = 4; i < header.size(); i += 4) {
    const int64_t size = int64_t{header[i]} << 24 | header[i + 1] << 16 | header[i + 2] << 8 | header[i + 3];
    if (size != 0 && values > kMaxValues / size)
      return error("{} claims an impossible size: its header is damaged", path);
    shape.push_back(size);
    values *= size;
  }
  return shape;
}

}  // namespace

Result<Idx> read_idx(const std::string& path, int dimensions) {
  const Gzip file(gzopen(path.c_str(), "rb"));
  if (!file) return file_error("read", path, errno);
  gzbuffer(file.get(), 1 << 17);
  Result<std::vector<int64_t>> shape = read_header(file, dimensions, path);
  if (!shape) return shape.error();

  Idx idx{std::move(*shape), {}};
  size_t wanted = 1;
  for (const int64_t size : idx.shape) wanted *= static_cast<size_t>(size);
  while (idx.values.size() < wanted) {
    const size_t begin = idx.values.size(), piece = std::min(wanted - begin, kPieceBytes);
    idx.values.resize(begin + piece);
    const Result<size_t> got = read_some(file, idx.values.data() + begin, piece, path);
    if (!got) return got.error();
    if (*got < piece) return error("{} is truncated: it holds {} of {} values", path, begin + *got, wanted);
  }
  uint8_t beyond = 0;
  const Result<size_t> more = read_some(file, &beyond, 1, path);  // reads the gzip trailer too, which holds a checksum
  if (!more) return more.error();
  if (*more != 0) return error("{} is damaged: it holds more than the {} values that its header tells", path, wanted);
  return idx;
}

}  // namespace hivq
