#pragma once

// Collective operations between the ranks of a gang. Two backends: MPI on CPUs, NCCL on GPUs.

#include <ATen/core/Tensor.h>

#include <chrono>
#include <memory>
#include <string>

#include "common/result.h"

namespace hivq {

class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Where the tensors that it takes lie, and so where the rank's model belongs.
  virtual at::Device device() const { return at::kCPU; }

  /// Begins to sum a contiguous float32 or float64 tensor over all ranks, in place; every rank gets the same bits.
  /// Several may be under way; every rank begins them in the same order. Until finish_sums() nobody touches the tensor.
  virtual Status begin_sum(const at::Tensor& tensor) = 0;
  /// Lets what is under way go on; to be called now and then by a rank that computes meanwhile. Never waits.
  virtual Status progress() { return {}; }
  /// Returns when all sums are there (on a GPU: for what is put on the current stream from now on).
  virtual Status finish_sums() = 0;

  /// After a recorded step with sums in it has been put on the current stream: it, too, is to end in time.
  virtual Status watch() { return {}; }

  /// Gives rank 0's contiguous tensor (any type) to every rank, in place. No sum may be under way.
  virtual Status broadcast(at::Tensor& tensor) = 0;

  Status all_reduce_sum(const at::Tensor& tensor) {
    if (Status begun = begin_sum(tensor); !begun) return begun;
    return finish_sums();
  }
};

/// How long a rank waits for the others in one operation; beyond it, it is an Error that one of them hangs, is stopped
/// or cannot be reached. A rank that evaluates or saves may be late.
inline constexpr std::chrono::seconds kCollectiveTimeout{600};

/// A gang of one rank: every operation is the identity.
std::unique_ptr<Collective> make_single_collective();

/// Over MPI_COMM_WORLD's ranks on CPU tensors; made and ended on all of them together. MPI_Init_thread must have been
/// called; for the thread that called it only. Each element is summed in the order of the ranks, whatever the tensor's
/// size or how tensors are packed together.
std::unique_ptr<Collective> make_mpi_collective(std::chrono::seconds timeout = kCollectiveTimeout);

/// Over MPI_COMM_WORLD's ranks on CUDA tensors of `device`, through NCCL; MPI carries the unique id.
/// Sums run on a stream of their own, beside what the current stream computes; one that fails or hangs is seen by a
/// thread that watches, and the next operation returns its Error. Errors: built without CUDA, no such device, NCCL
/// refuses (its own message).
Result<std::unique_ptr<Collective>> make_nccl_collective(int device, std::chrono::seconds timeout = kCollectiveTimeout);

}  // namespace hivq
