#include <filesystem>

#include "tests/worker/trial_fixture.h"

namespace hivq {
namespace {

class RunTrial : public testing::Test {
 protected:
  FeatureSet features = made_up_features(30, 40, 3, at::kFloat);  // 5 steps an epoch, the last of 2 images
  TrialSpec spec = small_trial();
  std::unique_ptr<Collective> single = make_single_collective();
  std::function<Wish()> wish;

  Record run(const std::string& checkpoint = {}, bool warm_start = false) {
    Record record;
    const TrialRun trial = run_of(spec, record.hooks(wish), checkpoint, warm_start);
    const auto outcomes = run_trials(std::span(&trial, 1), features, *single);
    if (!outcomes) panic(outcomes.error().message);
    record.outcome = outcomes->at(0);
    return record;
  }
  std::string failure() {
    const Record record = run();
    EXPECT_EQ(record.outcome.end, TrialOutcome::End::failed);
    return record.outcome.reason;
  }
};

TEST_F(RunTrial, ReportsEveryStepAndEpochAndTheUntrainedModel) {
  const Record record = run();
  EXPECT_EQ(record.outcome.end, TrialOutcome::End::finished);
  EXPECT_EQ(record.curve("loss").size(), 15u);
  EXPECT_EQ(record.curve("codebook_perplexity/2").size(), 3u);
  EXPECT_EQ(record.curve("images_per_second").size(), 3u);
  EXPECT_EQ(record.curve("auroc").size(), 3u);
  EXPECT_EQ(record.metrics.front().first, 0);
  EXPECT_TRUE(record.metrics.front().second.contains("auroc"));
  EXPECT_EQ(record.metrics.back().second, record.outcome.final_);
  EXPECT_EQ(record.checkpoints.size(), 3u);
  EXPECT_TRUE(record.checkpoints.contains(15));
  const std::vector<double> lr = record.curve("lr");
  EXPECT_DOUBLE_EQ(lr[9], 3e-3);
  EXPECT_DOUBLE_EQ(lr[10], 3e-4);
}

TEST_F(RunTrial, SameSpecSameRun) { EXPECT_EQ(run().curve("loss"), run().curve("loss")); }

TEST_F(RunTrial, ResumedFromAnyCheckpointIsBitIdentical) {
  for (const char* start : {"normal", "data"}) {
    spec.model.quantizer.start = start;
    const Record straight = run();
    for (const auto& [step, bytes] : straight.checkpoints) {
      const Record resumed = run(bytes);
      EXPECT_EQ(resumed.curve("loss"), straight.curve("loss", step)) << step;
      EXPECT_EQ(resumed.curve("codebook_distance/1"), straight.curve("codebook_distance/1", step)) << step;
      EXPECT_EQ(resumed.outcome.final_, straight.outcome.final_) << step;
      if (step < 15) {
        EXPECT_TRUE(resumed.checkpoints.at(15) == straight.checkpoints.at(15)) << step;
      }
    }
  }
}

TEST_F(RunTrial, YieldsAtAStepAndGoesOnBitIdentically) {
  const Record straight = run();
  int asked = 0;
  wish = [&] { return ++asked == 7 ? Wish::yield : Wish::go_on; };
  const Record yielded = run();
  EXPECT_EQ(yielded.outcome.end, TrialOutcome::End::yielded);
  EXPECT_EQ(yielded.curve("loss").size(), 7u);
  ASSERT_TRUE(yielded.checkpoints.contains(7));
  wish = {};
  const Record resumed = run(yielded.checkpoints.at(7));
  EXPECT_EQ(resumed.curve("loss"), straight.curve("loss", 7));
  EXPECT_EQ(resumed.curve("codebook_perplexity/2"), straight.curve("codebook_perplexity/2", 7));
  EXPECT_TRUE(resumed.checkpoints.at(15) == straight.checkpoints.at(15));
}

TEST_F(RunTrial, YieldsAtTheLastStepOfAnEpoch) {
  int asked = 0;
  wish = [&] { return ++asked == 5 ? Wish::yield : Wish::go_on; };
  const Record yielded = run();
  wish = {};
  const Record straight = run(), resumed = run(yielded.checkpoints.at(5));
  EXPECT_EQ(resumed.curve("loss"), straight.curve("loss", 5));
  EXPECT_EQ(resumed.curve("auroc"), straight.curve("auroc"));
  EXPECT_TRUE(resumed.checkpoints.at(15) == straight.checkpoints.at(15));
}

TEST_F(RunTrial, StartsWarmFromAnotherTrialsModel) {
  const Record first = run();
  spec.train.seed = 9, spec.train.lr = 1e-3;
  const Record cold = run(), warm = run(first.checkpoints.at(15), /*warm_start=*/true);
  EXPECT_EQ(warm.metrics.front().first, 0);
  EXPECT_EQ(warm.metrics.front().second.at("auroc"), first.outcome.final_.at("auroc"));
  EXPECT_EQ(warm.curve("loss").size(), 15u);
  EXPECT_LT(warm.curve("loss_reconstruction").front(), cold.curve("loss_reconstruction").front());
}

TEST_F(RunTrial, InBfloat16ResumesBitIdenticallyAndEvaluatesInFloat32) {
  spec.train.precision = "bfloat16";
  const Record straight = run();
  ASSERT_EQ(straight.outcome.end, TrialOutcome::End::finished);
  const Record resumed = run(straight.checkpoints.at(10));
  EXPECT_EQ(resumed.curve("loss"), straight.curve("loss", 10));
  EXPECT_TRUE(resumed.checkpoints.at(15) == straight.checkpoints.at(15));
  const auto untrained = straight.metrics.front().second;
  spec.train.precision = "float32";
  const Record exact = run();
  EXPECT_EQ(exact.metrics.front().second, untrained);
  EXPECT_NE(exact.curve("loss"), straight.curve("loss"));
}

TEST_F(RunTrial, ADamagedCheckpointFailsTheTrial) {
  std::string bytes = run().checkpoints.at(5);
  bytes.resize(bytes.size() / 2);
  const Record record = run(bytes);
  EXPECT_EQ(record.outcome.end, TrialOutcome::End::failed);
  EXPECT_NE(record.outcome.reason.find("checkpoint"), std::string::npos) << record.outcome.reason;
}

TEST_F(RunTrial, StopsWhereItIsTold) {
  int asked = 0;
  wish = [&] { return ++asked == 8 ? Wish::stop : Wish::go_on; };
  const Record record = run();
  EXPECT_EQ(record.outcome.end, TrialOutcome::End::stopped);
  EXPECT_EQ(record.curve("loss").size(), 7u);
  EXPECT_EQ(asked, 8);
}

TEST_F(RunTrial, ALossThatIsNotFiniteFailsTheTrialWithASentence) {
  features.train[17][2][1][1] = std::numeric_limits<float>::infinity();
  EXPECT_NE(failure().find("is not finite at step "), std::string::npos);
}

TEST_F(RunTrial, SaysWhatCannotBeTrained) {
  spec.train.batch_size = 0;
  EXPECT_EQ(failure(), "train.batch_size is 0; it must be at least 1");
  spec.train.batch_size = 7, spec.model.heads = 3;
  EXPECT_NE(failure().find("model.width is 8"), std::string::npos);
  spec.model.heads = 2, spec.model.quantizer.start = "data", spec.model.quantizer.prototypes = 1000;
  EXPECT_NE(failure().find("model.quantizer.prototypes is 1000, but the "), std::string::npos);
  EXPECT_NE(failure().find(" training images of class `class0` have "), std::string::npos);
  spec.model.quantizer.prototypes = 5, spec.loss.classification = 0;
  EXPECT_NE(failure().find("loss.classification is 0"), std::string::npos);
  spec.loss.classification = 1, features.trained_classes.push_back(0);
  EXPECT_EQ(failure(), "class `class0` has no training images; add some, or leave the class out");
  features.trained_classes.pop_back(), features.train = features.train.narrow(0, 0, 0), features.train_class.clear();
  EXPECT_NE(failure().find("no training images"), std::string::npos);
}

TEST_F(RunTrial, EveryTableOneSettingTrains) {
  for (int setting = 0; setting < 5; ++setting) {
    spec.model.quantizer.codebook_switching = setting >= 1;
    spec.model.quantizer.hierarchical = setting >= 2;
    spec.model.expert_switching = setting >= 3;
    spec.loss.pot = setting >= 4 ? 0.01 : 0;
    spec.eval.pot = setting >= 4 ? 80 : 0;
    const Record record = run();
    EXPECT_EQ(record.outcome.end, TrialOutcome::End::finished) << setting;
    EXPECT_LT(record.curve("loss_reconstruction").back(), record.curve("loss_reconstruction").front()) << setting;
    EXPECT_EQ(record.curve("loss_pot").size(), setting >= 4 ? 15u : 0u);
    EXPECT_EQ(record.curve("codebook_live/1").size(), setting >= 2 ? 3u : 0u);
  }
}

/// Real images: five classes of Fashion-MNIST are normal, the others anomalous.
TEST_F(RunTrial, LearnsToTellAnomalousClassesOfFashionMnist) {
  spec.data.train_per_class = 100, spec.data.test_per_class = 30, spec.data.image_size = 64;
  const FeaturePlaces places{HIVQ_DEPS_DIR "/weights", testing::TempDir() + fmt::format("/hivq_trial_{}", ::getpid())};
  const auto loaded = load_features(spec.data, spec.backbone, places, {});
  std::filesystem::remove_all(places.cache_dir);
  ASSERT_TRUE(loaded) << loaded.error().message;
  features = *loaded;
  spec.model.width = 32, spec.model.heads = 4, spec.model.feed_forward = 64, spec.model.dropout = 0.1;
  spec.model.quantizer.prototypes = 32, spec.model.quantizer.start = "data";
  spec.train.epochs = 12, spec.train.batch_size = 16, spec.train.lr_drop_epoch = 10, spec.train.eval_every = 12;
  spec.eval.score = "mean", spec.loss.pot = 0, spec.eval.pot = 0;
  const Record record = run();
  const double untrained = record.metrics.front().second.at("auroc"), trained = record.outcome.final_.at("auroc");
  EXPECT_LT(untrained, 0.65);
  EXPECT_GT(trained, 0.75);
  EXPECT_GT(trained, untrained + 0.1);
  EXPECT_GT(record.outcome.final_.at("classifier_accuracy"), 0.7);
  EXPECT_GT(record.outcome.final_.at("error_anomalous"), 1.1 * record.outcome.final_.at("error_normal"));
  std::printf("AUROC %.3f untrained, %.3f trained\n", untrained, trained);
}

}  // namespace
}  // namespace hivq
