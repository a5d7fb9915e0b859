// That searchers find what they are made to find: with bounds that a random search does not reach, over fixed seeds.

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "jobs/search/gaussian_process.h"
#include "jobs/search/pareto.h"
#include "tests/jobs/search_problems.h"

namespace hivq {
namespace {

double median_best(const std::string& search, const Problem& problem, int64_t trials, int64_t parallel = 1,
                   uint64_t seeds = 11) {
  std::vector<double> bests;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    auto searcher = searcher_of(sweep_of(problem, search, trials, seed));
    bests.push_back(best_of(run_search(*searcher, problem, parallel)));
  }
  std::nth_element(bests.begin(), bests.begin() + static_cast<ptrdiff_t>(seeds / 2), bests.end());
  return bests[seeds / 2];
}

TEST(SearchLearns, TpeBeatsRandomSearch) {
  EXPECT_LT(median_best("tpe", hartmann6(), 150), -3.2);
  EXPECT_GT(median_best("random", hartmann6(), 150), -2.6);
  EXPECT_LT(median_best("tpe", branin(), 100), 0.45);
  EXPECT_GT(median_best("random", branin(), 100), 0.6);
}

TEST(SearchLearns, TpeFindsTheBestBranchOfAConditionalSpace) {
  // Two kinds of model come to 0.25 easily; the best one of the third, 0.05, lies among ripples.
  const Problem problem = mixed_conditional();
  const auto found = [&](const std::string& search) {
    int count = 0;
    for (uint64_t seed = 1; seed <= 40; ++seed) {
      auto searcher = searcher_of(sweep_of(problem, search, 100, seed));
      count += best_of(run_search(*searcher, problem)) < 0.2;
    }
    return count;
  };
  const int by_tpe = found("tpe"), by_random = found("random");
  EXPECT_GE(by_tpe, 18);
  EXPECT_LE(by_random, 10);
}

// Without the liar the proposals of a round would be those of one density, near each other.
TEST(SearchLearns, TpeStaysGoodWithTrialsInParallel) { EXPECT_LT(median_best("tpe", hartmann6(), 150, 16), -3.0); }

TEST(SearchLearns, TpeSpreadsParallelProposals) {
  const Problem problem = hartmann6();
  // All of 64 proposals that know nothing of each other's results, beside the same ones that nobody told of.
  auto spread = [&](bool told) {
    auto fresh = searcher_of(sweep_of(problem, "tpe", 200, 3));
    auto sweep_trials = sweep_of(problem, "tpe", 60, 3);
    auto first = searcher_of(sweep_trials);
    for (const auto& seen : run_search(*first, problem)) fresh->tell(seen);
    double least = 0;
    std::vector<Params> proposed;
    for (int64_t i = 60; i < 124; ++i) {
      const Params params = fresh->propose(i)->params;
      double nearest = 10;
      for (const Params& other : proposed) {
        double square = 0;
        for (const auto& [key, value] : params) square += std::pow(real_of(params, key) - real_of(other, key), 2);
        nearest = std::min(nearest, std::sqrt(square));
      }
      if (!proposed.empty()) least += nearest / 63;
      proposed.push_back(params);
      Observation open;
      open.index = i;
      open.params = params;
      if (told) fresh->tell(open);
    }
    return least;
  };
  EXPECT_GT(spread(true), 1.1 * spread(false));
}

TEST(SearchLearns, TpeDoesNotRepeatASettingOfAFiniteSpace) {
  Problem problem;
  problem.parameters["a"] = {SearchRange::Kind::integer, {}, 0, 9};
  problem.parameters["b"] = {SearchRange::Kind::integer, {}, 0, 9};
  problem.values = [](const Params& p) { return std::vector{std::abs(real_of(p, "a") - 7) + real_of(p, "b")}; };
  for (const char* search : {"tpe", "gp"}) {
    auto searcher = searcher_of(sweep_of(problem, search, 40, 1));
    std::set<std::string> settings;
    for (const auto& seen : run_search(*searcher, problem)) settings.insert(to_string(seen.params));
    EXPECT_GE(settings.size(), 36u) << search;
  }
}

TEST(SearchLearns, TpeKeepsToConstraints) {
  // The best value lies where the constraint is broken.
  const Problem problem = branin();
  auto searcher = searcher_of(sweep_of(problem, "tpe", 120, 2));
  double best = 1e9;
  int64_t kept = 0;
  for (int64_t i = 0; i < 120; ++i) {
    Observation seen;
    seen.index = i;
    seen.params = searcher->propose(i)->params;
    seen.values = problem.values(seen.params);
    seen.violation = std::max(0.0, real_of(seen.params, "x0") - 1);  // x0 <= 1: leaves one of the three minima
    seen.state = Observation::State::ended;
    searcher->tell(seen);
    if (seen.violation > 0) continue;
    best = std::min(best, seen.values.front());
    kept += i >= 60;
  }
  EXPECT_LT(best, 0.6);
  EXPECT_GT(kept, 40);  // of the last 60; evenly spread would be 24
}

TEST(SearchLearns, GaussianProcessFindsTheMinimum) {
  EXPECT_LT(median_best("gp", branin(), 40, 1, 5), 0.41);
  EXPECT_LT(median_best("gp", hartmann6(), 70, 1, 3), -3.1);
  EXPECT_LT(median_best("gp", hartmann6(), 70, 5, 3), -3.0);  // five at a time
}

TEST(SearchLearns, CmaEsFollowsRosenbrocksValley) {
  EXPECT_LT(median_best("cma-es", rosenbrock(5), 2000), 1e-4);
  EXPECT_GT(median_best("random", rosenbrock(5), 2000, 1, 5), 5);
}

TEST(SearchLearns, CmaEsBeginsAnewWhenItHasContracted) {
  // A narrow valley of no worth in the middle, and the minimum in a corner: only another start finds it.
  Problem problem;
  for (const char* key : {"x", "y"}) problem.parameters[key] = uniform_range(0, 1);
  problem.values = [](const Params& p) {
    const double x = real_of(p, "x"), y = real_of(p, "y");
    const double middle = (x - 0.5) * (x - 0.5) + (y - 0.5) * (y - 0.5);
    const double corner = (x - 0.9) * (x - 0.9) + (y - 0.1) * (y - 0.1);
    return std::vector{std::min(0.1 + middle, 2 * corner)};
  };
  EXPECT_LT(median_best("cma-es", problem, 3000, 1, 5), 1e-3);
}

TEST(SearchLearns, BohbLearnsFromRungs) {
  // What is measured early says much of what comes at the end; a third of the proposals stay random.
  const Problem problem = hartmann6();
  std::vector<double> bests;
  for (uint64_t seed = 1; seed <= 7; ++seed) {
    auto searcher = searcher_of(sweep_of(problem, "bohb", 200, seed));
    double best = 0;
    for (int64_t i = 0; i < 200; ++i) {
      Observation seen;
      seen.index = i;
      seen.params = searcher->propose(i)->params;
      const double value = problem.values(seen.params).front();
      // Most end at the first rung; every ninth trial comes to the second.
      seen.curve = {{3, value + 0.2 * std::sin(20 * value)}};
      if (i % 9 == 0) seen.curve.push_back({9, value});
      seen.stopped = i % 9 != 0;
      seen.state = Observation::State::ended;
      seen.values = {seen.curve.back().value};
      searcher->tell(seen);
      best = std::min(best, value);
    }
    bests.push_back(best);
  }
  std::nth_element(bests.begin(), bests.begin() + 3, bests.end());
  EXPECT_LT(bests[3], -2.8);
}

TEST(SearchLearns, AnEarlierSweepGivesAHeadStart) {
  const Problem problem = hartmann6();
  for (const char* search : {"tpe", "gp", "cma-es"}) {
    int better = 0;
    for (uint64_t seed = 1; seed <= 7; ++seed) {
      auto first = searcher_of(sweep_of(problem, "sobol", 60, seed));
      const auto earlier = run_search(*first, problem);
      auto cold = searcher_of(sweep_of(problem, search, 20, seed));
      auto warm = searcher_of(sweep_of(problem, search, 20, seed));
      for (const auto& seen : earlier) warm->recall(seen);
      better += best_of(run_search(*warm, problem)) < best_of(run_search(*cold, problem));
    }
    EXPECT_GE(better, 5) << search;
  }
}

TEST(SearchLearns, WhatLiesOutsideOfTheSpaceIsNotRecalled) {
  const Problem problem = branin();
  auto one = searcher_of(sweep_of(problem, "tpe", 30, 1)), other = searcher_of(sweep_of(problem, "tpe", 30, 1));
  Observation outside;
  outside.params = {{"x0", 50.0}, {"x1", 3.0}};
  outside.state = Observation::State::ended;
  outside.values = {-100};
  for (int i = 0; i < 20; ++i) other->recall(outside);
  EXPECT_EQ(one->propose(0)->params, other->propose(0)->params);
}

TEST(SearchLearns, Nsga2FindsTheFrontOfZdt1) {
  const Problem problem = zdt1(6);
  const auto volume = [&](const std::string& search) {
    SweepSpec sweep = sweep_of(problem, search, 1500, 7);
    sweep.population = 40;
    sweep.metrics = {{"one", "minimize"}, {"other", "minimize"}};
    auto searcher = searcher_of(sweep);
    std::vector<Solution> solutions;
    for (const auto& seen : run_search(*searcher, problem, 4)) solutions.push_back({seen.values, 0});
    return hypervolume_2d(solutions, 1.1, 1.1);
  };
  // The whole front has 1.1 · 1.1 - 1/3 = 0.8767.
  EXPECT_GT(volume("nsga2"), 0.80);
  EXPECT_LT(volume("random"), 0.45);
}

TEST(SearchLearns, PbtPassesOnTheBestAndChangesParameters) {
  Problem problem;
  problem.parameters["lr"] = {SearchRange::Kind::log_uniform, {}, 1e-5, 1};
  SweepSpec sweep = sweep_of(problem, "pbt", 100, 3);
  sweep.population = 10;
  auto searcher = searcher_of(sweep);
  std::vector<double> lr, skill;
  std::map<int64_t, int64_t> exploited;
  for (int64_t i = 0; i < 100; ++i) {
    auto proposal = searcher->propose(i);
    ASSERT_TRUE(proposal) << i;
    ASSERT_EQ(proposal->start_from.has_value(), i >= 10) << i;
    lr.push_back(real_of(proposal->params, "lr"));
    // Training adds what the learning rate is worth to what the start was: best at 1e-2.
    const double gain = std::exp(-std::pow(std::log10(lr.back()) + 2, 2));
    skill.push_back(gain + (proposal->start_from ? skill[static_cast<size_t>(*proposal->start_from)] : 0));
    if (proposal->start_from) {
      EXPECT_EQ(*proposal->start_from / 10, i / 10 - 1) << "from the generation before";
      if (*proposal->start_from != i - 10) ++exploited[i / 10];
      if (*proposal->start_from == i - 10) {
        EXPECT_EQ(lr.back(), lr[static_cast<size_t>(i - 10)]);
      }
    }
    Observation seen;
    seen.index = i;
    seen.params = proposal->params;
    searcher->tell(seen);
    EXPECT_EQ(searcher->propose(i + 1).has_value(), i + 1 < 100 && (i + 1) % 10 != 0) << "waits for its generation";
    seen.state = Observation::State::ended;
    seen.values = {-skill.back()};
    searcher->tell(seen);
  }
  for (int64_t generation = 1; generation < 10; ++generation) EXPECT_LE(exploited[generation], 2) << generation;
  EXPECT_GT(exploited.size(), 6u);
  // Never exploited, the best of ten gains at most ten times the best first gain.
  const double first = *std::max_element(skill.begin(), skill.begin() + 10);
  const double last = *std::max_element(skill.begin() + 90, skill.end());
  EXPECT_GT(last, 0.9 * 10 * first);
  double mean = 0;
  for (size_t i = 90; i < 100; ++i) mean += skill[i] / 10;
  EXPECT_GT(mean, 6);
}

TEST(SearchLearns, PbtReplacesAMemberThatFailed) {
  Problem problem;
  problem.parameters["lr"] = {SearchRange::Kind::log_uniform, {}, 1e-5, 1};
  SweepSpec sweep = sweep_of(problem, "pbt", 8, 3);
  sweep.population = 4;
  auto searcher = searcher_of(sweep);
  for (int64_t i = 0; i < 4; ++i) {
    Observation seen;
    seen.index = i;
    seen.params = searcher->propose(i)->params;
    seen.state = i < 3 ? Observation::State::failed : Observation::State::ended;
    if (i == 3) seen.values = {1};
    searcher->tell(seen);
  }
  for (int64_t i = 4; i < 8; ++i) EXPECT_EQ(searcher->propose(i)->start_from, 3) << i;
}

TEST(GaussianProcess, GoesThroughItsObservationsAndKnowsWhatItDoesNot) {
  const std::vector<std::vector<double>> points = {{0.1}, {0.4}, {0.9}};
  const std::vector<double> values = {-1, 0.5, 0.5};
  const GaussianProcess process(points, values, {{0.2}, 1e-8}, {false});
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(process.predict(points[i]).mean, values[i], 1e-4);
    EXPECT_LT(process.predict(points[i]).deviation, 1e-2);
  }
  EXPECT_GT(process.predict(std::vector{0.65}).deviation, 0.1);
}

// Of R's and scipy's arithmetic: h(z) = phi(z) + z Phi(z), with mean 0 and deviation 1.
TEST(GaussianProcess, ExpectedImprovementIsPreciseFarAway) {
  EXPECT_NEAR(log_expected_improvement({0, 1}, 0), std::log(0.3989422804014327), 1e-12);
  EXPECT_NEAR(log_expected_improvement({0, 1}, 1), std::log(1.0833154705876864), 1e-12);
  EXPECT_NEAR(log_expected_improvement({0, 1}, -4), std::log(7.145258432405724e-06), 1e-8);
  const double below = log_expected_improvement({0, 1}, -25 - 1e-7),
               above = log_expected_improvement({0, 1}, -25 + 1e-7);
  EXPECT_NEAR(below, above, 2e-5);  // where the series takes over
  EXPECT_GT(log_expected_improvement({0, 1}, -99), log_expected_improvement({0, 1}, -100));
}

TEST(Pareto, FrontsAndConstraintsAreThoseOfNsga2) {
  const std::vector<Solution> solutions = {{{1, 4}, 0}, {{2, 2}, 0}, {{4, 1}, 0}, {{3, 3}, 0},
                                           {{4, 4}, 0}, {{0, 0}, 2}, {{0, 0}, 1}};
  EXPECT_EQ(fronts_of(solutions), (std::vector<size_t>{0, 0, 0, 1, 2, 4, 3}));
  EXPECT_FALSE(dominates(solutions[0], solutions[0]));
  const auto crowding = crowding_of(std::span(solutions).first(3));
  EXPECT_TRUE(std::isinf(crowding[0]) && std::isinf(crowding[2]));
  EXPECT_NEAR(crowding[1], 2, 1e-12);
  EXPECT_NEAR(hypervolume_2d(std::span(solutions).first(4), 5, 5), 4 * 1 + 3 * 2 + 1 * 1, 1e-12);
}

}  // namespace
}  // namespace hivq
