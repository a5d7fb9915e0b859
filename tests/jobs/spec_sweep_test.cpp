#include <gtest/gtest.h>

#include "jobs/spec.h"

namespace hivq {
namespace {

std::string mistakes_in(const std::string& text) {
  auto job = parse_job(text, "j.yaml");
  return job ? "no mistake" : job.error().message;
}

// The only mistake of a random search over one parameter, which stands in line 5.
std::string mistake_in_range(const std::string& parameter) {
  return mistakes_in("sweep:\n  search: random\n  trials: 4\n  parameters:\n    " + parameter + "\n");
}

TEST(SpecSweep, EveryKindOfRangeIsRead) {
  auto job = parse_job(R"(
sweep:
  search: random
  trials: 20
  seed: 3
  metric: pixel_auroc
  goal: minimize
  parameters:
    train.lr: {log_uniform: [1.0e-5, 1.0e-3]}
    train.seed: [0, 1, 2]
    model.width: {choice: [128, 256]}
    train.batch_size: {integer: [8, 64]}
    loss.commitment: {uniform: [0.1, 1]}
    model.expert_switching: [true, false]
    model.switch: [label, predicted]
)",
                       "j.yaml");
  ASSERT_TRUE(job) << job.error().message;
  ASSERT_TRUE(job->sweep);
  SweepSpec expected;
  expected.search = "random";
  expected.trials = 20;
  expected.seed = 3;
  expected.metric = "pixel_auroc";
  expected.goal = "minimize";
  using Kind = SearchRange::Kind;
  expected.parameters["train.lr"] = {Kind::log_uniform, {}, 1e-5, 1e-3};
  expected.parameters["train.seed"] = {Kind::choice, {int64_t{0}, int64_t{1}, int64_t{2}}, 0, 0};
  expected.parameters["model.width"] = {Kind::choice, {int64_t{128}, int64_t{256}}, 0, 0};
  expected.parameters["train.batch_size"] = {Kind::integer, {}, 8, 64};
  expected.parameters["loss.commitment"] = {Kind::uniform, {}, 0.1, 1};
  expected.parameters["model.expert_switching"] = {Kind::choice, {true, false}, 0, 0};
  expected.parameters["model.switch"] = {Kind::choice, {std::string("label"), std::string("predicted")}, 0, 0};
  EXPECT_EQ(*job->sweep, expected);
}

TEST(SpecSweep, VariantsKeepTheirOrder) {
  auto job = parse_job("sweep:\n  variants:\n    - name: b\n      train.lr: 1\n    - name: a\n", "j.yaml");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->sweep->variants, (std::vector<Variant>{{"b", {{"train.lr", 1.0}}, {}}, {"a", {}, {}}}));
}

TEST(SpecSweep, ListsOfNumbersAreChoicesAndSettingsOfVariants) {
  auto job = parse_job(R"(
sweep:
  variants:
    - name: fine
      backbone.blocks: []
      eval.pot_levels: [3, 4]
  parameters:
    data.normal_classes: [[0, 1], [8, 9]]
)",
                       "j.yaml");
  ASSERT_TRUE(job) << job.error().message;
  using List = std::vector<int64_t>;
  EXPECT_EQ(job->sweep->variants[0].params, (Params{{"backbone.blocks", List{}}, {"eval.pot_levels", List{3, 4}}}));
  EXPECT_EQ(job->sweep->parameters.at("data.normal_classes"),
            (SearchRange{SearchRange::Kind::choice, {List{0, 1}, List{8, 9}}, 0, 0}));
  auto again = parse_job(to_yaml(*job), "again.yaml");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, *job);
}

TEST(SpecSweep, ListsAreCheckedWhereverTheyStand) {
  EXPECT_EQ(mistake_in_range("data.normal_classes: [0, 1]"),
            "j.yaml:5: sweep.parameters.data.normal_classes is 0; it must be a list of whole numbers, such as [1, 2]\n"
            "j.yaml:5: sweep.parameters.data.normal_classes is 1; it must be a list of whole numbers, such as [1, 2]");
  EXPECT_EQ(mistake_in_range("data.normal_classes: [[0, 0], [1, x]]"),
            "j.yaml:5: sweep.parameters.data.normal_classes holds 0 twice; keep one\n"
            "j.yaml:5: sweep.parameters.data.normal_classes holds x; it must hold whole numbers");
  EXPECT_EQ(mistake_in_range("data.normal_classes: [[0, 1], [0, 1]]"),
            "j.yaml:5: sweep.parameters.data.normal_classes holds [0,1] twice; keep one");
  EXPECT_EQ(mistake_in_range("data.normal_classes: [[0, 1], [2, 12]]"),
            "j.yaml:5: data.normal_classes holds 12; fashion-mnist has the classes 0 to 9");
  EXPECT_EQ(mistake_in_range("backbone.stages: {integer: [1, 2]}"),
            "j.yaml:5: sweep.parameters.backbone.stages has the range integer, but backbone.stages must be a list of "
            "whole numbers, such as [1, 2]; give a list of lists: [[0, 1], [2, 3]]");
  EXPECT_EQ(mistakes_in("sweep:\n  variants:\n    - name: a\n      backbone.stages: []\n"),
            "j.yaml:4: backbone.stages is an empty list; it must hold at least one number");
}

TEST(SpecSweep, AVariantMayTellThePublishedFigure) {
  auto job = parse_job("sweep:\n  variants:\n    - {name: a, published: 0.711}\n    - name: b\n", "j.yaml");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->sweep->variants, (std::vector<Variant>{{"a", {}, 0.711}, {"b", {}, {}}}));
  EXPECT_EQ(mistakes_in("sweep:\n  variants:\n    - name: a\n      published: much\n"),
            "j.yaml:4: a variant's published figure is much; it must be a number");
  EXPECT_EQ(mistakes_in("sweep:\n  variants:\n    - name: a\n      published: .nan\n"),
            "j.yaml:4: a variant's published figure is .nan; it must be a finite number");
  EXPECT_EQ(mistakes_in("sweep: {parameters: {published: [1]}}"),
            "j.yaml:1: published is no parameter; parameters are written in full, such as train.lr");
}

TEST(SpecSweep, AnEmptySweepSectionIsNoSweep) {
  auto job = parse_job("sweep:\n", "j.yaml");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_FALSE(job->sweep);
}

TEST(SpecSweep, ASweepMustHaveSomethingToVary) {
  EXPECT_EQ(mistakes_in("sweep:\n  search: grid\n"),
            "j.yaml:1: sweep has neither parameters nor variants; give it some, or leave it out");
  EXPECT_EQ(mistakes_in("sweep:\n  search: random\n  trials: 3\n  variants:\n    - name: a\n"),
            "j.yaml:1: sweep.search is random, but sweep.parameters is empty; say what to draw");
}

TEST(SpecSweep, ARandomSearchNeedsToKnowHowManyTrials) {
  EXPECT_EQ(mistakes_in("sweep:\n  search: random\n  parameters:\n    train.seed: [1, 2]\n"),
            "j.yaml:1: sweep.trials is 0; a random search needs to know how many: at least 1");
}

TEST(SpecSweep, AGridNeedsFiniteRanges) {
  EXPECT_EQ(mistakes_in("sweep:\n  parameters:\n    train.lr: {log_uniform: [1e-5, 1e-3]}\n"),
            "j.yaml:3: sweep.parameters.train.lr is a continuous range, which a grid cannot walk; give a list, or set "
            "sweep.search to random");
}

TEST(SpecSweep, AGridThatIsTooLargeIsRefused) {
  EXPECT_EQ(
      mistakes_in(
          "sweep:\n  parameters:\n    train.epochs: {integer: [1, 1001]}\n    train.seed: {integer: [1, 1000]}\n"),
      "j.yaml:1: the sweep has 1001000 trials; it must have at most 1000000: shorten its lists, or set sweep.search to "
      "random");
  EXPECT_EQ(mistakes_in("sweep:\n  parameters:\n    train.epochs: {integer: [1, 1000000]}\n"
                        "    train.seed: {integer: [0, 9007199254740991]}\n"),
            "j.yaml:1: the sweep has far too many trials; it must have at most 1000000: shorten its lists, or set "
            "sweep.search to random");
  EXPECT_EQ(mistakes_in("sweep:\n  trials: 10\n  parameters:\n    train.seed: {integer: [0, 9007199254740991]}\n"),
            "no mistake");
}

TEST(SpecSweep, ParametersMustExist) {
  EXPECT_EQ(mistake_in_range("train.lrr: [1]"), "j.yaml:5: train.lrr is no parameter; did you mean train.lr?");
  EXPECT_EQ(mistake_in_range("data.classes: [[a]]"),
            "j.yaml:5: data.classes is no parameter; a list of texts cannot be a parameter of a sweep");
  EXPECT_EQ(mistake_in_range("train: {lr: [1, 2]}"),
            "j.yaml:5: train is no parameter; write its keys in full, such as train.lr");
}

TEST(SpecSweep, ChoicesAreCheckedLikeTheField) {
  EXPECT_EQ(mistake_in_range("train.batch_size: [8, 0]"),
            "j.yaml:5: sweep.parameters.train.batch_size is 0; it must be at least 1");
  EXPECT_EQ(mistake_in_range("model.switch: [label, guess]"),
            "j.yaml:5: sweep.parameters.model.switch is guess; it must be label or predicted");
  EXPECT_EQ(mistake_in_range("train.lr: [0.1, 1e-1]"),
            "j.yaml:5: sweep.parameters.train.lr holds 1e-1 twice; keep one");
  EXPECT_EQ(
      mistake_in_range("train.seed: []"),
      "j.yaml:5: sweep.parameters.train.seed is an empty list; give a list such as [1, 2] or {integer: [low, high]}");
  EXPECT_EQ(mistake_in_range("train.lr: 0.1"),
            "j.yaml:5: sweep.parameters.train.lr is 0.1; give a list such as [0.1, 0.2], {uniform: [low, high]} or "
            "{log_uniform: [low, high]}");
}

TEST(SpecSweep, RangesAreCheckedLikeTheField) {
  EXPECT_EQ(mistake_in_range("train.clip: {uniform: [-1, 2]}"),
            "j.yaml:5: sweep.parameters.train.clip is -1; it must be at least 0");
  EXPECT_EQ(mistake_in_range("loss.pot: {log_uniform: [0, 2]}"),
            "j.yaml:5: sweep.parameters.loss.pot goes from 0 to 2; a log_uniform range must begin above 0");
  EXPECT_EQ(mistake_in_range("train.batch_size: {integer: [9, 3]}"),
            "j.yaml:5: sweep.parameters.train.batch_size goes from 9 to 3; the first must be below the second");
  EXPECT_EQ(mistake_in_range("train.clip: {uniform: [1]}"),
            "j.yaml:5: sweep.parameters.train.clip has a range of 1 values; it must be [low, high]");
  EXPECT_EQ(
      mistake_in_range("train.epochs: {uniform: [1, 3]}"),
      "j.yaml:5: sweep.parameters.train.epochs has the range uniform, but train.epochs must be a whole number; give a "
      "list such as [1, 2] or {integer: [low, high]}");
  EXPECT_EQ(
      mistake_in_range("train.epochs: {normal: [1, 3]}"),
      "j.yaml:5: sweep.parameters.train.epochs has the unknown range normal; give a list such as [1, 2] or {integer: "
      "[low, high]}");
  EXPECT_EQ(
      mistake_in_range("train.seed: {integer: [0, 9223372036854775807]}"),
      "j.yaml:5: sweep.parameters.train.seed goes from 0 to 9223372036854775807; the ends of an integer range must be "
      "at most 2^53");
}

TEST(SpecSweep, VariantsNeedDifferentNames) {
  EXPECT_EQ(
      mistakes_in("sweep:\n  variants:\n    - name: a\n    - name: a\n    - train.lr: 3\n    - 4\n"),
      "j.yaml:4: two variants are named 'a', the first at j.yaml:3; names must differ\n"
      "j.yaml:5: a variant has no name; give it one: `name: …`\n"
      "j.yaml:6: sweep.variants holds 4; each variant must have a name and settings, such as `- name: small` and below "
      "it `  model.width: 128`");
}

TEST(SpecSweep, VariantsAreCheckedLikeTheFields) {
  EXPECT_EQ(mistakes_in("sweep:\n  variants:\n    - name: a\n      train.lr: -1\n      tain.lr: 1\n"),
            "j.yaml:4: train.lr is -1; it must be above 0\n"
            "j.yaml:5: tain.lr is no parameter; did you mean train.lr?");
}

TEST(SpecSweep, AParameterOfAVariantMayNotBeSearchedToo) {
  EXPECT_EQ(mistakes_in("sweep:\n  variants:\n    - name: a\n      train.lr: 1\n  parameters:\n    train.lr: [1, 2]\n"),
            "j.yaml:6: sweep.parameters.train.lr is also set by the variant 'a'; set it in one of the two");
}

TEST(SpecSweep, EverySettingOfTheSweepMustKeepTheRulesBetweenFields) {
  EXPECT_EQ(mistakes_in("model:\n  heads: 8\nsweep:\n  parameters:\n    model.width: [128, 100]\n"),
            "j.yaml:5: model.width is 100 and model.heads is 8; the width must be a multiple of the heads");
  EXPECT_EQ(
      mistakes_in(
          "sweep:\n  variants:\n    - name: good\n      model.heads: 4\n    - name: bad\n      model.heads: 3\n"),
      "j.yaml:5: variant 'bad': model.width is 256 and model.heads is 3; the width must be a multiple of the heads");
  EXPECT_EQ(
      mistakes_in("sweep:\n  parameters:\n    gang.ranks: {integer: [1, 17]}\n"),
      "j.yaml:3: train.batch_size is 16 and gang.ranks is 17; a batch must hold at least one image for each rank");
}

TEST(SpecSweep, AValueThatTheSweepReplacesNeedNotFit) {
  EXPECT_EQ(mistakes_in("model:\n  heads: 3\nsweep:\n  parameters:\n    model.heads: [4, 8]\n"), "no mistake");
}

TEST(SpecSweep, ASweepsOwnFieldsAreChecked) {
  EXPECT_EQ(
      mistakes_in(
          "sweep:\n  search: gird\n  trials: -1\n  metric: ''\n  goal: max\n  parameters:\n    train.seed: [1]\n"),
      "j.yaml:2: sweep.search is gird; it must be grid, random, sobol, tpe, gp, cma-es, bohb, nsga2 or pbt\n"
      "j.yaml:3: sweep.trials is -1; it must be at least 0\n"
      "j.yaml:4: sweep.metric is \"\"; it must not be empty\n"
      "j.yaml:5: sweep.goal is max; it must be maximize or minimize");
}

}  // namespace
}  // namespace hivq
