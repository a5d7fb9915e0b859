#include "common/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace hivq {

Status replace_file(const std::string& path, const std::string& bytes, unsigned mode) {
  const std::string part = fmt::format("{}.part.{}", path, getpid());
  const int file = open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (file < 0) return error("cannot write {}: {}", part, std::strerror(errno));
  const bool whole = fchmod(file, mode) == 0 &&
                     write(file, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()) && fsync(file) == 0;
  const int why = errno;
  close(file);
  if (!whole || rename(part.c_str(), path.c_str()) != 0) {
    const int failure = whole ? errno : why;
    unlink(part.c_str());
    return error("cannot write {}: {}", path, std::strerror(failure));
  }
  return {};
}

std::string file_stamp(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return "-";
  return fmt::format("{}.{}.{}.{}", info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_size, info.st_ino);
}

}  // namespace hivq
