#pragma once

// What the benchmarks train: a trial's shape with made-up features, and what a step of it must compute.

#include <string>

#include "common/result.h"
#include "jobs/spec.h"
#include "worker/data/feature_set.h"
#include "worker/model/model.h"

namespace hivq {

struct BenchShape {
  TrialSpec spec;
  InputShape input;
  FeatureSet features;  // two batches of training images, and as many of test images
};

/// paper: the paper's MVTec-AD (15 classes, 272 × 14 × 14 features, D 256, 4 + 4 layers, 5 levels of 512 prototypes).
/// quick: jobs/specs/quick.yaml (5 classes, 192 × 4 × 4, D 64, 2 + 2 layers, 3 levels of 64). Both with POT in
/// training. Errors: another name.
Result<BenchShape> bench_shape(const std::string& name, int64_t batch_size, at::Device device);

/// Additions and multiplications of one image: dense layers, attention, distances to the prototypes.
struct StepCost {
  double differentiable = 0;  // of the forward pass; backward does twice as many
  double constant = 0;        // of the forward pass alone

  double forward() const { return differentiable + constant; }
  double step() const { return 3 * differentiable + constant; }
};
StepCost step_cost(const BenchShape& shape);

/// The reference: additions and multiplications per second of at::mm on large matrices of float32, or of bfloat16, at its
/// best of several runs.
double matmul_rate(at::Device device, bool bfloat16 = false);

}  // namespace hivq
