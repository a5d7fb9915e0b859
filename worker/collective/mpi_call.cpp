#include "worker/collective/mpi_call.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

namespace hivq {
namespace {

constexpr size_t kPiece = size_t{1} << 30;  // MPI counts with an int

}  // namespace

Status mpi_status(int code, const char* what) {
  if (code == MPI_SUCCESS) return {};
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  return error("MPI could not {}: {}", what, std::string_view(text, static_cast<size_t>(length)));
}

void PoliteWait::pause() {
  using namespace std::chrono_literals;
  const auto so_far = waited();
  if (so_far < 300us) {
    sched_yield();
  } else {
    const std::chrono::nanoseconds longest = so_far < 10s ? 1ms : 5ms;
    std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(so_far / 8, longest));
  }
}

Status mpi_wait(MPI_Request& request, const char* what) {
  PoliteWait wait;
  for (int done = 0;; wait.pause()) {
    if (Status tested = mpi_status(MPI_Test(&request, &done, MPI_STATUS_IGNORE), what); !tested || done) return tested;
  }
}

Status mpi_broadcast(void* bytes, size_t size, int root) {
  for (size_t at = 0; at < size; at += kPiece) {
    const int count = static_cast<int>(std::min(kPiece, size - at));
    MPI_Request request = MPI_REQUEST_NULL;
    const int code = MPI_Ibcast(static_cast<char*>(bytes) + at, count, MPI_BYTE, root, MPI_COMM_WORLD, &request);
    if (Status started = mpi_status(code, "broadcast"); !started) return started;
    if (Status ended = mpi_wait(request, "broadcast"); !ended) return ended;
  }
  return {};
}

}  // namespace hivq
