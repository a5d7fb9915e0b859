#include "worker/train/step.h"

#include <ATen/record_function.h>

#include <numeric>

#include "tests/worker/model_fixture.h"
#include "worker/model/cpu_kernels.h"

namespace hivq {
namespace {

constexpr double kTolerance = 1e-8;

class StepParity : public testing::TestWithParam<std::string> {
 protected:
  GoldenCase golden = golden_case(GetParam());
  Training training = golden.training();
  std::unique_ptr<Collective> single = make_single_collective();

  StepReport step() { return step_alone(training, golden.spec, golden.batch(), golden.spec.train.lr, *single).value(); }
};
INSTANTIATE_TEST_SUITE_P(, StepParity, testing::Values("full", "single"), [](const auto& i) { return i.param; });

TEST_P(StepParity, LossesAreTheReferences) {
  const Losses losses = step().losses;
  EXPECT_NEAR(losses.total, golden["loss.total"].item<double>(), kTolerance);
  EXPECT_NEAR(losses.reconstruction, golden["loss.reconstruction"].item<double>(), kTolerance);
  EXPECT_NEAR(losses.commitment, golden["loss.commitment"].item<double>(), kTolerance);
  EXPECT_NEAR(losses.classification, golden["loss.classification"].item<double>(), kTolerance);
  if (golden.spec.loss.pot > 0) {
    EXPECT_NEAR(losses.pot, golden["loss.pot"].item<double>(), kTolerance);
  }
  EXPECT_NEAR(losses.gradient_norm, golden["grad_norm"].item<double>(), kTolerance);
}

TEST_P(StepParity, GradientsAreTheReferences) {
  golden.spec.train.clip = 0;
  step();
  for (const NamedTensor& gradient : named_gradients(training.model)) {
    EXPECT_CLOSE(gradient.tensor, golden["grad." + gradient.name], kTolerance) << gradient.name;
  }
}

TEST_P(StepParity, ParametersAndCodebooksAfterTheStepAreTheReferences) {
  EXPECT_TRUE(step().applied);
  EXPECT_EQ(training.step, 1);
  for (const NamedTensor& parameter : named_parameters(training.model)) {
    EXPECT_CLOSE(parameter.tensor, golden["after." + parameter.name], kTolerance) << parameter.name;
  }
  for (const NamedTensor& buffer : named_codebooks(training.model)) {
    EXPECT_CLOSE(buffer.tensor, golden["after." + buffer.name], kTolerance) << buffer.name;
  }
}

TEST_P(StepParity, AStoppedStepChangesNothing) {
  const at::Tensor values = training.model.values.clone(), embed = training.model.codebooks[0].embed.clone();
  const StepReport report = step_alone(training, golden.spec, golden.batch(), 1, *single, Wish::stop).value();
  EXPECT_EQ(report.wish, Wish::stop);
  EXPECT_FALSE(report.applied);
  EXPECT_EQ(training.step, 0);
  EXPECT_TRUE(at::equal(training.model.values, values));
  EXPECT_TRUE(at::equal(training.model.codebooks[0].embed, embed));
}

TEST_P(StepParity, AStepThatIsNotFiniteChangesNothingAndNamesTheLoss) {
  const at::Tensor values = training.model.values.clone(), embed = training.model.codebooks[0].embed.clone();
  Batch batch = golden.batch();
  batch.h0 = batch.h0.clone();
  batch.h0[0][0][0] = std::numeric_limits<double>::quiet_NaN();
  const StepReport report = step_alone(training, golden.spec, batch, 1, *single).value();
  EXPECT_FALSE(report.applied);
  EXPECT_EQ(report.losses.not_finite(), "the reconstruction loss");
  EXPECT_TRUE(at::equal(training.model.values, values));
  EXPECT_TRUE(at::equal(training.model.codebooks[0].embed, embed));
}

/// bfloat16 has 8 bits: losses and gradient are float32's within them; what training keeps stays exact.
TEST(Step, InBfloat16KeepsValuesAndCodebooksInFloat32) {
  const FeatureSet features = made_up_features(12, 1, 3, at::kFloat);
  std::vector<int64_t> images(12);
  std::iota(images.begin(), images.end(), 0);
  const Batch batch = load_batch(features, images, 0, 1);
  const auto single = make_single_collective();
  const auto stepped = [&](const char* precision, StepReport& report) {
    TrialSpec spec = small_trial();
    spec.train.precision = precision, spec.train.clip = 0;
    Training training = make_training(std::span(&spec, 1), {6, 3, 3}, at::kFloat);
    report = step_alone(training, spec, batch, 1e-3, *single).value();
    return training;
  };
  StepReport exact, rounded;
  const Training expected = stepped("float32", exact), training = stepped("bfloat16", rounded);
  EXPECT_TRUE(rounded.applied);
  EXPECT_NE(rounded.losses.total, exact.losses.total);
  EXPECT_NEAR(rounded.losses.total, exact.losses.total, 0.02 * exact.losses.total);
  const at::Tensor a = training.model.gradients[0], b = expected.model.gradients[0];
  EXPECT_GT((a.dot(b) / (a.norm() * b.norm())).item<double>(), 0.98);
  EXPECT_EQ(training.model.values.scalar_type(), at::kFloat);
  for (const Codebook& codebook : training.model.codebooks) EXPECT_EQ(codebook.embed.scalar_type(), at::kFloat);
  EXPECT_GT(training.model.values.ne(training.model.values.to(at::kBFloat16).to(at::kFloat)).sum().item<int64_t>(), 0)
      << "master weights are not rounded";
}

/// What a GPU computes: the same step in tensor operations alone.
TEST_P(StepParity, WithoutCpuKernelsToo) {
  const WithoutCpuKernels as_on_a_gpu;
  EXPECT_NEAR(step().losses.total, golden["loss.total"].item<double>(), kTolerance);
  for (const NamedTensor& parameter : named_parameters(training.model)) {
    EXPECT_CLOSE(parameter.tensor, golden["after." + parameter.name], kTolerance) << parameter.name;
  }
  for (const NamedTensor& buffer : named_codebooks(training.model)) {
    EXPECT_CLOSE(buffer.tensor, golden["after." + buffer.name], kTolerance) << buffer.name;
  }
}

/// Three steps of two trials with all that a step can have in it.
struct PairOfTrials {
  FeatureSet features = made_up_features(12, 1, 3, at::kDouble);
  std::vector<TrialSpec> specs{2, small_trial()};
  std::unique_ptr<Collective> single = make_single_collective();
  Training training;

  PairOfTrials() {
    specs[1].train.seed = 9, specs[1].model.dropout = 0.4, specs[1].train.weight_decay = 0.1;
    for (TrialSpec& spec : specs) spec.model.jitter = 3;
    training = make_training(specs, {6, 3, 3}, at::kDouble);
  }
  void step() {
    const std::vector<int64_t> images = {0, 3, 5, 7, 1, 2, 4, 9};
    const std::vector<StepSetting> settings = {{1e-3}, {2e-3}};
    train_step(training, specs, load_batch(features, images, 0, 1, 2), settings, *single).value();
  }
};

TEST(Step, ManyStepsWithoutCpuKernelsAreTheSame) {
  PairOfTrials with, without;
  for (int i = 0; i < 3; ++i) {
    with.step();
    const WithoutCpuKernels as_on_a_gpu;
    without.step();
  }
  EXPECT_CLOSE(without.training.model.values, with.training.model.values, 1e-9);
  EXPECT_CLOSE(without.training.distance, with.training.distance, 1e-9);
  for (size_t level = 0; level < with.training.use.size(); ++level) {
    EXPECT_TRUE(at::equal(without.training.use[level], with.training.use[level]));
    EXPECT_CLOSE(without.training.model.codebooks[level].embed, with.training.model.codebooks[level].embed, 1e-9);
  }
}

/// A GPU would be waited for wherever a step reads a number or makes a tensor whose size depends on one.
TEST(Step, ReadsNothingBackBeforeItsEnd) {
  static thread_local std::vector<std::string> waits;
  static thread_local int inside = 0;
  const auto begin = [](const at::RecordFunction& operation) -> std::unique_ptr<at::ObserverContext> {
    const std::string name = operation.name();
    const bool waits_for = name == "aten::item" || name == "aten::_local_scalar_dense" || name == "aten::nonzero" ||
                           name == "aten::masked_select" || name == "aten::is_nonzero" || name == "aten::equal";
    if (inside == 0 && waits_for) waits.push_back(name);
    // The fused AdamW of CPUs reads its learning rate; that of GPUs does not.
    if (name.starts_with("aten::_fused_adamw_")) ++inside;
    return nullptr;
  };
  const auto end = [](const at::RecordFunction& operation, at::ObserverContext*) {
    if (std::string(operation.name()).starts_with("aten::_fused_adamw_")) --inside;
  };
  const auto handle = at::addThreadLocalCallback(at::RecordFunctionCallback(begin, end));
  PairOfTrials trials;
  waits.clear();
  {
    const WithoutCpuKernels as_on_a_gpu;
    trials.step();
  }
  EXPECT_EQ(waits, std::vector<std::string>());
  trials.training.model.values.sum().item<double>();
  at::removeCallback(handle);
  EXPECT_FALSE(waits.empty()) << "this test sees nothing";
}

TEST(Step, TokensAreRowMajor) {
  const at::Tensor features = at::arange(2 * 3 * 4, at::kFloat).view({2, 3, 2, 2});
  const at::Tensor tokens = tokens_of(features, at::tensor({1, 0}, at::kLong));
  ASSERT_EQ(tokens.sizes(), (std::vector<int64_t>{2, 4, 3}));
  EXPECT_EQ(tokens[0][1][2].item<float>(), features[1][2][0][1].item<float>());
  EXPECT_EQ(tokens[1][2][0].item<float>(), features[0][0][1][0].item<float>());
}

TEST(Step, SharesOfABatchMakeTheBatch) {
  const FeatureSet features = made_up_features(20, 1, 3, at::kFloat);
  const std::vector<int64_t> images = {3, 19, 0, 7, 8};
  const Batch whole = load_batch(features, images, 0, 1);
  for (const int ranks : {1, 2, 3, 5, 8}) {
    std::vector<at::Tensor> h0, classes;
    for (int rank = 0; rank < ranks; ++rank) {
      const Batch part = load_batch(features, images, rank, ranks);
      int64_t before = 0;
      for (const at::Tensor& others : h0) before += others.size(0);
      EXPECT_EQ(part.first, before);
      EXPECT_EQ(part.global_images(), 5);
      EXPECT_EQ(part.global_classes, whole.global_classes);
      h0.push_back(part.h0), classes.push_back(part.classes);
    }
    EXPECT_TRUE(at::equal(at::cat(h0), whole.h0));
    EXPECT_TRUE(at::equal(at::cat(classes), whole.classes));
  }
}

}  // namespace
}  // namespace hivq
