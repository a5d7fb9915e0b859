#pragma once

// Work that a GPU does again and again, recorded once (a CUDA graph) and then started as a whole: a step is some
// thousand kernels, each of which takes the CPU longer to start than the GPU to run.

#include <functional>
#include <memory>

#include "common/result.h"

namespace hivq {

class Recording {
 public:
  virtual ~Recording() = default;

  /// Puts the work on the current stream. `work` must do the same each time: it reads and writes memory that stays
  /// where it is, and asks the device for nothing. It is called as it is for the first kWarmUp times, then once to be
  /// recorded, and never again; where it cannot be recorded, each time, and `refusal` says why.
  virtual Status run(const std::function<Status()>& work) = 0;

  virtual bool recorded() const = 0;
  virtual const std::string& refusal() const = 0;

  /// Libraries set themselves up at their first calls, which cannot be recorded.
  static constexpr int kWarmUp = 3;
};

/// On the GPU `device`; nothing where the worker was built without CUDA.
std::unique_ptr<Recording> make_recording(int device);

}  // namespace hivq
