#pragma once

// The coordinator of a data folder on this machine: found through its coordinator.json, or started as our child.

#include <optional>
#include <string>

#include "common/coordinator_file.h"
#include "common/process.h"
#include "common/result.h"

namespace hivq::cli {

/// The data folder holds a store that a coordinator could open.
bool has_store(const std::string& data);

struct LocalOptions {
  std::string data;
  uint64_t gangs = 0;  // that it may launch itself
  uint64_t ranks = 1;  // of such a gang
};

/// A running coordinator of a data folder. One that we started ends with this object.
class LocalCoordinator {
 public:
  /// Takes the one that runs, or starts one and waits until it is ready; its log is data/coordinator.log.
  /// Errors: the program is missing, the folder cannot be written, or the coordinator's own sentence.
  static Result<LocalCoordinator> open(const LocalOptions& options);

  const CoordinatorFile& address() const { return address_; }
  bool ours() const { return ours_; }
  bool running() const { return alive(address_.process); }
  /// Ends it in order if it is ours: its gangs first.
  void stop();

  LocalCoordinator(LocalCoordinator&& other) noexcept
      : address_(std::move(other.address_)), ours_(std::exchange(other.ours_, false)) {}
  LocalCoordinator& operator=(LocalCoordinator&& other) noexcept;
  ~LocalCoordinator() { stop(); }

 private:
  LocalCoordinator(CoordinatorFile address, bool ours) : address_(std::move(address)), ours_(ours) {}

  CoordinatorFile address_;
  bool ours_;
};

}  // namespace hivq::cli
