#pragma once

// The ranks that mpirun started together, as the gang's control sees them: what must be told to all, and what all must
// agree on. For the main thread only. Waiting ranks sleep (mpi_wait), so that they cost no core.

#include <string>
#include <vector>

#include "common/result.h"

namespace hivq {

class World {
 public:
  /// MPI_Init_thread must have been called. Errors: MPI's own.
  static Result<World> join();

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Among the ranks of this host.
  int local_rank() const { return local_rank_; }
  int local_size() const { return local_size_; }
  /// Logical CPUs that the ranks of this host may use, all of them together; ascending.
  const std::vector<int>& local_cpus() const { return local_cpus_; }
  /// This rank may use only some of them: mpirun, or whoever started it, has bound it.
  bool bound() const { return bound_; }

  /// Gives rank 0's bytes to every rank.
  Status broadcast(std::string& bytes) const;

  /// Whether all ranks have succeeded; the same on each of them: the first error by rank, or success. The outer Status
  /// is MPI's own failure. Waits for the slowest rank.
  Result<Status> agree(const Status& mine) const;

 private:
  int rank_ = 0, size_ = 1, local_rank_ = 0, local_size_ = 1;
  std::vector<int> local_cpus_;
  bool bound_ = false;
};

}  // namespace hivq
