#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "jobs/philox.h"
#include "jobs/search/searcher.h"

namespace hivq {
namespace {

using Kind = SearchRange::Kind;

SearchRange choice(std::vector<ParamValue> values) { return {Kind::choice, std::move(values), 0, 0}; }

JobSpec job_of(SweepSpec sweep) {
  JobSpec job;
  job.sweep = std::move(sweep);
  return job;
}

std::vector<std::string> proposals(const JobSpec& job) {
  const auto searcher = make_searcher(job);
  std::vector<std::string> all;
  for (int64_t i = 0; i < searcher->size(); ++i) {
    auto proposal = searcher->propose(i);
    all.push_back(proposal ? proposal->variant + ": " + to_string(proposal->params) : "nothing");
  }
  return all;
}

// Every parameter kind, without variants.
SweepSpec random_sweep(uint64_t seed, int64_t trials) {
  SweepSpec sweep;
  sweep.search = "random";
  sweep.trials = trials;
  sweep.seed = seed;
  sweep.parameters["train.lr"] = {Kind::log_uniform, {}, 1e-5, 1e-1};
  sweep.parameters["loss.pot"] = {Kind::uniform, {}, 0.25, 0.75};
  sweep.parameters["train.batch_size"] = {Kind::integer, {}, 8, 11};
  sweep.parameters["eval.score"] = choice({std::string("max"), std::string("mean"), std::string("std")});
  return sweep;
}

// The known answers of the Random123 library's kat_vectors, philox4x32 with 10 rounds.
TEST(Philox, GivesThePublishedAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox({ones, ones, ones, ones}, {ones, ones}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Search, AJobWithoutASweepHasOneTrialWithoutParameters) {
  const auto searcher = make_searcher(JobSpec{});
  EXPECT_EQ(searcher->size(), 1);
  ASSERT_TRUE(searcher->propose(0));
  EXPECT_TRUE(searcher->propose(0)->params.empty());
  EXPECT_FALSE(searcher->propose(1));
}

TEST(Search, NothingIsProposedOutsideOfTheSweep) {
  SweepSpec grid;
  grid.parameters["train.seed"] = choice({int64_t{1}, int64_t{2}});
  for (const JobSpec& job : {JobSpec{}, job_of(grid), job_of(random_sweep(1, 3))}) {
    const auto searcher = make_searcher(job);
    EXPECT_FALSE(searcher->propose(-1));
    EXPECT_FALSE(searcher->propose(searcher->size()));
    EXPECT_FALSE(searcher->propose(std::numeric_limits<int64_t>::max()));
    EXPECT_FALSE(searcher->propose(std::numeric_limits<int64_t>::min()));
  }
}

TEST(GridSearch, TheLastKeyChangesFastest) {
  SweepSpec sweep;
  sweep.parameters["train.seed"] = {Kind::integer, {}, 1, 3};
  sweep.parameters["train.lr"] = choice({0.5, 0.25});
  EXPECT_EQ(proposals(job_of(sweep)),
            (std::vector<std::string>{": train.lr=0.5 train.seed=1", ": train.lr=0.5 train.seed=2",
                                      ": train.lr=0.5 train.seed=3", ": train.lr=0.25 train.seed=1",
                                      ": train.lr=0.25 train.seed=2", ": train.lr=0.25 train.seed=3"}));
}

TEST(GridSearch, EveryVariantRunsTheWholeGrid) {
  SweepSpec sweep;
  sweep.parameters["train.seed"] = choice({int64_t{1}, int64_t{2}});
  sweep.variants = {{"b", {{"train.lr", 0.5}}}, {"a", {}}};
  EXPECT_EQ(proposals(job_of(sweep)),
            (std::vector<std::string>{"b: train.lr=0.5 train.seed=1", "b: train.lr=0.5 train.seed=2", "a: train.seed=1",
                                      "a: train.seed=2"}));
}

TEST(GridSearch, VariantsAloneAreASweep) {
  SweepSpec sweep;
  sweep.variants = {{"b", {{"train.lr", 0.5}}}, {"a", {}}};
  EXPECT_EQ(proposals(job_of(sweep)), (std::vector<std::string>{"b: train.lr=0.5", "a: "}));
}

TEST(GridSearch, TrialsKeepsTheFirstSettingsOfEachVariant) {
  SweepSpec sweep;
  sweep.parameters["train.seed"] = {Kind::integer, {}, 1, 100};
  sweep.variants = {{"a", {}}, {"b", {}}};
  sweep.trials = 2;
  EXPECT_EQ(proposals(job_of(sweep)),
            (std::vector<std::string>{"a: train.seed=1", "a: train.seed=2", "b: train.seed=1", "b: train.seed=2"}));
}

TEST(GridSearch, ASizeBeyond64BitsSaturates) {
  SweepSpec sweep;
  sweep.parameters["train.seed"] = {Kind::integer, {}, 0, 9007199254740992.0};
  sweep.parameters["train.epochs"] = {Kind::integer, {}, 1, 1000000};
  const auto searcher = make_searcher(job_of(sweep));
  EXPECT_EQ(searcher->size(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(to_string(searcher->propose(9007199254740993)->params), "train.epochs=2 train.seed=0");
  EXPECT_EQ(saturating_product(int64_t{1} << 32, int64_t{1} << 31), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(saturating_product(int64_t{1} << 31, int64_t{1} << 31), int64_t{1} << 62);
  EXPECT_EQ(saturating_product(5, 0), 0);
}

// Fixed for ever: a restarted coordinator, of whatever version, must propose the same.
TEST(RandomSearch, ProposesTheSameOnEveryMachine) {
  const auto all = proposals(job_of(random_sweep(42, 3)));
  EXPECT_EQ(all,
            (std::vector<std::string>{": eval.score=std loss.pot=0.479141 train.batch_size=10 train.lr=0.0402818",
                                      ": eval.score=max loss.pot=0.526538 train.batch_size=8 train.lr=0.00171374",
                                      ": eval.score=mean loss.pot=0.272159 train.batch_size=10 train.lr=1.01863e-5"}));
}

TEST(RandomSearch, AnotherSeedProposesSomethingElse) {
  EXPECT_NE(proposals(job_of(random_sweep(1, 3))), proposals(job_of(random_sweep(2, 3))));
}

TEST(RandomSearch, EveryVariantRunsTheSameSettings) {
  SweepSpec sweep = random_sweep(5, 4);
  sweep.variants = {{"a", {}}, {"b", {{"train.clip", 1.0}}}};
  const auto searcher = make_searcher(job_of(sweep));
  ASSERT_EQ(searcher->size(), 8);
  for (int64_t setting = 0; setting < 4; ++setting) {
    auto a = searcher->propose(2 * setting), b = searcher->propose(2 * setting + 1);
    EXPECT_EQ(a->variant, "a");
    EXPECT_EQ(b->variant, "b");
    EXPECT_EQ(b->params.erase("train.clip"), 1u);
    EXPECT_EQ(a->params, b->params);
  }
}

TEST(RandomSearch, MoreTrialsAndMoreParametersLeaveTheFirstAsTheyAre) {
  const auto few = make_searcher(job_of(random_sweep(5, 4)));
  SweepSpec more = random_sweep(5, 1000);
  more.parameters["train.seed"] = choice({int64_t{1}, int64_t{2}});
  const auto many = make_searcher(job_of(more));
  for (int64_t i = 0; i < 4; ++i) {
    auto proposal = many->propose(i);
    proposal->params.erase("train.seed");
    EXPECT_EQ(few->propose(i)->params, proposal->params);
  }
}

TEST(RandomSearch, ValuesLieInTheirRangesAndFillThem) {
  constexpr int64_t n = 20000;
  const auto searcher = make_searcher(job_of(random_sweep(3, n)));
  double log_sum = 0, sum = 0, least = 1, most = 0;
  std::map<int64_t, int64_t> sizes;
  std::map<std::string, int64_t> words;
  for (int64_t i = 0; i < n; ++i) {
    const Params params = searcher->propose(i)->params;
    const double lr = std::get<double>(params.at("train.lr")), pot = std::get<double>(params.at("loss.pot"));
    ASSERT_TRUE(lr >= 1e-5 && lr <= 1e-1 && pot >= 0.25 && pot <= 0.75) << i;
    log_sum += std::log10(lr);
    sum += pot;
    least = std::min(least, pot);
    most = std::max(most, pot);
    ++sizes[std::get<int64_t>(params.at("train.batch_size"))];
    ++words[std::get<std::string>(params.at("eval.score"))];
  }
  // Means of 20,000 draws; the bounds are five standard deviations.
  EXPECT_NEAR(log_sum / n, -3, 5 * 4 / std::sqrt(12.0 * n));
  EXPECT_NEAR(sum / n, 0.5, 5 * 0.5 / std::sqrt(12.0 * n));
  EXPECT_LT(least, 0.2505);
  EXPECT_GT(most, 0.7495);
  ASSERT_EQ(sizes.size(), 4u);
  EXPECT_EQ(sizes.begin()->first, 8);
  EXPECT_EQ(sizes.rbegin()->first, 11);
  for (const auto& [size, count] : sizes) EXPECT_NEAR(double(count), n / 4.0, 5 * std::sqrt(n * 3 / 16.0)) << size;
  ASSERT_EQ(words.size(), 3u);
  for (const auto& [word, count] : words) EXPECT_NEAR(double(count), n / 3.0, 5 * std::sqrt(n * 2 / 9.0)) << word;
}

TEST(RandomSearch, ParametersAreIndependent) {
  constexpr int64_t n = 20000;
  SweepSpec sweep = random_sweep(9, n);
  sweep.parameters["loss.commitment"] = sweep.parameters.at("loss.pot");
  const auto searcher = make_searcher(job_of(sweep));
  double product = 0;
  std::set<double> distinct;
  for (int64_t i = 0; i < n; ++i) {
    const Params params = searcher->propose(i)->params;
    const double a = std::get<double>(params.at("loss.pot")) - 0.5,
                 b = std::get<double>(params.at("loss.commitment")) - 0.5;
    product += a * b * 48;  // 1/48 is the variance of each
    distinct.insert(a);
  }
  EXPECT_NEAR(product / n, 0, 5 / std::sqrt(double(n)));
  EXPECT_GT(distinct.size(), n * 97 / 100);  // six digits: of 500,000 values few come twice
}

TEST(RandomSearch, RealValuesHaveSixDigits) {
  const auto searcher = make_searcher(job_of(random_sweep(3, 1000)));
  for (int64_t i = 0; i < 1000; ++i) {
    const std::string text = to_string(searcher->propose(i)->params.at("loss.pot"));
    EXPECT_LE(text.size(), 8u) << text;  // "0." and six digits
  }
}

TEST(RandomSearch, AFarTrialIsProposedAtOnce) {
  const auto searcher = make_searcher(job_of(random_sweep(3, std::numeric_limits<int64_t>::max())));
  EXPECT_TRUE(searcher->propose(std::numeric_limits<int64_t>::max() - 1));
}

}  // namespace
}  // namespace hivq
