#include "worker/collective/collective.h"
#include "worker/collective/raw_nccl.h"

#ifndef HIVQ_CUDA

namespace hivq {

Result<std::unique_ptr<Collective>> make_nccl_collective(int device, std::chrono::seconds) {
  return error(
      "cannot use CUDA device {}: this hivq-worker was built without CUDA; build it with `cmake --preset cuda`, or "
      "start it with --device cpu",
      device);
}

Result<RawSum> make_raw_nccl_sum(const Collective&) { return error("this hivq-worker was built without CUDA"); }

}  // namespace hivq

#else

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "worker/collective/mpi_call.h"
#include "worker/collective/operands.h"

namespace hivq {
namespace {

using clock = std::chrono::steady_clock;
constexpr auto kLook = std::chrono::milliseconds(50);

/// `last`: NCCL keeps the sentence that goes with its newest error.
Error nccl_error(ncclResult_t code, ncclComm_t comm, const char* what) {
  const char* last = ncclGetLastError(comm);
  return error("NCCL could not {}: {}{}{}", what, ncclGetErrorString(code), last && *last ? ": " : "",
               last ? last : "");
}

Status cuda_status(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return {};
  cudaGetLastError();  // the error is reported here and not by a later, innocent call
  return error("CUDA could not {}: {}", what, cudaGetErrorString(code));
}

/// The communicator is non-blocking, so that a peer that never comes is an Error and not a hang.
Status settle(ncclComm_t comm, ncclResult_t code, const char* what, std::chrono::seconds timeout) {
  const auto end = clock::now() + timeout;
  while (code == ncclInProgress) {
    if (clock::now() > end)
      return error("NCCL could not {}: another rank did not answer within {} s", what, timeout.count());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (ncclResult_t asked = ncclCommGetAsyncError(comm, &code); asked != ncclSuccess) code = asked;
  }
  return code == ncclSuccess ? Status() : nccl_error(code, comm, what);
}

// NCCL's algorithms sum an element at one place and copy the sum from there, so every rank gets the same bits.
class Nccl final : public Collective {
 public:
  Nccl(ncclComm_t comm, int rank, int size, int device, std::chrono::seconds timeout)
      : comm_(comm),
        timeout_(timeout),
        rank_(rank),
        size_(size),
        device_(device),
        own_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, static_cast<c10::DeviceIndex>(device))) {
    watcher_ = std::thread([this] { look(); });
  }

  ~Nccl() override {
    {
      std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    watcher_.join();
    for (cudaEvent_t event : spare_) cudaEventDestroy(event);
    if (ordering_ != nullptr) cudaEventDestroy(ordering_);
    for (const auto& [event, since] : in_flight_) cudaEventDestroy(event);
    if (comm_ == nullptr) return;
    // Destroying waits for the peers; after an error, or with work still under way, they may not come.
    if (in_flight_.empty() && settle(comm_, ncclCommFinalize(comm_), "end", timeout_)) {
      ncclCommDestroy(comm_);
    } else {
      ncclCommAbort(comm_);
    }
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  at::Device device() const override { return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(device_)); }

  /// On the own stream, behind what the current stream has been given so far.
  Status begin_sum(const at::Tensor& tensor) override {
    if (Status usable = check_all_reduce(tensor, device()); !usable) return usable;
    if (size_ == 1) return {};  // the sum is there
    const ncclDataType_t type = tensor.scalar_type() == at::kFloat ? ncclFloat32 : ncclFloat64;
    tensor.record_stream(own_);  // its memory is not given to others before the sum is there
    if (Status ordered = order(current(), own_); !ordered) return ordered;
    return enqueue("all-reduce", tensor, own_, [&](cudaStream_t stream) {
      return ncclAllReduce(tensor.data_ptr(), tensor.data_ptr(), static_cast<size_t>(tensor.numel()), type, ncclSum,
                           comm_, stream);
    });
  }

  Status finish_sums() override { return size_ == 1 ? Status() : order(own_, current()); }

  Status watch() override {
    if (size_ == 1) return {};
    std::lock_guard lock(mutex_);
    if (!failure_) return failure_.error();
    const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device_));
    return watch_end(current().stream());
  }

  Status broadcast(at::Tensor& tensor) override {
    if (Status usable = check_broadcast(tensor, device()); !usable) return usable;
    return enqueue("broadcast", tensor, current(), [&](cudaStream_t stream) {
      return ncclBroadcast(tensor.data_ptr(), tensor.data_ptr(), tensor.nbytes(), ncclUint8, /*root=*/0, comm_, stream);
    });
  }

 private:
  struct InFlight {
    cudaEvent_t event;
    clock::time_point since;
  };

  c10::cuda::CUDAStream current() const {
    return c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device_));
  }

  /// What `after` is given from now on waits for what `before` has been given.
  Status order(c10::cuda::CUDAStream before, c10::cuda::CUDAStream after) {
    std::lock_guard lock(mutex_);
    if (!failure_) return failure_.error();
    const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device_));
    if (ordering_ == nullptr) {
      const cudaError_t made = cudaEventCreateWithFlags(&ordering_, cudaEventDisableTiming);
      if (Status usable = cuda_status(made, "make an event"); !usable) return fail(usable);
    }
    Status ordered = cuda_status(cudaEventRecord(ordering_, before.stream()), "record an event");
    if (ordered) ordered = cuda_status(cudaStreamWaitEvent(after.stream(), ordering_), "wait for an event");
    return ordered ? ordered : fail(ordered);
  }

  /// Puts the operation on a stream.
  template <typename Operation>
  Status enqueue(const char* what, const at::Tensor& tensor, c10::cuda::CUDAStream on, Operation operation) {
    std::lock_guard lock(mutex_);
    if (!failure_) return failure_.error();
    if (tensor.numel() == 0) return {};
    const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device_));
    const cudaStream_t stream = on.stream();
    if (Status started = settle(comm_, operation(stream), what, timeout_); !started) return fail(started);
    cudaStreamCaptureStatus recording = cudaStreamCaptureStatusNone;
    if (Status asked = cuda_status(cudaStreamIsCapturing(stream, &recording), "tell a stream's state"); !asked)
      return fail(asked);
    return recording == cudaStreamCaptureStatusNone ? watch_end(stream) : Status();  // watch() is called when it runs
  }

  /// Under the mutex: lets the watcher see when the stream has done what it was given.
  Status watch_end(cudaStream_t stream) {
    cudaEvent_t event = nullptr;
    if (spare_.empty()) {
      if (Status made = cuda_status(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "make an event"); !made)
        return fail(made);
    } else {
      event = spare_.back();
      spare_.pop_back();
    }
    in_flight_.push_back({event, clock::now()});
    if (Status recorded = cuda_status(cudaEventRecord(event, stream), "record an event"); !recorded)
      return fail(recorded);
    return {};
  }

  /// The watcher's thread: an operation that fails or hangs is aborted, which frees a main thread that waits for the
  /// device.
  void look() {
    cudaSetDevice(device_);
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait_for(lock, kLook);
      if (ending_ || !failure_) return;
      ncclResult_t code = ncclSuccess;
      ncclCommGetAsyncError(comm_, &code);
      if (code != ncclSuccess && code != ncclInProgress) {
        (void)fail(nccl_error(code, comm_, "finish an operation"));
        continue;
      }
      while (!in_flight_.empty()) {
        const cudaError_t state = cudaEventQuery(in_flight_.front().event);
        if (state == cudaErrorNotReady) break;
        if (Status done = cuda_status(state, "finish an operation of NCCL"); !done) {
          (void)fail(done);
          break;
        }
        spare_.push_back(in_flight_.front().event);
        in_flight_.pop_front();
      }
      if (failure_ && !in_flight_.empty() && clock::now() - in_flight_.front().since > timeout_) {
        (void)fail(
            error("an operation of NCCL did not end within {} s: another rank hangs or its host cannot be reached",
                  timeout_.count()));
      }
    }
  }

  /// Under the mutex. What the aborted operations leave in their tensors is worth nothing: every later operation fails.
  Status fail(const Status& failure) {
    failure_ = failure;
    ncclCommAbort(comm_);
    comm_ = nullptr;
    return failure_;
  }

  ncclComm_t comm_;
  const std::chrono::seconds timeout_;
  int rank_, size_, device_;
  const c10::cuda::CUDAStream own_;  // of the sums
  std::thread watcher_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool ending_ = false;
  Status failure_;
  std::deque<InFlight> in_flight_;
  std::vector<cudaEvent_t> spare_;
  cudaEvent_t ordering_ = nullptr;  // may be recorded anew at once: a stream waits for the record that it was given
};

}  // namespace

Result<std::unique_ptr<Collective>> make_nccl_collective(int device, std::chrono::seconds timeout) {
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  // Every rank comes to the broadcast, whatever it has found by then: a rank that stayed away would hang the others.
  int devices = 0;
  Status usable = cuda_status(cudaGetDeviceCount(&devices), "list its devices");
  if (!usable) {
    usable = error("{}; install NVIDIA's driver for CUDA 13 where there is a GPU, or start with --device cpu",
                   usable.error().message);
  }
  if (usable && device >= devices) {
    usable = error("rank {} wants CUDA device {}, but its host has {}: start at most one rank per GPU", rank, device,
                   devices);
  }
  if (usable) usable = cuda_status(cudaSetDevice(device), "choose the rank's device");
  struct {
    ncclUniqueId id;
    ncclResult_t code;
  } offer{};
  if (rank == 0) offer.code = ncclGetUniqueId(&offer.id);
  if (Status sent = mpi_broadcast(&offer, sizeof offer); !sent) return sent.error();
  int all_usable = usable && offer.code == ncclSuccess;
  MPI_Request request = MPI_REQUEST_NULL;
  const int code = MPI_Iallreduce(MPI_IN_PLACE, &all_usable, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD, &request);
  if (Status started = mpi_status(code, "agree on the devices"); !started) return started.error();
  if (Status agreed = mpi_wait(request, "agree on the devices"); !agreed) return agreed.error();
  if (!usable) return usable.error();
  if (offer.code != ncclSuccess) return nccl_error(offer.code, nullptr, "make a unique id");
  if (!all_usable) return error("another rank of the gang has no usable CUDA device");

  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  const ncclResult_t started = ncclCommInitRankConfig(&comm, size, offer.id, rank, &config);
  if (Status joined = settle(comm, started, "connect the ranks", timeout); !joined) {
    if (comm != nullptr) ncclCommAbort(comm);
    return joined.error();
  }
  return std::unique_ptr<Collective>(std::make_unique<Nccl>(comm, rank, size, device, timeout));
}

Result<RawSum> make_raw_nccl_sum(const Collective& collective) {
  ncclUniqueId id{};
  ncclResult_t code = collective.rank() == 0 ? ncclGetUniqueId(&id) : ncclSuccess;
  if (Status sent = mpi_broadcast(&id, sizeof id); !sent) return sent.error();
  ncclComm_t comm = nullptr;
  if (code == ncclSuccess) code = ncclCommInitRank(&comm, collective.size(), id, collective.rank());
  if (code != ncclSuccess) return nccl_error(code, comm, "connect the ranks");
  const std::shared_ptr<ncclComm> owned(comm, ncclCommDestroy);
  return RawSum([owned](const at::Tensor& tensor) -> Status {
    const cudaStream_t stream = c10::cuda::getCurrentCUDAStream(tensor.device().index()).stream();
    const ncclDataType_t type = tensor.scalar_type() == at::kFloat ? ncclFloat32 : ncclFloat64;
    const ncclResult_t summed = ncclAllReduce(tensor.data_ptr(), tensor.data_ptr(), static_cast<size_t>(tensor.numel()),
                                              type, ncclSum, owned.get(), stream);
    return summed == ncclSuccess ? Status() : nccl_error(summed, owned.get(), "all-reduce");
  });
}

}  // namespace hivq

#endif
