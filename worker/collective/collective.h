#pragma once

// Collective operations between the ranks of a gang. Two backends: MPI on CPUs, NCCL on GPUs.

#include <ATen/core/Tensor.h>

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
  /// Sums a contiguous float32 or float64 tensor over all ranks, in place, on every rank. Every rank gets the same
  /// bits.
  virtual Status all_reduce_sum(at::Tensor& tensor) = 0;
  /// Gives rank 0's contiguous tensor (any type) to every rank, in place.
  virtual Status broadcast(at::Tensor& tensor) = 0;
};

/// A gang of one rank: every operation is the identity.
std::unique_ptr<Collective> make_single_collective();

/// Over MPI_COMM_WORLD's ranks on CPU tensors. MPI_Init_thread must have been called; for the thread that called it
/// only. Each element is summed in the order of the ranks, whatever the tensor's size or how tensors are packed
/// together.
std::unique_ptr<Collective> make_mpi_collective();

/// Over MPI_COMM_WORLD's ranks on CUDA tensors of `device`, through NCCL; MPI carries the unique id.
/// Operations are put on the device's current stream and return at once; one that fails or hangs is seen by a thread
/// that watches, and the next operation returns its Error. Errors: built without CUDA, no such device, NCCL refuses
/// (its own message).
Result<std::unique_ptr<Collective>> make_nccl_collective(int device);

}  // namespace hivq
