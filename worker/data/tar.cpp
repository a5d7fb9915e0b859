#include "worker/data/tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>

#include <cerrno>
#include <filesystem>
#include <memory>

#include "worker/data/file.h"

namespace hivq {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 28;
constexpr size_t kBlockBytes = size_t{1} << 20;

struct Free {
  void operator()(archive* tar) const { archive_read_free(tar); }
};
using Archive = std::unique_ptr<archive, Free>;

Error damaged(const Archive& tar, const std::string& path) {
  const char* reason = archive_error_string(tar.get());
  return error("{} is damaged: {}", path, reason ? reason : "it is no tar archive");
}

/// The bytes of the entry in hand; its claimed size is not trusted.
Result<std::string> read_entry(const Archive& tar, const std::string& path, const std::string& name) {
  std::string bytes;
  for (;;) {
    const size_t begin = bytes.size();
    bytes.resize(begin + kBlockBytes);
    const la_ssize_t n = archive_read_data(tar.get(), bytes.data() + begin, kBlockBytes);
    if (n < 0) return damaged(tar, path);
    bytes.resize(begin + static_cast<size_t>(n));
    if (n == 0) return bytes;
    if (bytes.size() > kMaxFileBytes) return error("{}: {} has more than {} bytes", path, name, kMaxFileBytes);
  }
}

}  // namespace

Result<std::map<std::string, std::string>> read_tar(const std::string& path,
                                                    const std::function<bool(std::string_view name)>& wanted) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));  // outlives the archive
  if (!file) return file_error("read", path, errno);
  const Archive tar(archive_read_new());
  check(tar != nullptr, "archive_read_new: out of memory");
  archive_read_support_filter_gzip(tar.get());
  archive_read_support_format_tar(tar.get());
  if (archive_read_open_fd(tar.get(), file.get(), 1 << 17) != ARCHIVE_OK) return damaged(tar, path);

  std::map<std::string, std::string> files;
  for (;;) {
    archive_entry* entry = nullptr;
    const int code = archive_read_next_header(tar.get(), &entry);
    if (code == ARCHIVE_EOF) return files;
    if (code < ARCHIVE_WARN) return damaged(tar, path);
    const char* full_name = archive_entry_pathname(entry);
    const std::string name = full_name ? std::filesystem::path(full_name).filename().string() : "";
    if (archive_entry_filetype(entry) != AE_IFREG || !wanted(name)) continue;
    Result<std::string> bytes = read_entry(tar, path, name);
    if (!bytes) return bytes.error();
    files[name] = std::move(*bytes);
  }
}

}  // namespace hivq
