#include "worker/train/gradient_buckets.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/torch.h>

#include "worker/gpu/branch.h"

namespace hivq {

/// Counts the parameters of each bucket that backward has finished.
class GradientBuckets::Watch {
 public:
  Watch(Collective& collective, const at::Tensor& gradients, const std::vector<at::Tensor>& parameters, int64_t bytes)
      : collective_(collective) {
    const int64_t trials = gradients.size(0);
    const auto width = static_cast<int64_t>(gradients.element_size());
    int64_t end = gradients.size(1), begin = end, members = 0;
    bucket_of_.resize(parameters.size());
    for (size_t i = parameters.size(); i-- > 0;) {
      begin -= parameters[i].numel() / trials;
      bucket_of_[i] = buckets_.size();
      ++members;
      if ((end - begin) * trials * width < bytes && i > 0) continue;
      Bucket bucket{members, 0, {}};
      for (int64_t trial = 0; trial < trials; ++trial) {
        bucket.parts.push_back(gradients[trial].narrow(0, begin, end - begin));
      }
      buckets_.push_back(std::move(bucket));
      end = begin, members = 0;
    }
  }

  void arm() {
    next_ = 0;
    failure_ = {};
    for (Bucket& bucket : buckets_) bucket.missing = bucket.members;
  }

  void finished(size_t parameter) {
    if (next_ == buckets_.size()) return;  // not armed: a gradient of something else
    --buckets_[bucket_of_[parameter]].missing;
    while (next_ < buckets_.size() && buckets_[next_].missing <= 0) begin_next();
    if (failure_) failure_ = collective_.progress();
  }

  Status begin_rest() {
    while (next_ < buckets_.size()) begin_next();
    return failure_;
  }

 private:
  struct Bucket {
    int64_t members = 0, missing = 0;
    std::vector<at::Tensor> parts;  // of each trial
  };

  void begin_next() {
    join_beside(collective_.device());
    for (const at::Tensor& part : buckets_[next_].parts) {
      if (failure_) failure_ = collective_.begin_sum(part);
    }
    ++next_;
  }

  Collective& collective_;
  std::vector<Bucket> buckets_;    // in the order in which they are begun
  std::vector<size_t> bucket_of_;  // each parameter's
  size_t next_ = 0;
  Status failure_;
};

namespace {

/// Called by autograd when a parameter's gradient is complete.
struct Hook final : torch::autograd::PostAccumulateGradHook {
  explicit Hook(std::function<void()> call) : call_(std::move(call)) {}
  void operator()(const torch::autograd::Variable&) override { call_(); }
  std::function<void()> call_;
};

}  // namespace

GradientBuckets::GradientBuckets(const Model& model, Collective& collective, int64_t bytes)
    : parameters_(parameters_of(model)) {
  watch_ = std::make_shared<Watch>(collective, model.gradients, parameters_, bytes);
  if (collective.size() == 1) return;  // nothing to hide
  for (size_t i = 0; i < parameters_.size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameters_[i],
                                                   std::make_unique<Hook>([watch = watch_, i] { watch->finished(i); }));
  }
}

GradientBuckets::~GradientBuckets() {
  for (const at::Tensor& parameter : parameters_) torch::autograd::impl::set_post_acc_grad_hooks(parameter, nullptr);
}

void GradientBuckets::arm() { watch_->arm(); }

Status GradientBuckets::begin_rest() { return watch_->begin_rest(); }

}  // namespace hivq
