#include <mpi.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "worker/collective/collective.h"
#include "worker/collective/mpi_call.h"
#include "worker/collective/operands.h"

namespace hivq {
namespace {

// Bytes summed at a time: the ranks' slices stay in the cache, and no count outgrows MPI's int.
constexpr int64_t kPieceBytes = 4 << 20;
// Up to here every rank gets everything and sums it itself: one exchange instead of two.
constexpr int64_t kSmallBytes = 32 << 10;

template <typename T>
MPI_Datatype mpi_type() {
  return sizeof(T) == 4 ? MPI_FLOAT : MPI_DOUBLE;
}

/// Elements [first(r), first(r + 1)) of a piece are rank r's to sum.
struct Slices {
  std::vector<int> count, first;
  Slices(int64_t elements, int ranks) : count(static_cast<size_t>(ranks)), first(static_cast<size_t>(ranks)) {
    for (int r = 0; r < ranks; ++r) {
      first[r] = static_cast<int>(elements * r / ranks);
      count[r] = static_cast<int>(elements * (r + 1) / ranks) - first[r];
    }
  }
};

/// sum[i] = parts[0][i] + parts[1][i] + …, always in this order; the parts lie one after another.
template <typename T>
void add_in_order(T* sum, const T* parts, int64_t elements, int ranks) {
  std::copy_n(parts, elements, sum);
  for (int r = 1; r < ranks; ++r) {
    const T* part = parts + r * elements;
    for (int64_t i = 0; i < elements; ++i) sum[i] += part[i];
  }
}

class Mpi final : public Collective {
 public:
  Mpi() {
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Status all_reduce_sum(at::Tensor& tensor) override {
    if (Status usable = check_all_reduce(tensor, device()); !usable || size_ == 1) return usable;
    if (tensor.scalar_type() == at::kFloat) return sum(tensor.data_ptr<float>(), tensor.numel());
    return sum(tensor.data_ptr<double>(), tensor.numel());
  }

  Status broadcast(at::Tensor& tensor) override {
    if (Status usable = check_broadcast(tensor, device()); !usable || size_ == 1) return usable;
    return mpi_broadcast(tensor.data_ptr(), tensor.nbytes());
  }

 private:
  // Open MPI chooses its all-reduce by the size, and some choices give different ranks different bits. Here one rank
  // sums an element, or all of them in the same order: the bits depend on nothing but the ranks' values.
  template <typename T>
  Status sum(T* data, int64_t elements) {
    if (elements * static_cast<int64_t>(sizeof(T)) <= kSmallBytes)
      return elements == 0 ? Status() : sum_small(data, elements);
    const int64_t piece = kPieceBytes / static_cast<int64_t>(sizeof(T));
    for (int64_t at = 0; at < elements; at += piece) {
      if (Status summed = sum_piece(data + at, std::min(piece, elements - at)); !summed) return summed;
    }
    return {};
  }

  template <typename T>
  Status sum_small(T* data, int64_t elements) {
    T* parts = scratch<T>(elements * size_);
    const int count = static_cast<int>(elements);
    MPI_Request request = MPI_REQUEST_NULL;
    const int code = MPI_Iallgather(data, count, mpi_type<T>(), parts, count, mpi_type<T>(), MPI_COMM_WORLD, &request);
    if (Status gathered = wait(code, request); !gathered) return gathered;
    add_in_order(data, parts, elements, size_);
    return {};
  }

  template <typename T>
  Status sum_piece(T* data, int64_t elements) {
    const Slices slices(elements, size_);
    const int mine = slices.count[rank_];
    T* parts = scratch<T>(int64_t{mine} * size_ + mine);
    T* sum = parts + int64_t{mine} * size_;
    Slices received(int64_t{mine} * size_, size_);  // `mine` elements of every rank
    MPI_Request request = MPI_REQUEST_NULL;
    int code = MPI_Ialltoallv(data, slices.count.data(), slices.first.data(), mpi_type<T>(), parts,
                              received.count.data(), received.first.data(), mpi_type<T>(), MPI_COMM_WORLD, &request);
    if (Status exchanged = wait(code, request); !exchanged) return exchanged;
    add_in_order(sum, parts, mine, size_);
    code = MPI_Iallgatherv(sum, mine, mpi_type<T>(), data, slices.count.data(), slices.first.data(), mpi_type<T>(),
                           MPI_COMM_WORLD, &request);
    return wait(code, request);
  }

  Status wait(int code, MPI_Request& request) {
    if (Status started = mpi_status(code, "all-reduce"); !started) return started;
    return mpi_wait(request, "all-reduce");
  }

  template <typename T>
  T* scratch(int64_t elements) {
    const size_t bytes = static_cast<size_t>(elements) * sizeof(T);
    if (scratch_.size() < bytes) scratch_.resize(bytes);
    return reinterpret_cast<T*>(scratch_.data());
  }

  int rank_ = 0, size_ = 1;
  std::vector<std::byte> scratch_;
};

}  // namespace

std::unique_ptr<Collective> make_mpi_collective() { return std::make_unique<Mpi>(); }

}  // namespace hivq
