#include "worker/train/recorded_steps.h"

#include <torch/torch.h>

#include <algorithm>

namespace hivq {

bool RecordedSteps::Shape::takes(std::span<const TrialSpec> of, const StepInput& like) const {
  return std::ranges::equal(specs, of) && input.batch.h0.sizes() == like.batch.h0.sizes() &&
         input.batch.first == like.batch.first && input.batch.trials == like.batch.trials &&
         input.batch.global_images() == like.batch.global_images();
}

RecordedSteps::Shape& RecordedSteps::shape_of(std::span<const TrialSpec> specs, const StepInput& input) {
  for (Shape& shape : shapes_) {
    if (shape.takes(specs, input)) return shape;
  }
  const auto like = [](const at::Tensor& tensor) { return tensor.defined() ? at::empty_like(tensor) : tensor; };
  Shape& fresh = shapes_.emplace_back();
  fresh.specs.assign(specs.begin(), specs.end());
  fresh.input = {input.batch, like(input.noise), like(input.numbers)};
  fresh.input.batch.h0 = like(input.batch.h0);
  fresh.input.batch.classes = like(input.batch.classes);
  fresh.recording = make_recording(input.batch.h0.device().index());
  return fresh;
}

Result<StepOutput> RecordedSteps::run(std::span<const TrialSpec> specs, const StepInput& input, Collective& collective,
                                      const Put& put) {
  Shape& shape = shape_of(specs, input);
  if (!shape.recording) return put(input);
  shape.input.batch.h0.copy_(input.batch.h0);
  shape.input.batch.classes.copy_(input.batch.classes);
  shape.input.batch.global_classes = input.batch.global_classes;
  if (input.noise.defined()) shape.input.noise.copy_(input.noise);
  shape.input.numbers.copy_(input.numbers);
  const bool refused = !shape.recording->refusal().empty();
  const Status done = shape.recording->run([&]() -> Status {
    Result<StepOutput> output = put(shape.input);
    if (!output) return output.error();
    shape.output = std::move(*output);
    return {};
  });
  if (!done) return done.error();
  if (!refused && !shape.recording->refusal().empty()) {
    fmt::print(stderr,
               "hivq: steps of this trial do not run as a CUDA graph but kernel by kernel, which is slower: {}\n",
               shape.recording->refusal());
  }
  if (shape.recording->recorded()) {
    if (Status watched = collective.watch(); !watched) return watched.error();
  }
  return shape.output;
}

std::string RecordedSteps::refusal() const {
  for (const Shape& shape : shapes_) {
    if (shape.recording && !shape.recording->refusal().empty()) return shape.recording->refusal();
  }
  return {};
}

int RecordedSteps::recorded() const {
  return static_cast<int>(std::ranges::count_if(
      shapes_, [](const Shape& shape) { return shape.recording && shape.recording->recorded(); }));
}

}  // namespace hivq
