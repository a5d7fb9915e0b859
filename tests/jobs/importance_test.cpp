#include "jobs/importance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "jobs/philox.h"

namespace hivq {
namespace {

double uniform(uint64_t index, uint64_t stream) {
  return static_cast<double>(random_bits(1, index, stream) >> 11) * 0x1p-53;
}

/// Trials with parameters a, b, c drawn evenly from 0 … 1, and what `f` makes of them.
std::vector<Outcome> drawn(const std::function<double(double, double, double)>& f, uint64_t count = 400) {
  std::vector<Outcome> trials;
  for (uint64_t i = 0; i < count; ++i) {
    const double a = uniform(i, 0), b = uniform(i, 1), c = uniform(i, 2);
    trials.push_back({{{"a", fmt::format("{}", a)}, {"b", fmt::format("{}", b)}, {"c", fmt::format("{}", c)}}, f(a, b, c)});
  }
  return trials;
}

double share(const Importance& found, const std::string& parameter, const std::string& with = "") {
  for (const auto& share : found.shares) {
    if (share.parameter == parameter && share.with == with) return share.share;
  }
  ADD_FAILURE() << "no share of " << parameter << " × " << with;
  return -1;
}

TEST(Importance, SharesAreThoseOfTheVariance) {
  // Var(2a) : Var(b) = 4 : 1, and nothing else.
  auto found = importance(drawn([](double a, double b, double) { return 2 * a + b; }, 1000));
  ASSERT_TRUE(found);
  EXPECT_NEAR(share(*found, "a"), 0.8, 0.05);
  EXPECT_NEAR(share(*found, "b"), 0.2, 0.05);
  EXPECT_LT(share(*found, "c"), 0.02);
  EXPECT_LT(share(*found, "a", "b"), 0.03);
  EXPECT_GT(found->explained, 0.95);
  EXPECT_EQ(found->shares.front().parameter, "a");
}

TEST(Importance, WhatOnlyTwoTogetherDoIsTheirs) {
  // Ishigami-like: by themselves neither a nor b moves the mean.
  auto found = importance(drawn([](double a, double b, double) { return (a < 0.5) == (b < 0.5) ? 1.0 : 0.0; }, 1000));
  ASSERT_TRUE(found);
  EXPECT_GT(share(*found, "a", "b"), 0.8);
  EXPECT_LT(share(*found, "a"), 0.1);
  EXPECT_LT(share(*found, "b"), 0.1);
}

TEST(Importance, AScaleChangesNothing) {
  auto trials = drawn([](double a, double b, double) { return std::sin(3 * a) + b; });
  auto scaled = trials;
  for (auto& trial : scaled) {
    trial.params["a"] = fmt::format("{:.17g}", std::exp(20 * std::stod(trial.params["a"]) - 20));
  }
  auto plain = importance(trials), logarithmic = importance(scaled);
  ASSERT_TRUE(plain && logarithmic);
  EXPECT_DOUBLE_EQ(share(*plain, "a"), share(*logarithmic, "a"));
  EXPECT_DOUBLE_EQ(plain->explained, logarithmic->explained);
}

TEST(Importance, WordsAndParametersThatAreNotAlwaysThereCount) {
  std::vector<Outcome> trials;
  const char* kinds[] = {"adamw", "sgd", "lion"};
  const double means[] = {0.5, 0.1, 0.9};
  for (uint64_t i = 0; i < 300; ++i) {
    const size_t kind = i % 3;
    Outcome trial{{{"optimizer", kinds[kind]}, {"noise", fmt::format("{}", uniform(i, 4))}}, means[kind]};
    if (kind == 1) {
      const double momentum = uniform(i, 3);
      trial.params["momentum"] = fmt::format("{}", momentum);
      trial.value += 0.2 * momentum;
    }
    trials.push_back(std::move(trial));
  }
  auto found = importance(trials);
  ASSERT_TRUE(found);
  EXPECT_GT(share(*found, "optimizer"), 0.5);
  EXPECT_GT(share(*found, "momentum"), share(*found, "noise"));
  EXPECT_LT(share(*found, "noise"), 0.02);
}

TEST(Importance, NoiseExplainsNothing) {
  std::vector<Outcome> trials = drawn([](double, double, double) { return 0.0; }, 100);
  for (uint64_t i = 0; i < trials.size(); ++i) trials[i].value = uniform(i, 9);
  auto found = importance(trials);
  ASSERT_TRUE(found);
  EXPECT_LT(found->explained, 0.2);
}

TEST(Importance, SharesLieBetweenNothingAndAllAndComeAgain) {
  for (uint64_t count : {8, 9, 30, 200}) {
    const auto trials = drawn([](double a, double b, double c) { return a * b + std::round(3 * c); }, count);
    auto once = importance(trials, 7), again = importance(trials, 7);
    ASSERT_TRUE(once && again);
    double sum = 0;
    for (size_t i = 0; i < once->shares.size(); ++i) {
      EXPECT_GE(once->shares[i].share, 0);
      EXPECT_LE(once->shares[i].share, 1 + 1e-9);
      EXPECT_EQ(once->shares[i].share, again->shares[i].share);
      EXPECT_LE(once->shares[i].share, once->shares[i == 0 ? 0 : i - 1].share);
      sum += once->shares[i].share;
    }
    // What is not in single parameters and pairs is in all three.
    EXPECT_LE(sum, 1 + 1e-9) << count;
    EXPECT_EQ(once->shares.size(), 6u);
  }
}

TEST(Importance, WhatIsNotFiniteIsLeftOut) {
  auto trials = drawn([](double a, double, double) { return a; }, 50);
  auto with = trials;
  with.push_back({{{"a", "1"}, {"b", "1"}, {"c", "1"}}, std::nan("")});
  with.push_back({{{"a", "1"}, {"b", "1"}, {"c", "1"}}, INFINITY});
  auto plain = importance(trials), filtered = importance(with);
  ASSERT_TRUE(plain && filtered);
  EXPECT_EQ(filtered->trials, 50u);
  EXPECT_EQ(share(*plain, "a"), share(*filtered, "a"));
}

TEST(Importance, SaysWhyItCannotTell) {
  auto few = importance(drawn([](double a, double, double) { return a; }, 7));
  ASSERT_FALSE(few);
  EXPECT_NE(few.error().message.find("7 trials have a value of the metric; at least 8"), std::string::npos);
  auto same = importance(drawn([](double, double, double) { return 0.5; }));
  ASSERT_FALSE(same);
  EXPECT_NE(same.error().message.find("0.5 in all trials"), std::string::npos);
  auto nothing = importance(std::vector<Outcome>(20, Outcome{{{"a", "1"}}, 0.5}));
  ASSERT_FALSE(nothing);
  EXPECT_NE(nothing.error().message.find("no parameter differs"), std::string::npos);
}

}  // namespace
}  // namespace hivq
