#include "worker/gang/world.h"

#include <mpi.h>
#include <sched.h>

#include "worker/collective/mpi_call.h"

namespace hivq {
namespace {

/// mpirun may have bound each rank to cores of its own, or all to the same ones: the union of their masks counts.
Result<int> count_cores(MPI_Comm host) {
  cpu_set_t mine;
  CPU_ZERO(&mine);
  if (sched_getaffinity(0, sizeof mine, &mine) != 0) CPU_SET(0, &mine);
  cpu_set_t all;
  const int code = MPI_Allreduce(&mine, &all, sizeof mine, MPI_BYTE, MPI_BOR, host);
  if (Status reduced = mpi_status(code, "count the host's cores"); !reduced) return reduced.error();
  return CPU_COUNT(&all);
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
  const Result<int> cores = count_cores(host);
  MPI_Comm_free(&host);
  if (!cores) return cores.error();
  world.local_cores_ = *cores;
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
