#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "jobs/spec.h"

namespace hivq {
namespace {

JobSpec parsed(const std::string& text) {
  auto job = parse_job(text, "jobs/quick.yaml");
  if (!job) ADD_FAILURE() << job.error().message;
  return job ? *job : JobSpec{};
}

std::string mistakes_in(const std::string& text) {
  auto job = parse_job(text, "jobs/quick.yaml");
  return job ? "no mistake" : job.error().message;
}

TEST(SpecParse, ValuesOfEveryTypeAreRead) {
  JobSpec job = parsed(R"(
name: my job
data:
  normal_classes: [5, 6]
  path: /data/fashion
model:
  switch: label
  dropout: 0.25
  quantizer:
    hierarchical: false
train:
  lr: 1e-3
  epochs: 12
  seed: 9223372036854775807
)");
  EXPECT_EQ(job.name, "my job");
  EXPECT_EQ(job.trial.data.normal_classes, (std::vector<int64_t>{5, 6}));
  EXPECT_EQ(job.trial.data.path, "/data/fashion");
  EXPECT_EQ(job.trial.model.switch_by, "label");
  EXPECT_EQ(job.trial.model.dropout, 0.25);
  EXPECT_FALSE(job.trial.model.quantizer.hierarchical);
  EXPECT_EQ(job.trial.train.lr, 1e-3);
  EXPECT_EQ(job.trial.train.epochs, 12);
  EXPECT_EQ(job.trial.train.seed, 9223372036854775807u);
  EXPECT_FALSE(job.sweep);
}

TEST(SpecParse, WhatIsLeftOutHasItsDefault) {
  EXPECT_EQ(parsed("train:\n").trial, TrialSpec{});
  EXPECT_EQ(parsed("max_attempts: 5").trial, TrialSpec{});
}

TEST(SpecParse, AJobWithoutANameHasTheFilesName) {
  EXPECT_EQ(parsed("train:\n  epochs: 3\n").name, "quick");
  auto nameless = parse_job("train:\n", std::string("bad\xff.yaml"));
  ASSERT_TRUE(nameless);
  EXPECT_EQ(nameless->name, "job");
}

TEST(SpecParse, ANumberIsAGoodName) { EXPECT_EQ(parsed("name: 2024").name, "2024"); }

TEST(SpecParse, AnchorsAndAliasesWork) {
  JobSpec job = parsed("data:\n  train_per_class: &n 7\n  test_per_class: *n\n");
  EXPECT_EQ(job.trial.data.train_per_class, 7);
  EXPECT_EQ(job.trial.data.test_per_class, 7);
}

TEST(SpecParse, AValueBelowItsRangeIsNamedWithTheLeastThatIsAllowed) {
  EXPECT_EQ(mistakes_in("train:\n  epochs: 3\n  batch_size: 0\n"),
            "jobs/quick.yaml:3: train.batch_size is 0; it must be at least 1");
  EXPECT_EQ(mistakes_in("train:\n  lr: 0\n"), "jobs/quick.yaml:2: train.lr is 0; it must be above 0");
}

TEST(SpecParse, AValueAboveItsRangeIsNamedWithTheMostThatIsAllowed) {
  EXPECT_EQ(mistakes_in("train:\n  lr_drop_factor: 1.5\n"),
            "jobs/quick.yaml:2: train.lr_drop_factor is 1.5; it must be at most 1");
  EXPECT_EQ(mistakes_in("model:\n  dropout: 1\n"), "jobs/quick.yaml:2: model.dropout is 1; it must be below 1");
  EXPECT_EQ(mistakes_in("model:\n  layers: 65\n"), "jobs/quick.yaml:2: model.layers is 65; it must be at most 64");
}

TEST(SpecParse, BothEndsOfARangeAreAllowed) {
  EXPECT_EQ(mistakes_in("model: {layers: 1, dropout: 0}\ntrain: {lr: 10}"), "no mistake");
  EXPECT_EQ(mistakes_in("model: {layers: 64}"), "no mistake");
}

TEST(SpecParse, AValueOfAnotherTypeIsNamedWithTheTypeThatIsWanted) {
  EXPECT_EQ(mistakes_in("train:\n  epochs: many\n"),
            "jobs/quick.yaml:2: train.epochs is many; it must be a whole number");
  EXPECT_EQ(mistakes_in("train:\n  epochs: 1.5\n"),
            "jobs/quick.yaml:2: train.epochs is 1.5; it must be a whole number");
  EXPECT_EQ(mistakes_in("train:\n  epochs: \"3\"\n"),
            "jobs/quick.yaml:2: train.epochs is \"3\"; it must be a whole number, without quotes");
  EXPECT_EQ(mistakes_in("train:\n  lr: [1]\n"), "jobs/quick.yaml:2: train.lr is a list; it must be a number");
  EXPECT_EQ(mistakes_in("train:\n  lr:\n"), "jobs/quick.yaml:2: train.lr is empty; it must be a number");
  EXPECT_EQ(mistakes_in("model:\n  expert_switching: 1\n"),
            "jobs/quick.yaml:2: model.expert_switching is 1; it must be true or false");
  EXPECT_EQ(mistakes_in("data:\n  normal_classes: 3\n"),
            "jobs/quick.yaml:2: data.normal_classes is 3; it must be a list of whole numbers, such as [1, 2]");
  EXPECT_EQ(mistakes_in("name: {a: b}\n"), "jobs/quick.yaml:1: name is a section; it must be text");
  EXPECT_EQ(mistakes_in("train: 3\n"),
            "jobs/quick.yaml:1: train is 3; it must be a section: its keys below it, indented");
}

TEST(SpecParse, NumbersThatNoMachineHoldsAreRefused) {
  EXPECT_EQ(mistakes_in("train:\n  epochs: 99999999999999999999\n"),
            "jobs/quick.yaml:2: train.epochs is 99999999999999999999; it must be a whole number that fits 64 bits");
  EXPECT_EQ(mistakes_in("train:\n  lr: 1e999\n"),
            "jobs/quick.yaml:2: train.lr is 1e999; it must be a number that fits 64 bits");
  for (const char* word : {".nan", "nan", ".inf", "-.inf", "inf", "-inf"}) {
    EXPECT_EQ(mistakes_in(fmt::format("train:\n  lr: {}\n", word)),
              fmt::format("jobs/quick.yaml:2: train.lr is {}; it must be a finite number", word));
  }
}

TEST(SpecParse, AnUnknownWordIsNamedWithTheWordsThatThereAre) {
  EXPECT_EQ(mistakes_in("eval:\n  score: median\n"),
            "jobs/quick.yaml:2: eval.score is median; it must be max, mean or std");
  EXPECT_EQ(mistakes_in("data:\n  name: mnist\n"), "jobs/quick.yaml:2: data.name is mnist; it must be fashion-mnist");
}

TEST(SpecParse, AnUnknownKeyIsNamedWithTheNearestOne) {
  EXPECT_EQ(mistakes_in("train:\n  epoch: 3\n"),
            "jobs/quick.yaml:2: train.epoch is an unknown key; did you mean train.epochs?");
  EXPECT_EQ(mistakes_in("trian:\n  epochs: 3\n"), "jobs/quick.yaml:1: trian is an unknown key; did you mean train?");
  EXPECT_EQ(mistakes_in("model:\n  quantiser:\n    decay: 0.9\n"),
            "jobs/quick.yaml:2: model.quantiser is an unknown key; did you mean model.quantizer?");
  EXPECT_EQ(mistakes_in("sweep:\n  variant: []\n"),
            "jobs/quick.yaml:2: sweep.variant is an unknown key; did you mean sweep.variants?");
}

TEST(SpecParse, ARightKeyInTheWrongSectionIsNamedWithItsPlace) {
  EXPECT_EQ(mistakes_in("lr: 3\n"), "jobs/quick.yaml:1: lr is an unknown key; did you mean train.lr?");
  EXPECT_EQ(mistakes_in("model:\n  decay: 0.9\n"),
            "jobs/quick.yaml:2: model.decay is an unknown key; did you mean model.quantizer.decay?");
  EXPECT_EQ(mistakes_in("train.lr: 3\n"),
            "jobs/quick.yaml:1: train.lr is an unknown key; write lr below the section train");
}

TEST(SpecParse, AKeyNearToNoneIsNamedWithTheKeysThatThereAre) {
  EXPECT_EQ(mistakes_in("gang:\n  colour: blue\n"),
            "jobs/quick.yaml:2: gang.colour is an unknown key; there are gang.ranks");
  EXPECT_EQ(
      mistakes_in("xyzzy: 1\n"),
      "jobs/quick.yaml:1: xyzzy is an unknown key; there are name, max_attempts, data, backbone, model, loss, train, "
      "eval, gang, sweep");
}

TEST(SpecParse, AKeyThatIsGivenTwiceIsRefused) {
  EXPECT_EQ(mistakes_in("train:\n  epochs: 3\n  lr: 1\n  epochs: 4\n"),
            "jobs/quick.yaml:4: epochs is given twice in train, first at jobs/quick.yaml:2; keep one");
}

TEST(SpecParse, AllMistakesAreReportedOneALine) {
  EXPECT_EQ(mistakes_in("train:\n  batch_size: 0\n  lr: abc\nmodel:\n  heads: 7\nlos:\n  pot: 1\n"),
            "jobs/quick.yaml:2: train.batch_size is 0; it must be at least 1\n"
            "jobs/quick.yaml:3: train.lr is abc; it must be a number\n"
            "jobs/quick.yaml:6: los is an unknown key; did you mean loss?\n"
            "jobs/quick.yaml:5: model.width is 256 and model.heads is 7; the width must be a multiple of the heads");
}

TEST(SpecParse, AfterFiftyMistakesTheRestIsNotListed) {
  std::string text;
  for (int i = 0; i < 60; ++i) text += fmt::format("xyzzy{}: 1\n", i);
  std::string message = mistakes_in(text);
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 50);
  EXPECT_TRUE(message.ends_with("\nand more"));
}

TEST(SpecParse, ListsHoldEachNumberOnceAndInRange) {
  EXPECT_EQ(mistakes_in("backbone:\n  stages: [0, 8, 2, 2, x]\n"),
            "jobs/quick.yaml:2: backbone.stages holds 0; it must be at least 1\n"
            "jobs/quick.yaml:2: backbone.stages holds 8; it must be at most 7\n"
            "jobs/quick.yaml:2: backbone.stages holds 2 twice; keep one\n"
            "jobs/quick.yaml:2: backbone.stages holds x; it must hold whole numbers");
  EXPECT_EQ(mistakes_in("backbone:\n  stages: []\n"),
            "jobs/quick.yaml:2: backbone.stages is an empty list; it must hold at least one number");
}

TEST(SpecParse, FieldsThatDoNotFitTogetherAreRefused) {
  EXPECT_EQ(mistakes_in("model:\n  width: 101\n  heads: 101\n"),
            "jobs/quick.yaml:2: model.width is 101; it must be even, because rows and columns each take half of the "
            "position code");
  EXPECT_EQ(mistakes_in("model:\n  heads: 3\n"),
            "jobs/quick.yaml:2: model.width is 256 and model.heads is 3; the width must be a multiple of the heads");
  EXPECT_EQ(mistakes_in("data:\n  image_size: 100\n"),
            "jobs/quick.yaml:2: data.image_size is 100; it must be a multiple of 16, such as 112");
  EXPECT_EQ(
      mistakes_in("gang:\n  ranks: 32\n"),
      "jobs/quick.yaml:2: train.batch_size is 16 and gang.ranks is 32; a batch must hold at least one image for each "
      "rank");
}

TEST(SpecParse, NormalClassesMustLeaveAnomalousOnes) {
  EXPECT_EQ(mistakes_in("data:\n  normal_classes: []\n"),
            "jobs/quick.yaml:2: data.normal_classes is empty; name the classes to train on, such as [0, 1, 2, 3, 4]");
  EXPECT_EQ(mistakes_in("data:\n  normal_classes: [3, 10]\n"),
            "jobs/quick.yaml:2: data.normal_classes holds 10; fashion-mnist has the classes 0 to 9");
  EXPECT_EQ(mistakes_in("data:\n  normal_classes: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n"),
            "jobs/quick.yaml:2: data.normal_classes holds all classes; leave at least one out, whose images are the "
            "anomalous ones");
}

TEST(SpecParse, TheLearningRateMayDropBeyondTheLastEpoch) {
  EXPECT_EQ(mistakes_in("train:\n  epochs: 2\n  lr_drop_epoch: 800\n"), "no mistake");
}

TEST(SpecParse, TextWithControlCharactersIsRefused) {
  EXPECT_EQ(mistakes_in("name: \"a\\tb\"\n"),
            "jobs/quick.yaml:1: name is \"a b\"; it must be one line without control characters");
  EXPECT_EQ(mistakes_in("name: ''\n"), "jobs/quick.yaml:1: name is \"\"; it must not be empty");
  EXPECT_EQ(mistakes_in("name: " + std::string(1001, 'x')),
            "jobs/quick.yaml:1: name is " + std::string(60, 'x') + "…; it must have at most 1000 characters");
}

TEST(SpecParse, ATrialIsNoJob) {
  auto trial = parse_trial("name: a\nsweep:\n  trials: 3\n", "trial");
  ASSERT_FALSE(trial);
  EXPECT_EQ(trial.error().message,
            "trial:1: name is an unknown key; did you mean data.name?\n"
            "trial:2: sweep is an unknown key; there are data, backbone, model, loss, train, eval, gang");
}

TEST(SpecParams, ParametersAreSetInTheTrial) {
  auto trial = with_params({}, {{"train.lr", 0.5}, {"model.switch", std::string("label")}, {"train.seed", int64_t{7}}});
  ASSERT_TRUE(trial) << trial.error().message;
  TrialSpec expected;
  expected.train.lr = 0.5;
  expected.model.switch_by = "label";
  expected.train.seed = 7;
  EXPECT_EQ(*trial, expected);
}

TEST(SpecParams, AWholeNumberIsANumber) {
  auto trial = with_params({}, {{"train.clip", int64_t{2}}});
  ASSERT_TRUE(trial) << trial.error().message;
  EXPECT_EQ(trial->train.clip, 2.0);
}

TEST(SpecParams, WrongParametersAreAllNamed) {
  auto trial = with_params({}, {{"train.lr", -1.0},
                                {"train.lrr", 1.0},
                                {"data.normal_classes", int64_t{1}},
                                {"train.epochs", 2.5},
                                {"model.dropout", std::numeric_limits<double>::quiet_NaN()},
                                {"eval.score", std::string("median")},
                                {"train.seed", int64_t{-1}},
                                {"max_attempts", int64_t{2}}});
  ASSERT_FALSE(trial);
  EXPECT_EQ(trial.error().message,
            "data.normal_classes is no parameter; a list cannot be a parameter of a sweep\n"
            "eval.score is median; it must be max, mean or std\n"
            "max_attempts is no parameter; parameters are written in full, such as train.lr\n"
            "model.dropout is nan; it must be a finite number\n"
            "train.epochs is 2.5; it must be a whole number\n"
            "train.lr is -1; it must be above 0\n"
            "train.lrr is no parameter; did you mean train.lr?\n"
            "train.seed is -1; it must be at least 0");
}

TEST(SpecParams, ParametersThatDoNotFitTogetherAreRefused) {
  auto trial = with_params({}, {{"model.heads", int64_t{6}}});
  ASSERT_FALSE(trial);
  EXPECT_EQ(trial.error().message,
            "model.width is 256 and model.heads is 6; the width must be a multiple of the heads");
}

TEST(SpecText, NumbersAreAsShortAsTheyCanBeReadBack) {
  EXPECT_EQ(to_string(ParamValue(1e-4)), "1e-4");
  EXPECT_EQ(to_string(ParamValue(1e-3)), "0.001");
  EXPECT_EQ(to_string(ParamValue(0.1)), "0.1");
  EXPECT_EQ(to_string(ParamValue(1e6)), "1e6");
  EXPECT_EQ(to_string(ParamValue(2.0)), "2");
  EXPECT_EQ(to_string(ParamValue(1e100)), "1e100");
  EXPECT_EQ(to_string(ParamValue(true)), "true");
  EXPECT_EQ(to_string(ParamValue(int64_t{-3})), "-3");
  EXPECT_EQ(to_string(Params{{"train.seed", int64_t{1}}, {"train.lr", 1e-4}}), "train.lr=1e-4 train.seed=1");
}

}  // namespace
}  // namespace hivq
