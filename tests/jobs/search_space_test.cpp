#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "jobs/search/draws.h"
#include "jobs/search/parzen.h"
#include "jobs/search/searcher.h"
#include "jobs/search/sobol.h"

namespace hivq {
namespace {

using Kind = SearchRange::Kind;

std::vector<ParamValue> words(std::initializer_list<const char*> texts) {
  std::vector<ParamValue> values;
  for (const char* text : texts) values.emplace_back(std::string(text));
  return values;
}

TEST(SearchSpace, ARangeWithAStepHasItsValuesAndBothEnds) {
  const SearchRange range{Kind::uniform, {}, 0.1, 0.5, 0.1};
  ASSERT_EQ(count_of(range), 5);
  std::vector<double> values;
  for (int64_t i = 0; i < 5; ++i) values.push_back(std::get<double>(value_at(range, i)));
  EXPECT_EQ(values, (std::vector{0.1, 0.2, 0.3, 0.4, 0.5}));
  const SearchRange whole{Kind::integer, {}, 8, 65, 8};
  ASSERT_EQ(count_of(whole), 8);
  EXPECT_EQ(std::get<int64_t>(value_at(whole, 7)), 64);
  EXPECT_EQ(position_of(whole, int64_t{24}), 2);
  EXPECT_FALSE(position_of(whole, int64_t{25}));
}

TEST(SearchSpace, EveryValueOfAFiniteRangeComesBackFromItsCoordinate) {
  for (const SearchRange& range :
       {SearchRange{Kind::integer, {}, 3, 40}, SearchRange{Kind::log_integer, {}, 1, 300},
        SearchRange{Kind::uniform, {}, -1, 1, 0.05}, SearchRange{Kind::choice, words({"a", "b", "c"}), 0, 0}}) {
    for (int64_t i = 0; i < count_of(range); ++i) {
      const ParamValue value = value_at(range, i);
      EXPECT_EQ(value_at_unit(range, unit_of(range, value)), value) << i;
      EXPECT_EQ(position_of(range, value), i);
      EXPECT_TRUE(contains(range, value));
    }
  }
}

TEST(SearchSpace, AContinuousCoordinateComesBackToSixDigits) {
  for (const SearchRange& range :
       {SearchRange{Kind::uniform, {}, -3, 7}, SearchRange{Kind::log_uniform, {}, 1e-6, 10}}) {
    for (double unit : {0.0, 0.1234, 0.5, 0.999, 1.0}) {
      const ParamValue value = value_at_unit(range, unit);
      EXPECT_NEAR(unit_of(range, value), unit, 1e-5);
      EXPECT_EQ(value_at_unit(range, unit_of(range, value)), value);
    }
  }
}

TEST(SearchSpace, LogIntegersAreEvenInTheLogarithm) {
  const SearchRange range{Kind::log_integer, {}, 1, 1000};
  EXPECT_EQ(std::get<int64_t>(value_at_unit(range, 0)), 1);
  EXPECT_EQ(std::get<int64_t>(value_at_unit(range, 1)), 1000);
  EXPECT_NEAR(static_cast<double>(std::get<int64_t>(value_at_unit(range, 0.5))), std::sqrt(0.5 * 1000.5), 1);
}

Space conditional_space() {
  return Space({{"a.kind", {Kind::choice, words({"x", "y", "z"}), 0, 0}},
                {"a.depth", {Kind::integer, {}, 1, 4, 0, {{"a.kind", words({"x", "y"})}}}},
                {"a.alpha", {Kind::uniform, {}, 0, 1, 0, {{"a.depth", {int64_t{2}, int64_t{3}}}}}}});
}

TEST(SearchSpace, AConditionalParameterIsThereOnlyWhereItsConditionsHold) {
  const Space space = conditional_space();
  ASSERT_EQ(space.dimensions()[0].key, "a.kind");  // before those that depend on it
  ASSERT_EQ(space.dimensions()[1].key, "a.depth");
  EXPECT_EQ(to_string(space.params(std::vector{0.1, 0.4, 0.5})), "a.alpha=0.5 a.depth=2 a.kind=x");
  EXPECT_EQ(to_string(space.params(std::vector{0.1, 0.9, 0.5})), "a.depth=4 a.kind=x");
  EXPECT_EQ(to_string(space.params(std::vector{0.9, 0.4, 0.5})), "a.kind=z");
}

TEST(SearchSpace, ASettingOutsideOfTheSpaceHasNoPoint) {
  const Space space = conditional_space();
  EXPECT_TRUE(space.point({{"a.kind", std::string("z")}}));
  EXPECT_TRUE(space.point({{"a.kind", std::string("x")}, {"a.depth", int64_t{1}}, {"other", 3.0}}));
  EXPECT_FALSE(space.point({{"a.kind", std::string("x")}}));                           // a.depth is missing
  EXPECT_FALSE(space.point({{"a.kind", std::string("x")}, {"a.depth", int64_t{9}}}));  // outside
  EXPECT_FALSE(space.point({{"a.kind", std::string("w")}}));                           // no choice
  const auto point = space.point({{"a.kind", std::string("x")}, {"a.depth", int64_t{4}}});
  EXPECT_TRUE(std::isnan(point->at(2)));
}

TEST(SearchSpace, AGridMultipliesByActiveParametersAlone) {
  JobSpec job;
  job.sweep.emplace();
  job.sweep->parameters["eval.score"] = {Kind::choice, words({"max", "mean"}), 0, 0};
  job.sweep->parameters["train.seed"] = {Kind::integer, {}, 1, 3, 0, {{"eval.score", words({"max"})}}};
  const auto searcher = make_searcher(job);
  std::vector<std::string> all;
  for (int64_t i = 0; i < searcher->size(); ++i) all.push_back(to_string(searcher->propose(i)->params));
  EXPECT_EQ(all, (std::vector<std::string>{"eval.score=max train.seed=1", "eval.score=max train.seed=2",
                                           "eval.score=max train.seed=3", "eval.score=mean"}));
}

TEST(Draws, NormalQuantilesAreThoseOfTheTables) {
  EXPECT_NEAR(normal_quantile(0.5), 0, 1e-12);
  EXPECT_NEAR(normal_quantile(0.975), 1.959963984540054, 1e-9);
  EXPECT_NEAR(normal_quantile(0.001), -3.090232306167813, 1e-9);
  EXPECT_NEAR(normal_quantile(1e-10), -6.361340902404056, 1e-8);
}

// Of scipy 1.17's Sobol engine, which reads Joe and Kuo's file new-joe-kuo-6: the first eight points of six dimensions,
// and two far ones in the dimensions 1, 2, 10, 32 and 64, times 1024.
TEST(Sobol, GivesJoeAndKuosPoints) {
  const double expected[8][6] = {{0, 0, 0, 0, 0, 0},
                                 {0.5, 0.5, 0.5, 0.5, 0.5, 0.5},
                                 {0.75, 0.25, 0.25, 0.25, 0.75, 0.75},
                                 {0.25, 0.75, 0.75, 0.75, 0.25, 0.25},
                                 {0.375, 0.375, 0.625, 0.875, 0.375, 0.125},
                                 {0.875, 0.875, 0.125, 0.375, 0.875, 0.625},
                                 {0.625, 0.125, 0.875, 0.625, 0.625, 0.875},
                                 {0.125, 0.625, 0.375, 0.125, 0.125, 0.375}};
  for (uint32_t i = 0; i < 8; ++i) {
    for (int d = 0; d < 6; ++d) EXPECT_EQ(sobol_bits(i, d) * 0x1p-32, expected[i][d]) << i << " " << d;
  }
  const int dimensions[] = {0, 1, 9, 31, 63};
  const double far[2][5] = {{225, 99, 71, 149, 457}, {899, 641, 809, 47, 171}};
  for (int k = 0; k < 5; ++k) {
    EXPECT_EQ(sobol_bits(1000, dimensions[k]) * 0x1p-22, far[0][k]) << k;
    EXPECT_EQ(sobol_bits(517, dimensions[k]) * 0x1p-22, far[1][k]) << k;
  }
}

// Of 2^k points each of the 2^k equal parts of every axis has exactly one; of pairs of axes, each of the 2^k boxes, for
// the first two dimensions. Random points would miss a third of the parts.
TEST(Sobol, ScrambledPointsAreAsEven) {
  for (uint64_t seed : {1u, 2u, 77u}) {
    for (uint64_t d = 0; d < 64; ++d) {
      std::vector<int> parts(256);
      for (uint64_t i = 0; i < 256; ++i) ++parts[static_cast<size_t>(sobol_point(seed, i, d) * 256)];
      EXPECT_EQ(std::count(parts.begin(), parts.end(), 1), 256) << "seed " << seed << " dimension " << d;
    }
    std::vector<int> boxes(256);
    for (uint64_t i = 0; i < 256; ++i) {
      ++boxes[static_cast<size_t>(sobol_point(seed, i, 0) * 16) * 16 +
              static_cast<size_t>(sobol_point(seed, i, 1) * 16)];
    }
    EXPECT_EQ(std::count(boxes.begin(), boxes.end(), 1), 256) << "seed " << seed;
  }
  EXPECT_NE(sobol_point(1, 5, 0), sobol_point(2, 5, 0));
}

TEST(Parzen, ExpOfNegativeIsThatOfTheLibrary) {
  for (double x = 0; x > -60; x -= 0.037) EXPECT_NEAR(exp_of_negative(x) / std::exp(x), 1, 1e-8) << x;
  EXPECT_LT(exp_of_negative(-1e6), 1e-300);
}

// The density over a space with an ordered dimension, a choice and a conditional one sums up to 1: by Monte Carlo.
TEST(Parzen, IsADensity) {
  const Space space({{"a", {Kind::choice, words({"x", "y", "z"}), 0, 0}},
                     {"b", {Kind::uniform, {}, 0, 1}},
                     {"c", {Kind::uniform, {}, 0, 1, 0, {{"a", words({"x"})}}}}});
  Parzen parzen(space);
  parzen.clear({0.3, 0.1, 0.2});
  for (auto point : {std::vector{0.1, 0.02, 0.9}, std::vector{0.5, 0.7, 0.1}, std::vector{0.9, 0.95, 0.5}}) {
    space.settle(point);
    parzen.add(point, parzen.norms_of(point));
  }
  std::vector<std::vector<double>> points;
  Draws draws(1, 2, 3);
  for (int i = 0; i < 200'000; ++i) {
    points.push_back({draws.uniform(), draws.uniform(), draws.uniform()});
    space.settle(points.back());
  }
  double sum = 0;
  for (double log_density : parzen.log_density(points)) sum += std::exp(log_density);
  EXPECT_NEAR(sum / 200'000, 1, 0.02);
  // And what it draws follows it: near the first kernel there is more than far from all.
  int near = 0, far = 0;
  for (int i = 0; i < 4000; ++i) {
    const auto drawn = parzen.draw(draws);
    near += drawn[1] < 0.1;
    far += drawn[1] > 0.3 && drawn[1] < 0.4;
  }
  EXPECT_GT(near, 4 * far);
}

}  // namespace
}  // namespace hivq
