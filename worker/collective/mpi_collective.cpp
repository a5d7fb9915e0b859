#include <mpi.h>

#include <algorithm>
#include <cstddef>
#include <deque>
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
// Pieces whose exchanges are under way at once.
constexpr size_t kMostUnderWay = 4;

/// Elements [first(r), first(r + 1)) of a piece are rank r's to sum.
struct Slices {
  std::vector<int> count, first;
  Slices() = default;
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

// Open MPI chooses its all-reduce by the size, and some choices give different ranks different bits. Here one rank
// sums an element, or all of them in the same order: the bits depend on nothing but the ranks' values.

/// A piece of a tensor on its way: every rank's slice to the rank that sums it, then the sums to every rank.
struct Piece {
  std::byte* data;
  int64_t elements;
  bool doubles;
  bool small;  // one exchange of everything
  enum class Stage { waiting, exchanging, gathering } stage = Stage::waiting;
  MPI_Request request = MPI_REQUEST_NULL;
  std::vector<std::byte> parts = {}, sum = {};
  Slices slices = {}, received = {};  // MPI reads them until the request is done

  MPI_Datatype type() const { return doubles ? MPI_DOUBLE : MPI_FLOAT; }
  size_t bytes(int64_t count) const { return static_cast<size_t>(count) * (doubles ? 8 : 4); }
  void add(std::byte* to, int64_t count, int ranks) const {
    if (doubles) {
      add_in_order(reinterpret_cast<double*>(to), reinterpret_cast<const double*>(parts.data()), count, ranks);
    } else {
      add_in_order(reinterpret_cast<float*>(to), reinterpret_cast<const float*>(parts.data()), count, ranks);
    }
  }
};

class Mpi final : public Collective {
 public:
  explicit Mpi(std::chrono::seconds timeout) : timeout_(timeout) {
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    // Ranks begin the exchange of one piece and the gathering of another as they come, not in one order: each kind has
    // a communicator of its own, in which the order of the pieces is that of all ranks.
    MPI_Comm_dup(MPI_COMM_WORLD, &exchanges_);
    MPI_Comm_dup(MPI_COMM_WORLD, &gatherings_);
  }
  ~Mpi() override {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (finalized || !pieces_.empty()) return;  // after an error the others may never come
    MPI_Comm_free(&exchanges_);
    MPI_Comm_free(&gatherings_);
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Status begin_sum(const at::Tensor& tensor) override {
    if (Status usable = check_all_reduce(tensor, device()); !usable || size_ == 1) return usable;
    const bool doubles = tensor.scalar_type() == at::kDouble;
    const int64_t width = doubles ? 8 : 4, longest = kPieceBytes / width;
    auto* data = static_cast<std::byte*>(tensor.data_ptr());
    const bool small = tensor.numel() * width <= kSmallBytes;
    for (int64_t at = 0; at < tensor.numel(); at += longest) {
      pieces_.push_back({data + at * width, std::min(longest, tensor.numel() - at), doubles, small});
    }
    return progress();
  }

  Status progress() override {
    for (size_t i = 0; i < std::min(pieces_.size(), kMostUnderWay); ++i) {
      if (Status advanced = advance(pieces_[i], i == 0 || pieces_[i - 1].stage == Piece::Stage::gathering); !advanced) {
        return advanced;
      }
    }
    while (!pieces_.empty() && pieces_.front().stage == Piece::Stage::gathering) {
      const Result<bool> done = test(pieces_.front().request);
      if (!done) return done.error();
      if (!*done) break;
      for (std::vector<std::byte>* used : {&pieces_.front().parts, &pieces_.front().sum}) {
        if (!used->empty()) spare_.push_back(std::move(*used));  // a small piece has no sum
      }
      pieces_.pop_front();
    }
    return {};
  }

  Status finish_sums() override {
    for (PoliteWait wait; !pieces_.empty();) {
      const size_t before = pieces_.size();
      if (Status advanced = progress(); !advanced) return advanced;
      if (pieces_.size() < before) {
        wait = {};
      } else if (wait.waited() > timeout_) {
        return error(
            "another rank did not take part in an all-reduce for {} s: it hangs, is stopped, or its host cannot be "
            "reached",
            timeout_.count());
      } else {
        wait.pause();
      }
    }
    return {};
  }

  Status broadcast(at::Tensor& tensor) override {
    if (Status usable = check_broadcast(tensor, device()); !usable || size_ == 1) return usable;
    return mpi_broadcast(tensor.data_ptr(), tensor.nbytes());
  }

 private:
  /// `may_gather`: every piece before has begun to.
  Status advance(Piece& piece, bool may_gather) {
    if (piece.stage == Piece::Stage::waiting) {
      piece.stage = Piece::Stage::exchanging;
      if (Status begun = mpi_status(begin_exchange(piece), "all-reduce"); !begun) return begun;
    }
    if (piece.stage != Piece::Stage::exchanging || !may_gather) return {};
    const Result<bool> done = test(piece.request);
    if (!done) return done.error();
    if (!*done) return {};
    piece.stage = Piece::Stage::gathering;
    if (piece.small) {
      piece.add(piece.data, piece.elements, size_);
      return {};
    }
    return mpi_status(begin_gathering(piece), "all-reduce");
  }

  int begin_exchange(Piece& piece) {
    if (piece.small) {
      piece.parts = memory(piece.bytes(piece.elements * size_));
      const int count = static_cast<int>(piece.elements);
      return MPI_Iallgather(piece.data, count, piece.type(), piece.parts.data(), count, piece.type(), exchanges_,
                            &piece.request);
    }
    piece.slices = Slices(piece.elements, size_);
    const int mine = piece.slices.count[rank_];
    piece.received = Slices(int64_t{mine} * size_, size_);  // `mine` elements of every rank
    piece.parts = memory(piece.bytes(int64_t{mine} * size_));
    return MPI_Ialltoallv(piece.data, piece.slices.count.data(), piece.slices.first.data(), piece.type(),
                          piece.parts.data(), piece.received.count.data(), piece.received.first.data(), piece.type(),
                          exchanges_, &piece.request);
  }

  int begin_gathering(Piece& piece) {
    const int mine = piece.slices.count[rank_];
    piece.sum = memory(piece.bytes(mine));
    piece.add(piece.sum.data(), mine, size_);
    return MPI_Iallgatherv(piece.sum.data(), mine, piece.type(), piece.data, piece.slices.count.data(),
                           piece.slices.first.data(), piece.type(), gatherings_, &piece.request);
  }

  static Result<bool> test(MPI_Request& request) {
    int done = 0;
    if (Status tested = mpi_status(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "all-reduce"); !tested) {
      return tested.error();
    }
    return done != 0;
  }

  /// Of earlier pieces where there is some: fresh pages cost as much as the sum.
  std::vector<std::byte> memory(size_t bytes) {
    std::vector<std::byte> found;
    if (!spare_.empty()) {
      found = std::move(spare_.back());
      spare_.pop_back();
    }
    if (found.size() < bytes) found.resize(bytes);
    return found;
  }

  const std::chrono::seconds timeout_;
  int rank_ = 0, size_ = 1;
  MPI_Comm exchanges_ = MPI_COMM_NULL, gatherings_ = MPI_COMM_NULL;
  std::deque<Piece> pieces_;  // under way and waiting, in order
  std::vector<std::vector<std::byte>> spare_;
};

}  // namespace

std::unique_ptr<Collective> make_mpi_collective(std::chrono::seconds timeout) { return std::make_unique<Mpi>(timeout); }

}  // namespace hivq
