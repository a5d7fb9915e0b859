#include "worker/data/feature_eviction.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <vector>

namespace hivq {
namespace {

namespace fs = std::filesystem;

/// A lock on the whole file, held by this open file; the kernel gives it back when the holder dies.
bool lock(const Descriptor& file, short type) {
  struct flock whole = {};
  whole.l_type = type;
  whole.l_whence = SEEK_SET;
  return ::fcntl(file.get(), F_OFD_SETLK, &whole) == 0;
}

struct Kept {
  fs::path path;
  size_t bytes = 0;
  fs::file_time_type used;
};

/// The finished files, the least recently used first.
std::vector<Kept> kept_files(const std::string& folder) {
  std::vector<Kept> files;
  std::error_code failure;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end; it.increment(failure)) {
    if (it->path().extension() != ".features") continue;
    std::error_code gone;  // removed by another process meanwhile
    const Kept kept{it->path(), it->file_size(gone), it->last_write_time(gone)};
    if (!gone) files.push_back(kept);
  }
  std::ranges::sort(files, {}, &Kept::used);
  return files;
}

bool remove_unused(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  return file && lock(file, F_WRLCK) && ::unlink(path.c_str()) == 0;
}

}  // namespace

void mark_in_use(const Descriptor& file) {
  lock(file, F_RDLCK);
  ::futimens(file.get(), nullptr);  // where that is not allowed, it only seems unused for longer
}

void make_room(const std::string& folder, size_t bytes, size_t limit) {
  const std::vector<Kept> files = kept_files(folder);
  size_t total = 0;
  for (const Kept& kept : files) total += kept.bytes;
  for (const Kept& kept : files) {
    std::error_code failure;
    const fs::space_info disk = fs::space(folder, failure);
    const bool fits = (limit == 0 || total + bytes <= limit) && (failure || disk.available >= bytes);
    if (fits) return;
    if (remove_unused(kept.path)) total -= kept.bytes;
  }
}

}  // namespace hivq
