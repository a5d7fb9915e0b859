// Studies: what their file says, and what a trial's texts mean.

#include <gtest/gtest.h>

#include "jobs/search/searcher.h"
#include "jobs/study.h"

namespace hivq {
namespace {

JobSpec parsed(const std::string& text) {
  auto job = parse_job(text, "s.yaml");
  EXPECT_TRUE(job) << (job ? "" : job.error().message);
  return job ? *job : JobSpec{};
}

std::string mistake_in(const std::string& text) {
  auto job = parse_job(text, "s.yaml");
  return job ? "" : job.error().message;
}

TEST(SpecStudy, KnowsNoParameterBeforehand) {
  const JobSpec job = parsed("name: s\nstudy: {trials: 7}\n");
  EXPECT_TRUE(job.study);
  EXPECT_EQ(job.sweep->search, "tpe");
  EXPECT_EQ(job.sweep->metric, "value");
  EXPECT_EQ(job.sweep->goal, "minimize");
  EXPECT_EQ(make_searcher(job)->size(), 7);
  EXPECT_EQ(make_searcher(job)->propose(6)->params, Params{});
}

TEST(SpecStudy, IsTheSameAfterWritingAndReading) {
  const std::string text =
      "name: s\nproject: p\nafter: [1]\nmax_trial_seconds: 9\n"
      "study:\n  search: tpe\n  trials: 50\n  seed: 7\n  metric: loss\n  goal: minimize\n"
      "  stop: {by: hyperband, min_epochs: 2, reduction: 3, max_epochs: 81}\n"
      "  constraints: [{metric: size, at_most: 3}]\n"
      "  parameters:\n"
      "    x: {uniform: [-5, 5]}\n    \"1e3\": {integer: [-3, 9], step: 4}\n    \"a: b #\": {log_uniform: [1e-9, "
      "1e300]}\n"
      "    kind: [linear, \"true\", 2, 0.5, 1e400x, \"3\", \"ünï \\\"q\\\"\"]\n"
      "    model.width: {log_integer: [1, 512], when: {kind: [linear, 2]}}\n"
      "    whole: [1.0, 1e3, 1e22, -7, false]\n";
  const JobSpec job = parsed(text);
  const std::string yaml = to_yaml(job);
  EXPECT_EQ(parsed(yaml), job) << yaml;
  EXPECT_EQ(to_yaml(parsed(yaml)), yaml);
  EXPECT_EQ(yaml.find("model:"), yaml.npos) << yaml;
  EXPECT_EQ(yaml.find("sweep"), yaml.npos) << yaml;
  const auto& kind = job.sweep->parameters.at("kind").choices;
  const std::vector<ParamValue> expected = {
      std::string("linear"), std::string("true"),     int64_t{2}, 0.5, std::string("1e400x"),
      std::string("3"),      std::string("ünï \"q\"")};
  EXPECT_EQ(kind, expected);
  const std::vector<ParamValue> whole = {int64_t{1}, int64_t{1000}, 1e22, int64_t{-7}, false};
  EXPECT_EQ(job.sweep->parameters.at("whole").choices, whole);
}

TEST(SpecStudy, TellsMistakesByItsOwnKeyAndLine) {
  EXPECT_EQ(mistake_in("name: s\nstudy:\n  trials: 0\n"),
            "s.yaml:3: study.trials is 0; a tpe search needs to know how many: at least 1");
  EXPECT_EQ(mistake_in("name: s\nstudy:\n  trials: -1\n"), "s.yaml:3: study.trials is -1; it must be at least 0");
  EXPECT_NE(
      mistake_in("study: {trials: 3, serch: tpe}\n").find("study.serch is an unknown key; did you mean study.search?"),
      std::string::npos);
  EXPECT_EQ(mistake_in("study: {trials: 3}\ntrain: {lr: 0.1}\n"),
            "s.yaml:2: train has no place in a study, whose trials your own program runs; there are name, project, "
            "after, after_any, max_trial_seconds, max_job_seconds, study");
  for (const char* other : {"sweep: {search: grid}", "priority: 3", "retention: {last: 2}", "preset: hvq-trans"}) {
    EXPECT_NE(mistake_in(fmt::format("study: {{trials: 3}}\n{}\n", other)).find("has no place in a study"),
              std::string::npos)
        << other;
  }
  EXPECT_NE(mistake_in("study:\n  trials: 3\n  variants: [{name: a}]\n").find("study.variants has no place"),
            std::string::npos);
  EXPECT_NE(mistake_in("study: {trials: 3, search: grid}\n").find("study.parameters is empty"), std::string::npos);
  EXPECT_NE(mistake_in("study: {trials: 4, search: pbt, population: 2}\n").find("study.search is pbt"),
            std::string::npos);
  EXPECT_NE(mistake_in("study: {trials: 4, stop: {by: hyperband}}\n").find("study.stop.max_epochs is 0; hyperband"),
            std::string::npos);
  EXPECT_NE(mistake_in("study: [1]\n").find("study is a list; it must be a section"), std::string::npos);
  EXPECT_NE(mistake_in("sweep: {parameters: {train.seed: [1, 2]}, stop: {max_epochs: 3}}\n")
                .find("sweep.stop.max_epochs is for studies"),
            std::string::npos);
  EXPECT_NE(mistake_in("study: {trials: 3, parameters: {x: [1, 1.0]}}\n").find("study.parameters.x holds 1.0 twice"),
            std::string::npos);
  EXPECT_NE(mistake_in("study: {trials: 3, parameters: {x: [1, \"1\"]}}\n").find("holds \"1\" twice"), std::string::npos);
  EXPECT_NE(mistake_in("study: {trials: 3, parameters: {\"\": [1]}}\n").find("must not be empty"), std::string::npos);
  EXPECT_NE(mistake_in("study: {trials: 3, parameters: {x: 5}}\n").find("study.parameters.x is 5; give a list"),
            std::string::npos);
}

TEST(SpecStudy, TakesOverrides) {
  auto job = parse_job("study: {trials: 3}\n", "s.yaml", {{"study.trials", "5"}, {"study.parameters.x.y", "[1, 2]"}});
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->sweep->trials, 5);
  EXPECT_TRUE(job->sweep->parameters.contains("x.y"));
}

TEST(Study, ARangeIsReadByItself) {
  for (const char* text : {"{\"uniform\": [-5, 5]}", "{uniform: [0, 1], step: 0.25}", "{log_uniform: [1e-5, 0.1]}",
                           "{integer: [1, 8]}", "{log_integer: [1, 512]}", "[relu, tanh]", "[1, 2.5, true, x]"}) {
    auto range = parse_range(text, "x");
    ASSERT_TRUE(range) << range.error().message;
    auto again = parse_range(to_yaml(*range), "x");
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(*again, *range) << text;
  }
  const auto refused = [](const std::string& text) {
    auto range = parse_range(text, "x");
    return range ? "" : range.error().message;
  };
  EXPECT_EQ(refused("{uniform: [5, -5]}"), "x goes from 5 to -5; the first must be below the second");
  EXPECT_NE(refused("{uniform: [0, .inf]}").find("finite"), std::string::npos);
  EXPECT_NE(refused("{gaussian: [0, 1]}").find("x has the unknown range gaussian"), std::string::npos);
  EXPECT_NE(refused("[]").find("x is an empty list"), std::string::npos);
  EXPECT_NE(refused("{uniform: [0, 1], when: {y: 1}}").find("condition"), std::string::npos);
  EXPECT_NE(refused("{uniform: [0, 1]").size(), 0u);
  EXPECT_NE(refused("").size(), 0u);
  EXPECT_FALSE(parse_range("[1]", std::string(201, 'x')));
  EXPECT_FALSE(parse_range("[1]", "a\nb"));
}

TEST(Study, ValuesOfATrialAreReadByTheirRanges) {
  const JobSpec job = parsed(
      "study:\n  trials: 3\n  parameters:\n    x: {uniform: [0, 1]}\n    n: {integer: [1, 9]}\n    k: [a, 1, true, "
      "0.5]\n");
  const SweepSpec& sweep = *job.sweep;
  const Params params = values_in(sweep, {{"x", "0.5"}, {"n", "3"}, {"k", "true"}, {"gone", "1"}});
  EXPECT_EQ(params, (Params{{"x", 0.5}, {"n", int64_t{3}}, {"k", true}}));
  EXPECT_FALSE(read_value(sweep.parameters.at("x"), "x", "2"));
  EXPECT_FALSE(read_value(sweep.parameters.at("n"), "n", "2.5"));
  EXPECT_FALSE(read_value(sweep.parameters.at("k"), "k", "b"));
}

TEST(Study, WhatATrialDidNotAskForIsDrawnAsRandomSearchWouldDrawIt) {
  JobSpec job =
      parsed("study: {search: random, trials: 9, seed: 3, parameters: {x: {uniform: [0, 1]}, k: [a, b, c]}}\n");
  for (uint64_t trial = 0; trial < 9; ++trial) {
    const Params all = filled(*job.sweep, trial, {});
    EXPECT_EQ(all, make_searcher(job)->propose(static_cast<int64_t>(trial))->params);
    const Params one = filled(*job.sweep, trial, {{"k", "b"}});
    EXPECT_EQ(one.at("x"), all.at("x"));
    EXPECT_EQ(one.at("k"), ParamValue(std::string("b")));
  }
}

TEST(Study, AnotherOneOfTheNameIsToldByItsFirstDifference) {
  const JobSpec there = parsed("name: s\nstudy: {trials: 50, seed: 7, parameters: {x: {uniform: [0, 1]}}}\n");
  const auto difference = [&](const std::string& text) {
    const Status same = same_study(there, parsed(text));
    return same ? "" : same.error().message;
  };
  EXPECT_EQ(difference("name: s\nstudy: {trials: 50, seed: 7}\n"), "");
  EXPECT_EQ(difference("name: s\nstudy: {trials: 50, seed: 7, parameters: {x: {uniform: [0, 1]}}}\n"), "");
  EXPECT_EQ(difference("name: s\nstudy: {trials: 100, seed: 7}\n"), "study.trials is 50 there and 100 here");
  EXPECT_EQ(difference("name: s\nstudy: {trials: 50, seed: 7, parameters: {x: [1]}}\n"),
            "the parameter x is {uniform: [0, 1]} there and [1] here");
  EXPECT_EQ(difference("name: s\nstudy: {trials: 50, seed: 7, constraints: [{metric: m, at_most: 1}]}\n"),
            "study.constraints are other ones there");
}

}  // namespace
}  // namespace hivq
