#include <gtest/gtest.h>

#include "jobs/spec.h"

namespace hivq {
namespace {

const std::string text = R"(train:
  lr: 0.1
  epochs: 9
sweep:
  variants:
    - name: a
      loss.pot: 1
  parameters:
    train.seed: [1, 2, 3]
)";

Result<JobSpec> with(const std::vector<Override>& overrides, const std::string& file = text) {
  return parse_job(file, "j.yaml", overrides);
}

std::string mistake_of(const std::string& key, const std::string& value) {
  auto job = with({{key, value}});
  return job ? "no mistake" : job.error().message;
}

TEST(SpecOverride, ReplacesAValueOfTheFile) {
  auto job = with({{"train.lr", "1e-3"}});
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->trial.train.lr, 1e-3);
  EXPECT_EQ(job->trial.train.epochs, 9);
}

TEST(SpecOverride, AddsAValueAndItsSections) {
  auto job = with({{"model.quantizer.prototypes", "32"}, {"name", "other"}, {"data.normal_classes", "[7, 8]"}});
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->trial.model.quantizer.prototypes, 32);
  EXPECT_EQ(job->name, "other");
  EXPECT_EQ(job->trial.data.normal_classes, (std::vector<int64_t>{7, 8}));
}

TEST(SpecOverride, ReplacesAWrongValueBeforeItIsChecked) {
  auto job = with({{"train.lr", "0.5"}}, "train:\n  lr: wrong\n");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->trial.train.lr, 0.5);
}

TEST(SpecOverride, TheLastOfTwoCounts) {
  auto job = with({{"train.lr", "0.5"}, {"train.lr", "0.25"}});
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->trial.train.lr, 0.25);
}

TEST(SpecOverride, ReachesTheSweep) {
  auto job = with({{"sweep.trials", "2"}, {"sweep.parameters.train.seed", "{integer: [5, 9]}"}});
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->sweep->trials, 2);
  EXPECT_EQ(job->sweep->parameters.at("train.seed"), (SearchRange{SearchRange::Kind::integer, {}, 5, 9}));
}

TEST(SpecOverride, TakesTheSweepAway) {
  auto job = with({{"sweep", "null"}});
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_FALSE(job->sweep);
}

TEST(SpecOverride, AnEmptyValueIsAnEmptyText) {
  auto job = with({{"data.path", ""}}, "data:\n  path: /here\n");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->trial.data.path, "");
}

TEST(SpecOverride, MistakesNameTheOverrideInsteadOfALine) {
  EXPECT_EQ(mistake_of("train.lr", "abc"), "--set train.lr=abc: train.lr is abc; it must be a number");
  EXPECT_EQ(mistake_of("train.lr", ""), "--set train.lr=: train.lr is empty; it must be a number");
  EXPECT_EQ(mistake_of("tain.lr", "3"), "--set tain.lr=3: tain.lr is an unknown key; did you mean train.lr?");
  EXPECT_EQ(mistake_of("", "3"), "--set =3: it has no key; write --set key=value, such as --set train.lr=1e-3");
  EXPECT_EQ(mistake_of("model.heads", "3"),
            "--set model.heads=3: model.width is 256 and model.heads is 3; the width must be a multiple of the heads");
  EXPECT_EQ(mistake_of("data.normal_classes", "[1"),
            "--set data.normal_classes=[1: this is not valid YAML: end of sequence flow not found; check indentation, "
            "colons, "
            "brackets and quotes");
  EXPECT_EQ(mistake_of("sweep.parameters.train.sed", "[1]"),
            "--set sweep.parameters.train.sed=[1]: train.sed is no parameter; did you mean train.seed?");
}

TEST(SpecOverride, OneThatTheSweepWouldHideIsRefused) {
  EXPECT_EQ(mistake_of("train.seed", "7"),
            "--set train.seed=7: train.seed is a parameter of the sweep, so this would reach no trial; use --set "
            "'sweep.parameters.train.seed=[…]'");
  EXPECT_EQ(mistake_of("loss.pot", "7"),
            "--set loss.pot=7: the variant 'a' sets loss.pot itself, so this would not reach every trial; change the "
            "variants in the file");
}

}  // namespace
}  // namespace hivq
