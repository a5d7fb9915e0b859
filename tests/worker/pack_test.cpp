// Trials side by side, as one batched model: each gives what it gives alone.

#include "tests/worker/trial_fixture.h"

namespace hivq {
namespace {

class PackOfTrials : public testing::Test {
 protected:
  FeatureSet features = made_up_features(30, 40, 3, at::kDouble);  // 5 steps an epoch, the last of 2 images
  std::unique_ptr<Collective> single = make_single_collective();
  std::vector<TrialSpec> specs = different_trials();
  std::vector<std::function<Wish()>> wishes = std::vector<std::function<Wish()>>(4);
  std::vector<std::string> checkpoints = std::vector<std::string>(4);

  /// All that trials of a pack may differ in.
  static std::vector<TrialSpec> different_trials() {
    std::vector<TrialSpec> trials(4, small_trial());
    trials[1].train.seed = 5, trials[1].train.lr = 1e-2;
    trials[2].loss = {0.1, 0.05, 0.5}, trials[2].train.clip = 0, trials[2].train.weight_decay = 0.1;
    trials[3].train.seed = 8, trials[3].model.quantizer.decay = 0.8, trials[3].model.dropout = 0.5;
    trials[3].train.lr_drop_epoch = 1, trials[3].train.lr_drop_factor = 0.5, trials[3].eval.score = "mean";
    return trials;
  }
  TrialRun trial(size_t i, Record& record) const { return run_of(specs[i], record.hooks(wishes[i]), checkpoints[i]); }
  std::vector<Record> together() const {
    std::vector<Record> records(specs.size());
    std::vector<TrialRun> runs;
    for (size_t i = 0; i < specs.size(); ++i) runs.push_back(trial(i, records[i]));
    const auto outcomes = run_trials(runs, features, *single);
    if (!outcomes) panic(outcomes.error().message);
    for (size_t i = 0; i < specs.size(); ++i) records[i].outcome = outcomes->at(i);
    return records;
  }
  Record alone(size_t i) const {
    Record record;
    const TrialRun run = trial(i, record);
    record.outcome = run_trials(std::span(&run, 1), features, *single).value().at(0);
    return record;
  }

  /// Every metric of every step, and every tensor of every checkpoint, but for rounding.
  static void expect_same(const Record& got, const Record& expected, const std::string& which) {
    EXPECT_EQ(got.outcome.end, expected.outcome.end) << which << ": " << got.outcome.reason;
    ASSERT_EQ(got.metrics.size(), expected.metrics.size()) << which;
    for (size_t i = 0; i < got.metrics.size(); ++i) {
      ASSERT_EQ(got.metrics[i].first, expected.metrics[i].first) << which;
      for (const auto& [name, value] : expected.metrics[i].second) {
        if (name == "images_per_second") continue;
        ASSERT_TRUE(got.metrics[i].second.contains(name)) << which << ' ' << name;
        EXPECT_NEAR(got.metrics[i].second.at(name), value, 1e-7 * std::max(1.0, std::abs(value)))
            << which << ' ' << name;
      }
    }
    ASSERT_EQ(got.checkpoints.size(), expected.checkpoints.size()) << which;
    for (const auto& [step, bytes] : expected.checkpoints) {
      const SafeTensors ours = read_safetensors(got.checkpoints.at(step), "ours").value();
      const SafeTensors theirs = read_safetensors(bytes, "theirs").value();
      EXPECT_EQ(ours.metadata, theirs.metadata) << which;
      for (const auto& [name, tensor] : theirs.tensors) {
        EXPECT_CLOSE(ours.tensors.at(name), tensor, 1e-7) << which << ' ' << name << " at step " << step;
      }
    }
  }
};

TEST_F(PackOfTrials, EachGivesWhatItGivesAlone) {
  for (const bool switching : {true, false}) {
    for (const char* start : {"normal", "data"}) {
      for (TrialSpec& spec : specs) {
        spec.model.quantizer.codebook_switching = spec.model.expert_switching = switching;
        spec.model.quantizer.start = start;
      }
      const std::vector<Record> records = together();
      for (size_t i = 0; i < specs.size(); ++i) {
        expect_same(records[i], alone(i), fmt::format("trial {}, switching {}, start {}", i, switching, start));
      }
    }
  }
}

TEST_F(PackOfTrials, JitterMaskAndRevivalToo) {
  for (TrialSpec& spec : specs) {
    spec.model.jitter = 2, spec.model.neighbour_mask = 1, spec.model.quantizer.revive_below = 0.3;
  }
  specs[2].model.jitter = 5;
  const std::vector<Record> records = together();
  for (size_t i = 0; i < specs.size(); ++i) expect_same(records[i], alone(i), fmt::format("trial {}", i));
}

TEST_F(PackOfTrials, OneThatEndsEarlyLeavesTheOthersAsTheyAre) {
  int asked = 0;
  wishes[1] = [&asked] { return ++asked == 3 ? Wish::stop : Wish::go_on; };
  int steps = 0;
  wishes[3] = [&steps] { return ++steps == 9 ? Wish::yield : Wish::go_on; };
  specs[2].train.lr = 1e200;  // its losses overflow
  const std::vector<Record> records = together();
  asked = steps = 0;
  EXPECT_EQ(records[1].outcome.end, TrialOutcome::End::stopped);
  EXPECT_EQ(records[2].outcome.end, TrialOutcome::End::failed);
  EXPECT_NE(records[2].outcome.reason.find("is not finite at step"), std::string::npos) << records[2].outcome.reason;
  EXPECT_EQ(records[3].outcome.end, TrialOutcome::End::yielded);
  expect_same(records[0], alone(0), "the one that goes on");
  expect_same(records[3], alone(3), "the one that yields");
}

TEST_F(PackOfTrials, AnEndIsToldWhileTheOthersGoOn) {
  checkpoints[0] = "no checkpoint";
  specs[2].train.lr = 1e200;
  int asked = 0;
  wishes[3] = [&asked] { return ++asked == 9 ? Wish::yield : Wish::go_on; };
  std::vector<Record> records(specs.size());
  std::vector<TrialRun> runs;
  std::vector<size_t> ends;  // in their order
  for (size_t i = 0; i < specs.size(); ++i) {
    runs.push_back(trial(i, records[i]));
    runs[i].hooks.end = [&, i, record = runs[i].hooks.end](const TrialOutcome& outcome) {
      ends.push_back(i);
      EXPECT_LT(records[1].curve("loss").size(), 15u) << "the last one still trains";
      if (i == 3) {
        EXPECT_TRUE(records[3].checkpoints.contains(9)) << "its checkpoint comes first";
      }
      record(outcome);
    };
  }
  const auto outcomes = run_trials(runs, features, *single).value();
  EXPECT_EQ(ends, (std::vector<size_t>{0, 2, 3}));
  for (const size_t i : ends) {
    EXPECT_EQ(records[i].outcome.end, outcomes[i].end) << i;
    EXPECT_EQ(records[i].outcome.reason, outcomes[i].reason) << i;
  }
}

TEST_F(PackOfTrials, ResumesTogetherFromCheckpointsOfTheSameStep) {
  const std::vector<Record> straight = together();
  for (size_t i = 0; i < specs.size(); ++i) checkpoints[i] = straight[i].checkpoints.at(5);
  const std::vector<Record> resumed = together();
  for (size_t i = 0; i < specs.size(); ++i) {
    EXPECT_TRUE(resumed[i].checkpoints.at(15) == straight[i].checkpoints.at(15)) << i;
  }
  checkpoints[2] = straight[2].checkpoints.at(10);
  const std::vector<Record> mixed = together();
  EXPECT_EQ(mixed[2].outcome.end, TrialOutcome::End::failed);
  EXPECT_NE(mixed[2].outcome.reason.find("not of the step"), std::string::npos);
  EXPECT_EQ(mixed[1].outcome.end, TrialOutcome::End::finished);
}

TEST_F(PackOfTrials, ATrialThatCannotBeTrainedFailsAlone) {
  checkpoints[0] = "no checkpoint";
  const std::vector<Record> records = together();
  EXPECT_EQ(records[0].outcome.end, TrialOutcome::End::failed);
  for (size_t i = 1; i < specs.size(); ++i) expect_same(records[i], alone(i), fmt::format("trial {}", i));
}

TEST(ManyTrials, AModelOfSeveralSeedsIsTheirModels) {
  const TrialSpec spec = small_trial();
  const std::vector<uint64_t> seeds = {1, 7, 3};
  const Model all = make_model(spec.model, {6, 3, 3}, seeds, at::kFloat);
  for (int64_t i = 0; i < 3; ++i) {
    const Model one = make_model(spec.model, {6, 3, 3}, seeds[static_cast<size_t>(i)], at::kFloat);
    const Model part = trial_of(all, i);
    EXPECT_TRUE(at::equal(part.values, one.values));
    EXPECT_TRUE(at::equal(part.codebooks[1].embed, one.codebooks[1].embed));
    EXPECT_TRUE(at::equal(part.encoder[1].linear1.weight, one.encoder[1].linear1.weight));
    EXPECT_TRUE(part.values.is_alias_of(all.values));
    EXPECT_TRUE(part.codebooks[1].embed.is_alias_of(all.codebooks[1].embed));
  }
  const Model some = copy_trials(all, {2, 0});
  EXPECT_TRUE(at::equal(trial_of(some, 0).values, trial_of(all, 2).values));
  EXPECT_TRUE(at::equal(trial_of(some, 1).codebooks[0].embed, trial_of(all, 0).codebooks[0].embed));
  EXPECT_FALSE(some.values.is_alias_of(all.values));
}

}  // namespace
}  // namespace hivq
