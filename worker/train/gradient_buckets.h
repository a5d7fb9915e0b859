#pragma once

// The all-reduce of a step beside its backward pass: gradients are summed over the ranks in buckets, each as soon as
// backward has finished it.

#include <memory>

#include "common/result.h"
#include "worker/collective/collective.h"
#include "worker/model/model.h"

namespace hivq {

/// Bytes of gradients that are summed at once: large enough that an exchange is not all latency, small enough that the
/// last one, which nothing hides, is short.
inline constexpr int64_t kBucketBytes = 4 << 20;
/// On GPUs, where a sum costs more to begin: in buckets of 4 MiB NCCL took 1.46 times as long as for all at once.
inline constexpr int64_t kGpuBucketBytes = 25 << 20;
inline int64_t bucket_bytes(at::Device device) { return device.is_cuda() ? kGpuBucketBytes : kBucketBytes; }

/// Watches the parameters of one model, whose gradients must stay where they are. The buckets are runs of `gradients`
/// from its end on, since backward comes to the last layers first; they are begun in this order on every rank.
class GradientBuckets {
 public:
  GradientBuckets(const Model& model, Collective& collective, int64_t bytes);
  ~GradientBuckets();

  /// Before backward.
  void arm();
  /// After it, and on a rank that has no images: begins what is left.
  Status begin_rest();

 private:
  class Watch;
  std::shared_ptr<Watch> watch_;
  std::vector<at::Tensor> parameters_;
};

}  // namespace hivq
