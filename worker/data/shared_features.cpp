#include "worker/data/shared_features.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <thread>
#include <vector>

#include "worker/data/feature_eviction.h"

namespace hivq {
namespace {

// Images per pass through the backbone. Few, so that the activations stay in the cache and the allocator reuses them:
// on two cores 4 gives 0.9 k images/s at 112 pixels where 32 gives 0.7 k, and 340 at 224 where 32 gives 120
// (features_bench.cpp).
constexpr int64_t kBatchRows = 4;
constexpr auto kPoll = std::chrono::milliseconds(20);
constexpr int kRepairs = 2;  // how often a damaged file is computed again before the disk is to blame

using Features = std::shared_ptr<const MappedFeatures>;

/// A lock on one byte of a file, held by this open file: among threads and processes alike. Released on destruction,
/// and by the kernel when the process dies.
class ByteLock {
 public:
  /// Waits for the lock where `wait`; else gives nothing when another holds it, or on an error with errno set.
  static std::optional<ByteLock> take(const Descriptor& file, int64_t byte, bool wait) {
    struct flock region = region_of(byte, F_WRLCK);
    while (::fcntl(file.get(), wait ? F_OFD_SETLKW : F_OFD_SETLK, &region) != 0) {
      if (errno != EINTR) return std::nullopt;
    }
    return ByteLock(file.get(), byte);
  }
  ByteLock(ByteLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)), byte_(other.byte_) {}
  ByteLock& operator=(ByteLock&&) = delete;
  ~ByteLock() {
    struct flock region = region_of(byte_, F_UNLCK);
    if (fd_ >= 0) ::fcntl(fd_, F_OFD_SETLK, &region);
  }

 private:
  ByteLock(int fd, int64_t byte) : fd_(fd), byte_(byte) {}
  static struct flock region_of(int64_t byte, short type) {
    struct flock region = {};
    region.l_type = type;
    region.l_whence = SEEK_SET;
    region.l_start = byte;
    region.l_len = 1;
    return region;
  }
  int fd_;
  int64_t byte_;
};

/// The three files of one key. `work` is filled and then renamed to `final`; `lock` guards the two names.
struct Paths {
  std::string folder, final, work, lock;
};

Error not_writable(const Paths& paths, int error_number) {
  return error("{}; make the feature cache's folder writable or choose another",
               file_error("write to", paths.folder, error_number).message);
}

bool same_file(const Descriptor& file, const std::string& path) {
  struct stat opened = {}, named = {};
  return ::fstat(file.get(), &opened) == 0 && ::stat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
         opened.st_dev == named.st_dev;
}

/// Holds the lock file's lock for as long as it lives.
struct NamesLock {
  Descriptor file;
  ByteLock lock;
};
Result<NamesLock> lock_names(const Paths& paths) {
  Descriptor file(::open(paths.lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!file) return not_writable(paths, errno);
  std::optional<ByteLock> lock = ByteLock::take(file, 0, /*wait=*/true);
  if (!lock) return file_error("lock", paths.lock, errno);
  return NamesLock{std::move(file), std::move(*lock)};
}

/// Opens the work file that the others fill, or starts it. No file where the final one is there already.
Result<Descriptor> join_work(const Paths& paths, const FeatureLayout& layout, size_t limit) {
  const auto names = lock_names(paths);
  if (!names) return names.error();
  if (std::filesystem::exists(paths.final)) return Descriptor();
  Descriptor work(::open(paths.work.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!work) return not_writable(paths, errno);
  if (!has_layout(work, layout)) {
    make_room(paths.folder, layout.file_bytes(), limit);
    if (Status made = format_feature_file(work, paths.work, layout); !made) {
      ::unlink(paths.work.c_str());
      return made.error();
    }
  }
  return work;
}

/// Gives the finished work file its final name, unless another process has done so.
Status publish(const Descriptor& work, const Paths& paths) {
  const auto names = lock_names(paths);
  if (!names) return names.error();
  if (!same_file(work, paths.work)) return {};
  if (::fsync(work.get()) != 0 || std::rename(paths.work.c_str(), paths.final.c_str()) != 0) {
    return file_error("write", paths.final, errno);
  }
  return sync_folder(paths.folder);
}

/// Removes a damaged file, unless another process has already put a new one in its place.
Status discard(const Descriptor& damaged, const Paths& paths) {
  const auto names = lock_names(paths);
  if (!names) return names.error();
  if (same_file(damaged, paths.final) && ::unlink(paths.final.c_str()) != 0) return not_writable(paths, errno);
  return {};
}

/// One process' part in filling a work file.
class Filler {
 public:
  Filler(const Descriptor& work, const Paths& paths, const FeatureLayout& layout, const ComputeRows& compute,
         const FeatureProgress& progress)
      : work_(work), paths_(paths), layout_(layout), compute_(compute), progress_(progress) {}

  /// Works on what nobody works on, and waits for the others' shards, until every shard is done.
  Status fill() {
    for (;;) {
      bool waiting = false;
      for (int64_t shard = 0; shard < layout_.shards(); ++shard) {
        if (is_done(work_, layout_, shard)) continue;
        const auto claim = ByteLock::take(work_, shard, /*wait=*/false);
        if (!claim && errno != EAGAIN && errno != EACCES) return file_error("lock", paths_.work, errno);
        if (!claim) {
          waiting = true;
        } else if (!is_done(work_, layout_, shard)) {  // its last holder may have finished it just now
          if (Status computed = compute_shard(shard); !computed) return computed;
        }
      }
      count_done();
      report(0);
      if (!waiting) return {};
      std::this_thread::sleep_for(kPoll);
    }
  }

 private:
  Status compute_shard(int64_t shard) {
    count_done();
    const int64_t first = layout_.first_row(shard), count = layout_.rows_of(shard);
    buffer_.resize(static_cast<size_t>(count * layout_.row_floats));
    for (int64_t row = 0; row < count; row += kBatchRows) {
      const int64_t batch = std::min(kBatchRows, count - row);
      const auto rows = std::span(buffer_).subspan(static_cast<size_t>(row * layout_.row_floats),
                                                   static_cast<size_t>(batch * layout_.row_floats));
      if (Status computed = compute_(first + row, rows); !computed) return computed;
      if (row + batch < count) report(row + batch);
    }
    if (!write_shard(work_, layout_, shard, buffer_)) return file_error("write", paths_.work, errno);
    return {};
  }

  /// Rows of the shards that any process has finished.
  void count_done() {
    done_ = 0;
    for (int64_t shard = 0; shard < layout_.shards(); ++shard) {
      if (is_done(work_, layout_, shard)) done_ += layout_.rows_of(shard);
    }
  }

  /// `mine`: rows done of the shard in hand. Never goes back.
  void report(int64_t mine) {
    if (done_ + mine <= reported_) return;
    reported_ = done_ + mine;
    if (progress_) progress_(reported_, layout_.rows);
  }

  const Descriptor& work_;
  const Paths& paths_;
  const FeatureLayout& layout_;
  const ComputeRows& compute_;
  const FeatureProgress& progress_;
  std::vector<float> buffer_;
  int64_t done_ = 0;
  int64_t reported_ = -1;
};

}  // namespace

Result<Features> shared_features(const std::string& folder, const FeatureLayout& layout, const ComputeRows& compute,
                                 const FeatureProgress& progress, size_t limit) {
  const std::string stem = folder + "/" + layout.key;
  const Paths paths{folder, stem + ".features", stem + ".work", stem + ".lock"};
  for (int repairs = 0;;) {
    Descriptor finished(::open(paths.final.c_str(), O_RDONLY | O_CLOEXEC));
    if (!finished && errno != ENOENT && errno != ENOTDIR) {
      return error("{}; make it readable or choose another cache folder",
                   file_error("read", paths.final, errno).message);
    }
    if (finished) {
      mark_in_use(finished);
      const Descriptor damaged(::dup(finished.get()));
      Result<Features> mapped = map_features(std::move(finished), paths.final, layout);
      if (mapped || ++repairs > kRepairs) return mapped;
      fmt::print(stderr, "hivq: {}; computing the features again\n", mapped.error().message);
      if (Status gone = discard(damaged, paths); !gone) return gone.error();
    }
    std::error_code failure;
    std::filesystem::create_directories(folder, failure);
    if (failure) return not_writable(paths, failure.value());
    Result<Descriptor> work = join_work(paths, layout, limit);
    if (!work) return work.error();
    if (!*work) continue;  // finished in the meantime
    if (Status filled = Filler(*work, paths, layout, compute, progress).fill(); !filled) return filled.error();
    if (Status published = publish(*work, paths); !published) return published.error();
  }
}

}  // namespace hivq
