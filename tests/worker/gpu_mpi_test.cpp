// What a GPU computes, beside the CPU; on machines without one, that the kernels compile.

#include <ATen/Context.h>

#include "tests/worker/model_fixture.h"
#include "worker/gang/device.h"
#include "worker/gpu/kernels.h"
#include "worker/train/recorded_steps.h"

namespace hivq {
namespace {

TEST(GpuProgram, CompilesForEveryArchitectureInUse) {
  if (World::join().value().size() > 1) GTEST_SKIP() << "one rank is enough";
#ifdef HIVQ_CUDA
  for (const std::string& name : all_gpu_kernels()) {
    const auto program = compile_gpu_kernel("sm_90", name);
    ASSERT_TRUE(program) << program.error().message;
    EXPECT_NE(program->code.find(program->symbol), std::string::npos);
  }
  for (const char* architecture : {"sm_75", "sm_80", "sm_86", "sm_89", "sm_100", "sm_120"}) {
    for (const char* name : {"residual_norm<float, Bfloat16, 8>", "attend_backward_keys<float, Bfloat16, 32>",
                             "codebook_statistics<float, float>", "adamw<float, float>"}) {
      const auto program = compile_gpu_kernel(architecture, name);
      EXPECT_TRUE(program) << program.error().message;
    }
  }
  EXPECT_NE(compile_gpu_kernel("sm_1", "adamw<float, float>").error().message.find("sm_1"), std::string::npos);
#else
  EXPECT_FALSE(compile_gpu_kernel("sm_90", "adamw<float, float>"));
#endif
}

class Gpu : public testing::Test {
 protected:
  std::unique_ptr<Collective> gpu, cpu;
  std::vector<TrialSpec> specs{2, small_trial()};

  void SetUp() override {
    if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "this machine has no GPU";
    const World world = World::join().value();
    auto made = make_collective(DeviceChoice::cuda, world);
    if (!made) GTEST_SKIP() << made.error().message;  // more ranks than GPUs
    gpu = std::move(*made);
    cpu = world.size() == 1 ? make_single_collective() : make_mpi_collective();
    specs[1].train.seed = 9, specs[1].model.dropout = 0.4, specs[1].train.weight_decay = 0.1;
  }

  /// After `steps` of 8 images each, of which every third is of another shape.
  Training trained(Collective& collective, at::ScalarType type, int steps, bool records = true) {
    const at::Device device = collective.device();
    FeatureSet features = made_up_features(12, 1, 3, type);
    features = move_to(std::move(features), device).value();
    Training training = make_training(specs, {6, 3, 3}, features.train.options());
    training.records = records;
    for (int i = 0; i < steps; ++i) {
      const std::vector<int64_t> images =
          i % 3 == 2 ? std::vector<int64_t>{0, 3, 5, 7} : std::vector<int64_t>{0, 3, 5, i % 12, 1, 2, 4, 9};
      const std::vector<StepSetting> settings = {{1e-3 / (i + 1)}, {2e-3}};
      const Batch batch = load_batch(features, images, collective.rank(), collective.size(), 2);
      for (const StepReport& report : train_step(training, specs, batch, settings, collective).value()) {
        EXPECT_TRUE(report.applied);
      }
    }
    return training;
  }

  static void expect_same(const Training& a, const Training& b, double tolerance) {
    EXPECT_CLOSE(a.model.values.cpu(), b.model.values.cpu(), tolerance);
    EXPECT_CLOSE(a.distance.cpu(), b.distance.cpu(), tolerance);
    for (size_t level = 0; level < a.use.size(); ++level) {
      EXPECT_CLOSE(a.use[level].cpu(), b.use[level].cpu(), 0);
      EXPECT_CLOSE(a.model.codebooks[level].embed.cpu(), b.model.codebooks[level].embed.cpu(), tolerance);
      EXPECT_CLOSE(a.model.codebooks[level].cluster_size.cpu(), b.model.codebooks[level].cluster_size.cpu(), tolerance);
    }
  }
};

TEST_F(Gpu, DropoutsKernelGivesTheMaskOfTheTensorOperations) {
  const at::Tensor step = at::full({}, int64_t{4000000000}, at::TensorOptions(gpu->device()).dtype(at::kLong));
  for (const auto type : {at::kFloat, at::kDouble}) {
    Dropout dropout{{{0.1, 0xfedcba9876543210, 4000000000u, 5}, {0.5, 3, 4000000000u, 0}}, 3, step};
    const at::Tensor x = at::randn({6, 1000}, at::TensorOptions(gpu->device()).dtype(type));
    const at::Tensor mask = dropout_mask(dropout, x);
    dropout.step = at::Tensor();
    EXPECT_TRUE(at::equal(mask.cpu(), dropout_mask(dropout, x.cpu())));
    dropout.step = step;
    EXPECT_TRUE(at::equal(dropout(x), x * mask));
  }
}

TEST_F(Gpu, StepsAreTheCpus) { expect_same(trained(*gpu, at::kDouble, 12), trained(*cpu, at::kDouble, 12), 1e-8); }

TEST_F(Gpu, RecordedStepsAreTheSameBits) {
  const Training recorded = trained(*gpu, at::kFloat, 15), plain = trained(*gpu, at::kFloat, 15, false);
  EXPECT_EQ(recorded.recorded->refusal(), "");
  EXPECT_EQ(recorded.recorded->recorded(), 2);
  expect_same(recorded, plain, 0);
}

TEST_F(Gpu, InBfloat16StepsTrain) {
  for (TrialSpec& spec : specs) spec.train.precision = "bfloat16";
  expect_same(trained(*gpu, at::kFloat, 9), trained(*cpu, at::kFloat, 9), 0.05);
}

}  // namespace
}  // namespace hivq
