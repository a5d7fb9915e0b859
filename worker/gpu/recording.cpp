#include "worker/gpu/recording.h"

#ifndef HIVQ_CUDA

namespace hivq {

std::unique_ptr<Recording> make_recording(int) { return nullptr; }

}  // namespace hivq

#else

#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>

namespace hivq {
namespace {

class CudaGraph final : public Recording {
 public:
  explicit CudaGraph(int device) : own_(c10::cuda::getStreamFromPool(false, static_cast<c10::DeviceIndex>(device))) {}

  Status run(const std::function<Status()>& work) override {
    if (recorded_) {
      graph_.replay();
      return {};
    }
    // What is recorded must run on a stream of its own, and the calls before it there too: libraries keep memory by
    // stream.
    const c10::cuda::CUDAStream outside = c10::cuda::getCurrentCUDAStream(own_.device_index());
    order(outside, own_);
    Status done;
    {
      const c10::cuda::CUDAStreamGuard guard(own_);
      if (calls_ == kWarmUp && refusal_.empty()) record(work);
      if (recorded_) {
        graph_.replay();
      } else {
        ++calls_;
        done = work();
      }
    }
    order(own_, outside);
    return done;
  }

  bool recorded() const override { return recorded_; }
  const std::string& refusal() const override { return refusal_; }

 private:
  static void order(const c10::cuda::CUDAStream& before, const c10::cuda::CUDAStream& after) {
    at::cuda::CUDAEvent event;
    event.record(before);
    event.block(after);
  }

  /// Other threads may go on to use CUDA meanwhile: autograd's, and the one that watches the collective.
  void record(const std::function<Status()>& work) {
    try {
      graph_.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    } catch (const std::exception& e) {
      refusal_ = e.what();
      return;
    }
    try {
      if (Status done = work(); !done) refusal_ = done.error().message;
    } catch (const std::exception& e) {
      refusal_ = e.what();
    }
    try {
      graph_.capture_end();
    } catch (const std::exception& e) {
      if (refusal_.empty()) refusal_ = e.what();
      cudaGetLastError();
    }
    recorded_ = refusal_.empty();
  }

  at::cuda::CUDAGraph graph_;
  c10::cuda::CUDAStream own_;
  int calls_ = 0;
  bool recorded_ = false;
  std::string refusal_;
};

}  // namespace

std::unique_ptr<Recording> make_recording(int device) { return std::make_unique<CudaGraph>(device); }

}  // namespace hivq

#endif
