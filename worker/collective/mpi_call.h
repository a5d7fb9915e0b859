#pragma once

// MPI's return codes as Status, and a wait that leaves the core to others.

#include <mpi.h>

#include <chrono>
#include <cstddef>

#include "common/result.h"

namespace hivq {

/// `what` names the call in the Error: "MPI could not {what}: …". Needs MPI_ERRORS_RETURN on the communicator.
Status mpi_status(int code, const char* what);

/// How to wait for something that must be asked for again and again. MPI's own wait spins on a core for as long as it
/// takes; ranks that wait for their next trial, or for a slower rank, would take the cores from those that work. This
/// one lets the caller ask again at once for a short while and then sleeps: an eighth of what it has waited, but not
/// longer than 1 ms, and 5 ms after the first 10 s (a rank costs 0.6 % of a core then).
class PoliteWait {
 public:
  void pause();
  std::chrono::steady_clock::duration waited() const { return std::chrono::steady_clock::now() - begin_; }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// Waits for a non-blocking operation, politely.
Status mpi_wait(MPI_Request& request, const char* what);

/// Rank `root`'s bytes to every rank of MPI_COMM_WORLD; any number of them.
Status mpi_broadcast(void* bytes, size_t size, int root = 0);

}  // namespace hivq
