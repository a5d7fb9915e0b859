#pragma once

// A GPU's training steps as graphs: one of each shape, whose input and output have memory of their own
// (gpu/recording.h).

#include <functional>
#include <list>
#include <memory>
#include <span>

#include "worker/collective/collective.h"
#include "worker/gpu/recording.h"
#include "worker/train/step.h"

namespace hivq {

/// All that a step reads beside the model.
struct StepInput {
  Batch batch;
  at::Tensor noise;    // undefined: none
  at::Tensor numbers;  // [n] float64
};

/// What it writes beside the model; a recorded step's is good until the next.
struct StepOutput {
  at::Tensor report;              // [T, 3 + terms] float64: norm, wish, applied, terms of Eq. 1
  std::vector<Quantized> levels;  // empty where the rank has no images
};

class RecordedSteps {
 public:
  using Put = std::function<Result<StepOutput>(const StepInput&)>;

  /// A step by `put`, which is the same for the same specs and shape of the input.
  Result<StepOutput> run(std::span<const TrialSpec> specs, const StepInput& input, Collective& collective,
                         const Put& put);

  /// Why a step could not be recorded; empty: none was refused.
  std::string refusal() const;
  /// How many shapes' steps run as a graph.
  int recorded() const;

 private:
  struct Shape {
    std::vector<TrialSpec> specs;
    StepInput input;
    StepOutput output;
    std::unique_ptr<Recording> recording;

    bool takes(std::span<const TrialSpec> of, const StepInput& like) const;
  };
  Shape& shape_of(std::span<const TrialSpec> specs, const StepInput& input);

  std::list<Shape> shapes_;  // an epoch has two: its last batch may be smaller
};

}  // namespace hivq
