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
  EXPECT_EQ(mistakes_in("data:\n  name: mnist\n"),
            "jobs/quick.yaml:2: data.name is mnist; it must be fashion-mnist, cifar10, mvtec, visa or json-lines");
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
            "jobs/quick.yaml:2: gang.colour is an unknown key; there are gang.ranks, gang.fuse, gang.labels");
  EXPECT_EQ(mistakes_in("xyzzy: 1\n"),
            "jobs/quick.yaml:1: xyzzy is an unknown key; there are name, preset, priority, project, after, after_any, "
            "max_attempts, retry_seconds, max_trial_seconds, max_job_seconds, data, backbone, model, loss, train, "
            "eval, gang, retention, sweep");
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

TEST(SpecParse, ListsOfTextsHoldEachOnce) {
  EXPECT_EQ(parsed("data: {name: mvtec, path: d, classes: [bottle, '2', 'null']}").trial.data.classes,
            (std::vector<std::string>{"bottle", "2", "null"}));
  EXPECT_EQ(mistakes_in("data:\n  name: mvtec\n  path: d\n  classes: [a, a, [b], '', \"x\\ty\"]\n"),
            "jobs/quick.yaml:4: data.classes holds a twice; keep one\n"
            "jobs/quick.yaml:4: data.classes holds a list; it must hold texts\n"
            "jobs/quick.yaml:4: data.classes holds \"\"; it must not be empty\n"
            "jobs/quick.yaml:4: data.classes holds \"x y\"; it must be one line without control characters");
  EXPECT_EQ(mistakes_in("data:\n  classes: bottle\n"),
            "jobs/quick.yaml:2: data.classes is bottle; it must be a list of texts, such as [bottle, cable]");
}

TEST(SpecParse, TheNewSetsAndBackbonesAreKnownByTheirNames) {
  for (const char* name : {"cifar10", "mvtec", "visa", "json-lines"}) {
    EXPECT_EQ(mistakes_in(fmt::format("data: {{name: {}, path: d}}", name)), "no mistake");
  }
  for (const char* name :
       {"b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "lite0", "lite1", "lite2", "lite3", "lite4"}) {
    EXPECT_EQ(mistakes_in(fmt::format("backbone: {{name: efficientnet-{}}}", name)), "no mistake");
  }
  EXPECT_EQ(parsed("backbone: {blocks: [1, 5, 9, 21]}").trial.backbone.blocks, (std::vector<int64_t>{1, 5, 9, 21}));
  EXPECT_EQ(mistakes_in("backbone: {name: efficientnet-b8}"),
            "jobs/quick.yaml:1: backbone.name is efficientnet-b8; it must be efficientnet-b0, efficientnet-b1, "
            "efficientnet-b2, efficientnet-b3, efficientnet-b4, efficientnet-b5, efficientnet-b6, efficientnet-b7, "
            "efficientnet-lite0, efficientnet-lite1, efficientnet-lite2, efficientnet-lite3 or efficientnet-lite4");
}

TEST(SpecParse, ASetThatNoPackageBringsNeedsItsFolder) {
  EXPECT_EQ(mistakes_in("data:\n  name: visa\n"),
            "jobs/quick.yaml:2: data.path is empty, and no package puts visa on this machine; get the set and name its "
            "folder: --set data.path=DIR");
}

TEST(SpecParse, ClassesAreNamedTheWayThatSuitsTheSet) {
  EXPECT_EQ(mistakes_in("data:\n  name: cifar10\n  path: d\n  normal_classes: [5, 10]\n"),
            "jobs/quick.yaml:4: data.normal_classes holds 10; cifar10 has the classes 0 to 9");
  EXPECT_EQ(mistakes_in("data:\n  name: cifar10\n  path: d\n  classes: [cat]\n"),
            "jobs/quick.yaml:4: data.classes is set, but the classes of cifar10 are normal or anomalous as a whole; "
            "leave it out and name the normal ones in data.normal_classes");
  EXPECT_EQ(mistakes_in("data:\n  name: mvtec\n  path: d\n  normal_classes: [1]\n"),
            "jobs/quick.yaml:4: data.normal_classes is set, but every class of mvtec has normal and defective images; "
            "leave it out and name the wanted ones in data.classes");
}

TEST(SpecParse, LevelsAreThoseThatTheEncoderHas) {
  auto with = [](const std::string& quantizer) {
    return mistakes_in(fmt::format("model:\n  layers: 3\n  quantizer: {{{}}}\n", quantizer));
  };
  for (const char* good : {"levels: 0", "levels: 2", "levels: 4", "hierarchical: false"}) {
    EXPECT_EQ(with(good), "no mistake") << good;
  }
  for (const char* bad : {"1", "5"}) {
    EXPECT_EQ(with(std::string("levels: ") + bad),
              fmt::format("jobs/quick.yaml:3: model.quantizer.levels is {}; it must be 2 to 4 (model.layers + 1), or 0 "
                          "for all of them",
                          bad));
  }
  EXPECT_EQ(with("hierarchical: false, levels: 2"),
            "jobs/quick.yaml:3: model.quantizer.levels is 2, but model.quantizer.hierarchical is false, which has one "
            "level; leave it at 0");
}

TEST(SpecParse, TransportIsScoredAtLevelsThatThereAre) {
  EXPECT_EQ(mistakes_in("eval: {pot_levels: [0, 4]}"), "no mistake");
  EXPECT_EQ(mistakes_in("eval: {pot_levels: [5]}"),
            "jobs/quick.yaml:1: eval.pot_levels holds 5; the quantizer has the levels 0 to 4");
  EXPECT_EQ(mistakes_in("eval: {pot_levels: [3]}\nmodel: {quantizer: {levels: 3}}"),
            "jobs/quick.yaml:1: eval.pot_levels holds 3; the quantizer has the levels 0 to 2");
  EXPECT_EQ(mistakes_in("eval: {pot_levels: [1]}\nmodel: {quantizer: {hierarchical: false}}"),
            "jobs/quick.yaml:1: eval.pot_levels holds 1; the quantizer has the levels 0 to 0");
}

// Whether some token of the grid would have none to attend to.
bool leaves_a_token_alone(int64_t grid, int64_t mask) {
  const int64_t reach = mask / 2;
  for (int64_t row = 0; row < grid; ++row) {
    for (int64_t column = 0; column < grid; ++column) {
      const bool all_rows = row <= reach && grid - 1 - row <= reach;
      const bool all_columns = column <= reach && grid - 1 - column <= reach;
      if (all_rows && all_columns) return true;
    }
  }
  return false;
}

TEST(SpecParse, ANeighbourMaskIsOddAndLeavesEveryTokenOneToAttendTo) {
  for (int64_t grid = 2; grid <= 15; ++grid) {
    for (int64_t mask = 1; mask <= 33; mask += 2) {
      const std::string text = fmt::format("data: {{image_size: {}}}\nmodel: {{neighbour_mask: {}}}", 16 * grid, mask);
      EXPECT_EQ(mistakes_in(text) == "no mistake", !leaves_a_token_alone(grid, mask)) << text;
    }
  }
  EXPECT_EQ(mistakes_in("model: {neighbour_mask: 6}"),
            "jobs/quick.yaml:1: model.neighbour_mask is 6; it must be odd, or 0 for none");
  EXPECT_EQ(mistakes_in("model: {neighbour_mask: 15}"),
            "jobs/quick.yaml:1: model.neighbour_mask is 15; with 14 x 14 tokens (data.image_size / 16) it must be at "
            "most 13, so that every token has one to attend to");
}

TEST(SpecPreset, WithoutOneAJobHasThePapersObjective) {
  JobSpec job = parsed("max_attempts: 5");
  EXPECT_EQ(job.preset, "hvq-trans");
  EXPECT_EQ(job.trial.loss, (LossSpec{0.5, 0.01, 1}));
  EXPECT_EQ(job.trial.model.switch_by, "predicted");
  EXPECT_EQ(job.trial.eval.pot, 80);
}

TEST(SpecPreset, TheOfficialOneHasTheArithmeticOfTheAuthorsCode) {
  JobSpec job = parsed("preset: hvq-trans-official");
  EXPECT_EQ(job.trial.loss, (LossSpec{0.25, 0, 0}));
  EXPECT_EQ(job.trial.model.switch_by, "label");
  EXPECT_EQ(job.trial.eval.pot, 80);
  EXPECT_EQ(job.trial, defaults_of("hvq-trans-official"));
}

TEST(SpecPreset, WhatTheFileOrTheCommandLineSetsWinsWhereverThePresetStands) {
  const std::string text = "loss: {pot: 0.5}\nmodel: {switch: predicted}\npreset: hvq-trans-official\n";
  auto job = parse_job(text, "j.yaml", {{"loss.commitment", "0.5"}});
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->trial.loss, (LossSpec{0.5, 0.5, 0}));
  EXPECT_EQ(job->trial.model.switch_by, "predicted");
  auto from_the_command_line = parse_job("loss: {pot: 0.5}", "j.yaml", {{"preset", "hvq-trans-official"}});
  ASSERT_TRUE(from_the_command_line) << from_the_command_line.error().message;
  EXPECT_EQ(from_the_command_line->trial.loss, (LossSpec{0.25, 0.5, 0}));
}

TEST(SpecPreset, AnUnknownOneAndOneThatIsSweptAreRefused) {
  EXPECT_EQ(mistakes_in("preset: uniad\n"),
            "jobs/quick.yaml:1: preset is uniad; it must be hvq-trans or hvq-trans-official");
  EXPECT_EQ(mistakes_in("preset: [hvq-trans]\n"),
            "jobs/quick.yaml:1: preset is a list; it must be hvq-trans or hvq-trans-official");
  EXPECT_EQ(mistakes_in("sweep: {parameters: {preset: [hvq-trans]}}"),
            "jobs/quick.yaml:1: preset is no parameter; parameters are written in full, such as train.lr");
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
  auto trial = with_params({}, {{"train.lr", 0.5},
                                {"model.switch", std::string("label")},
                                {"train.seed", int64_t{7}},
                                {"data.normal_classes", std::vector<int64_t>{8, 2}}});
  ASSERT_TRUE(trial) << trial.error().message;
  TrialSpec expected;
  expected.train.lr = 0.5;
  expected.model.switch_by = "label";
  expected.train.seed = 7;
  expected.data.normal_classes = {8, 2};
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
                                {"data.classes", std::string("bottle")},
                                {"data.normal_classes", int64_t{1}},
                                {"backbone.stages", std::vector<int64_t>{2, 9}},
                                {"backbone.blocks", std::vector<int64_t>{3, 3}},
                                {"train.epochs", 2.5},
                                {"model.dropout", std::numeric_limits<double>::quiet_NaN()},
                                {"eval.score", std::string("median")},
                                {"train.seed", int64_t{-1}},
                                {"max_attempts", int64_t{2}}});
  ASSERT_FALSE(trial);
  EXPECT_EQ(trial.error().message,
            "backbone.blocks is [3,3]; it must hold each number once\n"
            "backbone.stages is [2,9]; it holds 9; it must be at most 7\n"
            "data.classes is no parameter; a list of texts cannot be a parameter of a sweep\n"
            "data.normal_classes is 1; it must be a list of whole numbers, such as [1, 2]\n"
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
  EXPECT_EQ(to_string(ParamValue(std::vector<int64_t>{0, 1, 2})), "[0,1,2]");
  EXPECT_EQ(to_string(ParamValue(std::vector<int64_t>{})), "[]");
  EXPECT_EQ(to_string(Params{{"train.seed", int64_t{1}}, {"train.lr", 1e-4}}), "train.lr=1e-4 train.seed=1");
}

}  // namespace
}  // namespace hivq
