#include "worker/train/revive.h"

#include "tests/worker/model_fixture.h"
#include "worker/model/forward.h"

namespace hivq {
namespace {

struct Reviving : testing::Test {
  GoldenCase golden = golden_case("full");
  Training training = golden.training();
  Model& model = training.model;
  Batch batch = golden.batch();  // class 1 is absent
  at::Tensor rows = at::tensor({0, 2}, at::kLong);
  std::unique_ptr<Collective> single = make_single_collective();
  Forward out = [this] {
    Dropout none;
    return forward(model, batch.h0, batch.classes, none);
  }();

  void revive(double below) {
    const Revival revival{below, 3, 9};
    ASSERT_TRUE(revive_prototypes(model, out.levels, batch, rows, std::span(&revival, 1), *single));
  }
};

TEST_F(Reviving, MovesTheDeadToTokensOfTheirClassInTheBatch) {
  for (Codebook& codebook : model.codebooks) {
    codebook.cluster_size.fill_(5);
    codebook.cluster_size[2][1] = 0.4;
  }
  std::vector<at::Tensor> before;
  for (const Codebook& codebook : model.codebooks) before.push_back(codebook.embed.clone());
  revive(0.5);
  for (size_t level = 0; level < model.codebooks.size(); ++level) {
    const Codebook& codebook = model.codebooks[level];
    bool found = false;
    for (int64_t image = 0; image < batch.classes.numel(); ++image) {
      if (batch.classes[image].item<int64_t>() != 2) continue;
      for (int64_t token = 0; token < model.tokens(); ++token) {
        found |= at::equal(out.levels[level].tokens[image][token], codebook.embed[2][1]);
      }
    }
    EXPECT_TRUE(found) << level;
    EXPECT_EQ(codebook.cluster_size[2][1].item<double>(), 0.5);
    EXPECT_CLOSE(codebook.embed_avg[2][1], codebook.embed[2][1] * 0.5, 1e-15);
    EXPECT_CLOSE(codebook.squared_norm, codebook.embed.square().sum(2), 1e-12);
    at::Tensor others = codebook.embed.clone();
    others[2][1] = before[level][2][1];
    EXPECT_TRUE(at::equal(others, before[level])) << "the living stay";
  }
}

TEST_F(Reviving, LeavesAbsentClassesAndTheLivingAlone) {
  for (Codebook& codebook : model.codebooks) codebook.cluster_size.fill_(5), codebook.cluster_size[1].fill_(0);
  std::vector<at::Tensor> before;
  for (const Codebook& codebook : model.codebooks) before.push_back(codebook.embed.clone());
  revive(0.5);
  for (size_t level = 0; level < before.size(); ++level) {
    EXPECT_TRUE(at::equal(model.codebooks[level].embed, before[level]));
  }
}

TEST_F(Reviving, EveryPrototypeIsUsedBeforeLong) {
  GoldenCase fresh = golden_case("full");
  fresh.spec.model.quantizer.revive_below = 0.02;
  fresh.spec.model.quantizer.prototypes = 4;
  Training with = fresh.training();
  for (Codebook& codebook : with.model.codebooks) {
    codebook.embed.add_(1000);  // no token comes near
    codebook.cluster_size.fill_(0.01);
    codebook.embed_avg.copy_(codebook.embed * 0.01);
    refresh(codebook);
  }
  for (int step = 0; step < 80; ++step) {
    for (const at::Tensor& use : with.use) use.zero_();
    ASSERT_TRUE(step_alone(with, fresh.spec, batch, 1e-3, *single)->applied);
  }
  EXPECT_GT(codebook_health(with.use[2]).live, 0.7);
  EXPECT_LT(with.model.codebooks[2].embed[0].max().item<double>(), 100);
}

}  // namespace
}  // namespace hivq
