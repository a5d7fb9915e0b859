#pragma once

// Files: whole ones in and out, descriptors that close themselves, and errors that name the file and the system's
// reason.

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "common/result.h"

namespace hivq {

/// An Error of a failed system call on a file: `cannot write /x/y: No space left on device`.
Error file_error(std::string_view action, const std::string& path, int error_number);

/// Owns an open file's descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

/// Writes or reads all of the bytes at an offset. False, with errno set, where that fails; a file that ends too early
/// fails with ENODATA.
bool write_fully(const Descriptor& file, const void* from, size_t bytes, size_t offset);
bool read_fully(const Descriptor& file, void* to, size_t bytes, size_t offset);

/// Reads a whole file.
Result<std::string> read_file(const std::string& path);

/// Writes a whole file in one step: a reader, or a crash, sees the whole new file or what was there before.
Status write_file(const std::string& path, std::string_view bytes);

/// Makes a rename into the folder durable.
Status sync_folder(const std::string& folder);

}  // namespace hivq
