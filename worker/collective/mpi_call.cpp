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

Status mpi_wait(MPI_Request& request, const char* what) {
  using clock = std::chrono::steady_clock;
  using namespace std::chrono_literals;
  const auto begin = clock::now();
  for (int done = 0;;) {
    if (Status tested = mpi_status(MPI_Test(&request, &done, MPI_STATUS_IGNORE), what); !tested || done) return tested;
    const clock::duration waited = clock::now() - begin;
    if (waited < 300us) {
      sched_yield();
    } else {
      const clock::duration longest = waited < 10s ? 1ms : 5ms;
      std::this_thread::sleep_for(std::min(waited / 8, longest));
    }
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
