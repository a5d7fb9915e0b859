#include "worker/gang/world.h"

#include <mpi.h>
#include <sched.h>

#include "worker/collective/mpi_call.h"

namespace hivq {
namespace {

/// The CPUs of this rank, and of all ranks of the host: mpirun may have bound each to CPUs of its own, or all to the
/// same ones.
struct Masks {
  cpu_set_t mine, all;
};
Result<Masks> masks_of(MPI_Comm host) {
  Masks masks;
  CPU_ZERO(&masks.mine);
  if (sched_getaffinity(0, sizeof masks.mine, &masks.mine) != 0) CPU_SET(0, &masks.mine);
  const int code = MPI_Allreduce(&masks.mine, &masks.all, sizeof masks.mine, MPI_BYTE, MPI_BOR, host);
  if (Status reduced = mpi_status(code, "count the host's cores"); !reduced) return reduced.error();
  return masks;
}

}  // namespace

Result<World> World::join() {
  World world;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &world.rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &world.size_);
  MPI_Comm host = MPI_COMM_NULL;
  const int code = MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world.rank_, MPI_INFO_NULL, &host);
  if (Status split = mpi_status(code, "find the ranks of this host"); !split) return split.error();
  MPI_Comm_rank(host, &world.local_rank_);
  MPI_Comm_size(host, &world.local_size_);
  const Result<Masks> masks = masks_of(host);
  MPI_Comm_free(&host);
  if (!masks) return masks.error();
  world.bound_ = !CPU_EQUAL(&masks->mine, &masks->all);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<size_t>(cpu), &masks->all)) world.local_cpus_.push_back(cpu);
  }
  return world;
}

Status World::broadcast(std::string& bytes) const {
  uint64_t size = bytes.size();
  if (Status sent = mpi_broadcast(&size, sizeof size); !sent) return sent;
  bytes.resize(size);
  return mpi_broadcast(bytes.data(), size);
}

Result<Status> World::agree(const Status& mine) const {
  int first_failed = mine ? size_ : rank_;
  MPI_Request request = MPI_REQUEST_NULL;
  const int code = MPI_Iallreduce(MPI_IN_PLACE, &first_failed, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD, &request);
  if (Status started = mpi_status(code, "agree"); !started) return started.error();
  if (Status agreed = mpi_wait(request, "agree"); !agreed) return agreed.error();
  if (first_failed == size_) return Status();
  std::string reason = mine ? "" : mine.error().message;
  uint64_t size = reason.size();
  if (Status sent = mpi_broadcast(&size, sizeof size, first_failed); !sent) return sent.error();
  reason.resize(size);
  if (Status sent = mpi_broadcast(reason.data(), size, first_failed); !sent) return sent.error();
  return Status(Error{std::move(reason)});
}

}  // namespace hivq
