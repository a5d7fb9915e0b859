#include "worker/data/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace hivq {

Error file_error(std::string_view action, const std::string& path, int error_number) {
  return error("cannot {} {}: {}", action, path, std::strerror(error_number));
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

bool write_fully(const Descriptor& file, const void* from, size_t bytes, size_t offset) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t n =
        ::pwrite(file.get(), static_cast<const char*>(from) + done, bytes - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno != EINTR) return false;
    if (n > 0) done += static_cast<size_t>(n);
  }
  return true;
}

bool read_fully(const Descriptor& file, void* to, size_t bytes, size_t offset) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t n =
        ::pread(file.get(), static_cast<char*>(to) + done, bytes - done, static_cast<off_t>(offset + done));
    if (n == 0) errno = ENODATA;
    if (n == 0 || (n < 0 && errno != EINTR)) return false;
    if (n > 0) done += static_cast<size_t>(n);
  }
  return true;
}

Result<std::string> read_file(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return file_error("read", path, errno);
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) return file_error("read", path, errno);
  if (S_ISDIR(status.st_mode)) return file_error("read", path, EISDIR);
  std::string bytes(static_cast<size_t>(status.st_size), '\0');
  if (!read_fully(file, bytes.data(), bytes.size(), 0)) return file_error("read", path, errno);
  return bytes;
}

Status write_file(const std::string& path, std::string_view bytes) {
  static std::atomic<int> serial = 0;  // two threads may write the same path
  const std::string temporary = fmt::format("{}.{}.{}.tmp", path, ::getpid(), serial++);
  const auto fail = [&](int error_number) {
    ::unlink(temporary.c_str());
    return file_error("write", path, error_number);
  };
  {
    const Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!file) return file_error("write", path, errno);
    if (!write_fully(file, bytes.data(), bytes.size(), 0) || ::fsync(file.get()) != 0) return fail(errno);
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0) return fail(errno);
  return sync_folder(std::filesystem::absolute(path).parent_path().string());
}

Status sync_folder(const std::string& folder) {
  const Descriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fsync(directory.get()) != 0) return file_error("sync", folder, errno);
  return {};
}

}  // namespace hivq
