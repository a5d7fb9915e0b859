#include <gtest/gtest.h>

#include "jobs/search/searcher.h"
#include "jobs/spec.h"

namespace hivq {
namespace {

std::string mistakes_in(const std::string& text) {
  auto job = parse_job(text, "j.yaml");
  return job ? "no mistake" : job.error().message;
}

// A sweep with these lines, the first of which is line 4, and one parameter below them.
std::string with(const std::string& search, const std::string& lines, const std::string& parameter = "") {
  return mistakes_in("sweep:\n  search: " + search + "\n  trials: 20\n" + lines +
                     "  parameters:\n    train.lr: {log_uniform: [1e-5, 1e-2]}\n" + parameter);
}

TEST(SpecSearch, EverythingThatASearchKnowsIsRead) {
  auto job = parse_job(R"(
sweep:
  search: tpe
  trials: 50
  startup: 6
  stop: {by: asha, min_epochs: 3, reduction: 4}
  warm_start: [2, 3]
  constraints:
    - {metric: images_per_second, at_most: 20}
    - {metric: pro, at_least: 0.5}
  parameters:
    model.switch: [label, predicted]
    train.batch_size: {log_integer: [4, 64]}
    eval.pot: {uniform: [0, 100], step: 5, when: {model.switch: label}}
    train.seed: {integer: [0, 10], step: 2}
    data.normal_classes: {choice: [[0, 1], [2, 3]], when: {train.seed: [2, 4]}}
)",
                       "j.yaml");
  ASSERT_TRUE(job) << job.error().message;
  const SweepSpec& sweep = *job->sweep;
  EXPECT_EQ(sweep.startup, 6);
  EXPECT_EQ(sweep.stop, (StopSpec{"asha", 3, 4, 5}));
  EXPECT_EQ(sweep.warm_start, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(sweep.constraints, (std::vector<Constraint>{{"images_per_second", 20.0, {}}, {"pro", {}, 0.5}}));
  using Kind = SearchRange::Kind;
  EXPECT_EQ(sweep.parameters.at("train.batch_size"), (SearchRange{Kind::log_integer, {}, 4, 64}));
  EXPECT_EQ(sweep.parameters.at("eval.pot"),
            (SearchRange{Kind::uniform, {}, 0, 100, 5, {{"model.switch", {std::string("label")}}}}));
  EXPECT_EQ(sweep.parameters.at("train.seed"), (SearchRange{Kind::integer, {}, 0, 10, 2}));
  EXPECT_EQ(sweep.parameters.at("data.normal_classes").when,
            (std::map<std::string, std::vector<ParamValue>>{{"train.seed", {int64_t{2}, int64_t{4}}}}));
  auto again = parse_job(to_yaml(*job), "again.yaml");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, *job);
}

TEST(SpecSearch, OfSeveralMetricsTheFirstRanks) {
  auto job = parse_job(
      "sweep:\n  search: nsga2\n  trials: 9\n  metrics:\n    - {name: loss, goal: minimize}\n"
      "    - {name: pro}\n  parameters:\n    train.lr: {uniform: [0.1, 1]}\n",
      "j.yaml");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->sweep->metric, "loss");
  EXPECT_EQ(job->sweep->goal, "minimize");
  EXPECT_EQ(job->sweep->metrics, (std::vector<Objective>{{"loss", "minimize"}, {"pro", "maximize"}}));
}

TEST(SpecSearch, MistakesInRangesNameTheRemedy) {
  EXPECT_EQ(
      with("tpe", "", "    train.clip: {log_uniform: [1, 2], step: 1}\n"),
      "j.yaml:6: sweep.parameters.train.clip has a step, which only uniform and integer ranges have; leave it out");
  EXPECT_EQ(with("tpe", "", "    train.clip: {uniform: [1, 2], step: 3}\n"),
            "j.yaml:6: sweep.parameters.train.clip's step is 3; from 1 to 2 it must make 1 to 1000000 steps");
  EXPECT_EQ(with("tpe", "", "    train.seed: {integer: [1, 9], step: 0}\n"),
            "j.yaml:6: sweep.parameters.train.seed's step is 0; it must be at least 1");
  EXPECT_EQ(with("tpe", "", "    train.seed: {log_integer: [0, 9]}\n"),
            "j.yaml:6: sweep.parameters.train.seed goes from 0 to 9; a log_integer range must begin at 1 or above");
  EXPECT_EQ(with("tpe", "", "    train.clip: {step: 3}\n").substr(0, 55),
            "j.yaml:6: sweep.parameters.train.clip is a section; giv");
}

TEST(SpecSearch, MistakesInConditionsNameTheRemedy) {
  const std::string pot = "    eval.pot: {uniform: [0, 9], when: ";
  EXPECT_EQ(
      with("tpe", "", pot + "{model.switch: label}}\n"),
      "j.yaml:6: sweep.parameters.eval.pot's when names model.switch, which is no parameter of this sweep; add it, "
      "or leave the condition out");
  EXPECT_EQ(
      with("tpe", "", pot + "{train.lr: 1e-3}}\n"),
      "j.yaml:6: sweep.parameters.eval.pot's when names train.lr, which is a continuous range; give that a list or "
      "a step");
  EXPECT_EQ(with("tpe", "", pot + "{eval.score: std}}\n    eval.score: [max, mean]\n"),
            "j.yaml:6: sweep.parameters.eval.pot's when asks for eval.score = std, which its range does not hold");
  EXPECT_EQ(with("tpe", "", pot + "{eval.scor: std}}\n"),
            "j.yaml:6: eval.scor is no parameter; did you mean eval.score?");
  EXPECT_EQ(with("tpe", "", pot + "5}\n"),
            "j.yaml:6: sweep.parameters.eval.pot's when is 5; it must name other parameters and the values that they "
            "must have, such as {model.switch: label}");
  EXPECT_EQ(with("tpe", "",
                 "    eval.score: {choice: [max, mean], when: {train.seed: 1}}\n"
                 "    train.seed: {choice: [1, 2], when: {eval.score: max}}\n"),
            "j.yaml:6: sweep.parameters.eval.score's when leads back to itself; break the circle");
}

TEST(SpecSearch, RulesBetweenFieldsHoldWhereAParameterIsThere) {
  const std::string flag = "    model.quantizer.hierarchical: [false, true]\n";
  const auto levels = [&](const std::string& most, const std::string& when) {
    return with("tpe", "", flag + "    model.quantizer.levels: {integer: [2, " + most + "]" + when + "}\n");
  };
  EXPECT_EQ(levels("5", ", when: {model.quantizer.hierarchical: true}"), "no mistake");
  EXPECT_EQ(levels("5", ""),
            "j.yaml:7: model.quantizer.levels is 2, but model.quantizer.hierarchical is false, which has one level; "
            "leave it at 0");
  EXPECT_EQ(levels("6", ", when: {model.quantizer.hierarchical: true}"),
            "j.yaml:7: model.quantizer.levels is 6; it must be 2 to 5 (model.layers + 1), or 0 for all of them");
  // A condition on a condition; the rule reads neither of the first two.
  const std::string chain =
      "    eval.score: [max, mean]\n    train.seed: {choice: [1, 2], when: {eval.score: max}}\n"
      "    train.batch_size: {choice: [2, 8], when: {train.seed: 2}}\n";
  EXPECT_EQ(mistakes_in("gang: {ranks: 4}\nsweep:\n  search: tpe\n  trials: 9\n  parameters:\n" + chain),
            "j.yaml:8: train.batch_size is 2 and gang.ranks is 4; a batch must hold at least one image for each rank");
  EXPECT_EQ(mistakes_in("gang: {ranks: 2}\nsweep:\n  search: tpe\n  trials: 9\n  parameters:\n" + chain), "no mistake");
}

TEST(SpecSearch, WhatASearchCannotDoIsRefused) {
  EXPECT_EQ(with("tpe", "  metrics: [{name: a}, {name: b}]\n"),
            "j.yaml:4: sweep.metrics holds 2, but tpe optimises one; set sweep.search to nsga2, or keep one");
  EXPECT_EQ(with("bohb", ""),
            "j.yaml:2: sweep.search is bohb and sweep.stop.by is none; bohb learns at hyperband's rungs: set "
            "sweep.stop.by to hyperband");
  EXPECT_EQ(with("random", "  warm_start: [1]\n"),
            "j.yaml:4: sweep.warm_start is set, but a random search learns nothing; leave it out");
  EXPECT_EQ(with("cma-es", "  population: 3\n"),
            "j.yaml:4: sweep.population is 3; a generation of cma-es has at least 4, or 0: its own choice");
  EXPECT_EQ(
      with("pbt", "  population: 6\n"),
      "j.yaml:3: sweep.trials is 20 and the population 6; pbt needs whole generations: a multiple of a population "
      "of at least 2");
  EXPECT_EQ(with("pbt", "", "    model.width: [8, 16]\n"),
            "j.yaml:6: sweep.parameters.model.width may not be searched by pbt, whose trials go on with each other's "
            "weights; keep to train, loss, eval, model.dropout and model.jitter");
  EXPECT_EQ(with("pbt", "  stop: {by: asha}\n"),
            "j.yaml:4: sweep.stop.by is asha, but pbt replaces what falls behind by itself; leave it out");
}

TEST(SpecSearch, MistakesInMetricsAndConstraintsNameTheRemedy) {
  EXPECT_EQ(with("nsga2", "  metrics: [auroc]\n"),
            "j.yaml:4: sweep.metrics holds auroc; each must have a name and may have a goal");
  EXPECT_EQ(with("nsga2", "  metrics: [{goal: minimize}]\n"), "j.yaml:4: a metric has no name; give it one: `name: …`");
  EXPECT_EQ(with("nsga2", "  metrics: [{name: a}, {name: a}]\n"), "j.yaml:4: sweep.metrics holds a twice; keep one");
  EXPECT_EQ(with("nsga2", "  metrics: [{name: a, gaol: minimize}]\n"),
            "j.yaml:4: gaol is no key of a metric; there are name, goal");
  EXPECT_EQ(
      with("nsga2", "  metric: b\n  metrics: [{name: a}]\n"),
      "j.yaml:5: sweep.metrics begins with a (maximize), but sweep.metric is b (maximize); leave out sweep.metric "
      "and sweep.goal");
  EXPECT_EQ(with("tpe", "  constraints: [{metric: a}]\n"),
            "j.yaml:4: a constraint lacks its metric or its bound; write {metric: …, at_most: …} or at_least");
  EXPECT_EQ(with("tpe", "  constraints: [{metric: a, at_most: much}]\n"),
            "j.yaml:4: a constraint's at_most is much; it must be a number\n"
            "j.yaml:4: a constraint lacks its metric or its bound; write {metric: …, at_most: …} or at_least");
}

TEST(SpecSearch, ParametersComeBackFromTheirTexts) {
  const Params params = {{"train.lr", 1.23456e-5},
                         {"train.seed", int64_t{9007199254740991}},
                         {"model.expert_switching", false},
                         {"eval.score", std::string("max")},
                         {"train.start_from", std::string("3/1")},
                         {"eval.pot", 80.0},
                         {"eval.pot_levels", std::vector<int64_t>{}},
                         {"data.normal_classes", std::vector<int64_t>{3, 1, 4}}};
  std::map<std::string, std::string> texts;
  for (const auto& [key, value] : params) texts[key] = to_string(value);
  auto read = read_params(texts);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, params);
  EXPECT_EQ(read_params({{"train.lr", "much"}}).error().message, "train.lr is much, which this version cannot read");
  EXPECT_EQ(read_params({{"train.lrr", "1"}}).error().message, "train.lrr is no parameter in this version");
}

}  // namespace
}  // namespace hivq
