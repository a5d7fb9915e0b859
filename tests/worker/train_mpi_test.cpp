// N ranks × B/N images = 1 rank × B images: each test runs the same trial on the whole gang, and on this rank alone.

#include "tests/worker/trial_fixture.h"
#include "worker/eval/evaluate.h"
#include "worker/train/checkpoint.h"

namespace hivq {
namespace {

class RankInvariance : public testing::Test {
 protected:
  // 5 steps an epoch of 7 images, which 2 and 4 ranks cannot split evenly; the last of 2 images leaves ranks without.
  FeatureSet features = made_up_features(30, 41, 3, at::kDouble);
  TrialSpec spec = small_trial();
  int64_t bucket_bytes = kBucketBytes;
  std::unique_ptr<Collective> gang = make_mpi_collective(), alone = make_single_collective();

  Training trained(Collective& collective, std::vector<double>* losses = nullptr) {
    Training training = make_training(std::span(&spec, 1), {6, 3, 3}, features.train.options());
    training.buckets = std::make_shared<GradientBuckets>(training.model, collective, bucket_bytes);
    for (int64_t first = 0; first < 30; first += 7) {
      const std::vector<int64_t> order = epoch_order(30, 1, 0);
      const auto images =
          std::span(order).subspan(static_cast<size_t>(first), static_cast<size_t>(std::min<int64_t>(7, 30 - first)));
      const Batch batch = load_batch(features, images, collective.rank(), collective.size());
      const auto report = step_alone(training, spec, batch, 1e-2, collective).value();
      if (losses) {
        const Losses& l = report.losses;
        losses->insert(losses->end(),
                       {l.total, l.reconstruction, l.commitment, l.pot, l.classification, l.gradient_norm});
      }
    }
    return training;
  }
};

TEST_F(RankInvariance, LossesGradientsParametersAndCodebooks) {
  for (const bool switching : {true, false}) {
    spec.model.quantizer.codebook_switching = spec.model.expert_switching = switching;
    std::vector<double> losses, expected_losses;
    const Training training = trained(*gang, &losses), expected = trained(*alone, &expected_losses);
    EXPECT_CLOSE(at::tensor(losses, at::kDouble), at::tensor(expected_losses, at::kDouble), 1e-10);
    EXPECT_CLOSE(training.model.gradients, expected.model.gradients, 1e-9);
    EXPECT_CLOSE(training.model.values, expected.model.values, 1e-8);
    for (size_t level = 0; level < 3; ++level) {
      EXPECT_CLOSE(training.model.codebooks[level].embed, expected.model.codebooks[level].embed, 1e-8);
      EXPECT_CLOSE(training.model.codebooks[level].cluster_size, expected.model.codebooks[level].cluster_size, 1e-9);
      EXPECT_TRUE(at::equal(training.use[level], expected.use[level]));
    }
  }
}

/// Each rank rounds its part of the gradient.
TEST_F(RankInvariance, InBfloat16WithinItsRounding) {
  spec.train.precision = "bfloat16";
  std::vector<double> losses, expected_losses;
  const Training training = trained(*gang, &losses), expected = trained(*alone, &expected_losses);
  EXPECT_NEAR(losses[0], expected_losses[0], 1e-9) << "the first forward pass is the same";
  EXPECT_CLOSE(at::tensor(losses, at::kDouble), at::tensor(expected_losses, at::kDouble), 0.05);
}

/// Buckets that are begun while backward runs, on some ranks without images at all.
TEST_F(RankInvariance, GradientsInBucketsOfAnySize) {
  const Training expected = trained(*alone);
  for (const int64_t bytes : {1, 1000, 1 << 20}) {
    bucket_bytes = bytes;
    const Training training = trained(*gang);
    EXPECT_CLOSE(training.model.gradients, expected.model.gradients, 1e-9) << bytes;
    EXPECT_CLOSE(training.model.values, expected.model.values, 1e-8) << bytes;
  }
}

TEST_F(RankInvariance, JitterAndRevivedPrototypes) {
  spec.model.jitter = 5, spec.model.quantizer.revive_below = 0.5;  // most start dead: n is 0
  const Training training = trained(*gang), expected = trained(*alone);
  EXPECT_CLOSE(training.model.values, expected.model.values, 1e-8);
  for (size_t level = 0; level < 3; ++level) {
    EXPECT_CLOSE(training.model.codebooks[level].embed, expected.model.codebooks[level].embed, 1e-8);
  }
}

TEST_F(RankInvariance, ReplicasHoldTheSameBits) {
  Training training = trained(*gang);
  std::vector<at::Tensor> state = {training.model.values, training.optimizer.exp_avg, training.optimizer.exp_avg_sq};
  for (const Codebook& codebook : training.model.codebooks) state.push_back(codebook.embed);
  for (const at::Tensor& mine : state) {
    at::Tensor first = mine.clone();
    ASSERT_TRUE(gang->broadcast(first));
    EXPECT_TRUE(at::equal(first, mine));
  }
}

TEST_F(RankInvariance, Evaluation) {
  const Training training = trained(*alone);
  const auto shared = evaluate(training.model, spec, features, *gang).value().metrics;
  const auto whole = evaluate(training.model, spec, features, *alone).value().metrics;
  ASSERT_EQ(shared.size(), whole.size());
  for (const auto& [name, value] : whole) EXPECT_NEAR(shared.at(name), value, 1e-9) << name;
}

TEST_F(RankInvariance, WholeTrial) {
  for (const char* start : {"normal", "data"}) {
    spec.model.quantizer.start = start;
    std::vector<double> curves[2];
    for (int i = 0; i < 2; ++i) {
      TrialHooks hooks;
      hooks.metrics = [&](int64_t, const std::map<std::string, double>& values) {
        for (const auto& [name, value] : values) {
          if (name != "images_per_second") curves[i].push_back(value);
        }
      };
      const auto outcome = run_alone(spec, features, i == 0 ? *gang : *alone, {}, hooks);
      ASSERT_TRUE(outcome) << outcome.error().message;
      EXPECT_EQ(outcome->end, TrialOutcome::End::finished);
    }
    if (gang->rank() > 0) {
      EXPECT_TRUE(curves[0].empty());  // rank 0 alone tells
      continue;
    }
    ASSERT_EQ(curves[0].size(), curves[1].size());
    EXPECT_CLOSE(at::tensor(curves[0], at::kDouble), at::tensor(curves[1], at::kDouble), 1e-6);
  }
}

TEST_F(RankInvariance, APackOfTrials) {
  std::vector<TrialSpec> specs(3, spec);
  specs[1].train.seed = 4, specs[2].train.lr = 1e-2;
  std::map<std::string, std::vector<double>> curves[2];
  for (int i = 0; i < 2; ++i) {
    std::vector<TrialRun> runs;
    for (size_t t = 0; t < specs.size(); ++t) {
      TrialHooks hooks;
      hooks.metrics = [&, i, t](int64_t, const std::map<std::string, double>& values) {
        for (const auto& [name, value] : values) {
          if (name != "images_per_second") curves[i][fmt::format("{} {}", t, name)].push_back(value);
        }
      };
      runs.push_back(run_of(specs[t], hooks));
    }
    const auto outcomes = run_trials(runs, features, i == 0 ? *gang : *alone);
    ASSERT_TRUE(outcomes) << outcomes.error().message;
    for (const TrialOutcome& outcome : *outcomes) EXPECT_EQ(outcome.end, TrialOutcome::End::finished);
  }
  if (gang->rank() > 0) return;
  ASSERT_EQ(curves[0].size(), curves[1].size());
  for (const auto& [name, curve] : curves[1]) {
    EXPECT_CLOSE(at::tensor(curves[0].at(name), at::kDouble), at::tensor(curve, at::kDouble), 1e-6) << name;
  }
}

TEST_F(RankInvariance, PicturesOfTestImagesComeFromRankZeroAlone) {
  features.test_image = [](int64_t i) -> Result<at::Tensor> { return at::full({48, 48, 3}, i, at::kByte); };
  std::vector<PictureItem> pictures[2];
  for (int i = 0; i < 2; ++i) {
    TrialHooks hooks;
    hooks.picture = [&, i](PictureItem picture) { pictures[i].push_back(std::move(picture)); };
    ASSERT_TRUE(run_alone(spec, features, i == 0 ? *gang : *alone, {}, hooks));
  }
  EXPECT_EQ(pictures[1].size(), 4u) << "of each class";
  if (gang->rank() > 0) {
    EXPECT_TRUE(pictures[0].empty());
    return;
  }
  ASSERT_EQ(pictures[0].size(), pictures[1].size());
  for (size_t i = 0; i < pictures[1].size(); ++i) {
    EXPECT_EQ(pictures[0][i].name, pictures[1][i].name);
    EXPECT_EQ(pictures[0][i].image, pictures[1][i].image);
    EXPECT_NEAR(pictures[0][i].score, pictures[1][i].score, 1e-5);
  }
}

TEST_F(RankInvariance, ResumedFromRankZerosBytesIsBitIdentical) {
  std::map<int64_t, std::string> checkpoints;
  TrialHooks hooks;
  hooks.checkpoint = [&](int64_t step, std::string bytes) { checkpoints[step] = std::move(bytes); };
  ASSERT_TRUE(run_alone(spec, features, *gang, {}, hooks));
  const std::map<int64_t, std::string> straight = checkpoints;
  EXPECT_EQ(straight.size(), gang->rank() == 0 ? 3u : 0u);
  checkpoints.clear();
  const auto outcome = run_alone(spec, features, *gang, gang->rank() == 0 ? straight.at(5) : "not read here", hooks);
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->end, TrialOutcome::End::finished);
  if (gang->rank() == 0) {
    EXPECT_TRUE(checkpoints.at(15) == straight.at(15));
  }
}

TEST_F(RankInvariance, EveryRankAgreesOnAStop) {
  TrialHooks hooks;
  int asked = 0;
  hooks.wish = [&] { return ++asked == 4 ? Wish::stop : Wish::go_on; };
  const auto outcome = run_alone(spec, features, *gang, {}, hooks);
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->end, TrialOutcome::End::stopped);
  EXPECT_EQ(asked, gang->rank() == 0 ? 4 : 0);
}

TEST_F(RankInvariance, EveryRankAgreesOnALossThatIsNotFinite) {
  features.train[5][0][0][0] = std::numeric_limits<double>::quiet_NaN();
  const auto outcome = run_alone(spec, features, *gang, {}, {});
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->end, TrialOutcome::End::failed);
  EXPECT_NE(outcome->reason.find("is not finite at step"), std::string::npos) << outcome->reason;
}

}  // namespace
}  // namespace hivq
