// What holds for every searcher, on random spaces: each proposal lies in the space, is the same whenever it is asked
// for, and the same from a searcher that was made anew and told everything again.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/jobs/search_problems.h"

namespace hivq {
namespace {

constexpr const char* searches[] = {"random", "sobol", "tpe", "gp", "cma-es", "bohb", "nsga2", "pbt"};

class RandomSpaces {
 public:
  explicit RandomSpaces(uint64_t seed) : random_(seed) {}

  std::map<std::string, SearchRange> space() {
    std::map<std::string, SearchRange> made;
    const int64_t count = whole(1, 6);
    for (int64_t i = 0; i < count; ++i) {
      SearchRange range = this->range();
      // A condition on one that is there already, so never in a circle.
      if (!made.empty() && flag()) {
        const auto& [key, on] = *std::next(made.begin(), whole(0, static_cast<int64_t>(made.size()) - 1));
        if (const int64_t values = count_of(on); values > 0) {
          range.when[key] = {value_at(on, whole(0, values - 1)), value_at(on, values / 2)};
        }
      }
      made[fmt::format("key{}", (i * 7) % 11)] = std::move(range);
    }
    return made;
  }
  double number() { return std::uniform_real_distribution<double>(-5, 5)(random_); }
  int64_t whole(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_); }
  bool flag() { return whole(0, 1) == 1; }
  std::mt19937_64& engine() { return random_; }

 private:
  SearchRange range() {
    using Kind = SearchRange::Kind;
    switch (whole(0, 5)) {
      case 0:
        return {Kind::uniform, {}, -1, 3};
      case 1:
        return {Kind::log_uniform, {}, 1e-6, 1e-1};
      case 2:
        return {Kind::integer, {}, -4, 90, static_cast<double>(whole(0, 9))};
      case 3:
        return {Kind::log_integer, {}, 2, 3000};
      case 4:
        return {Kind::uniform, {}, 0, 1, 0.125};
      default:
        return {Kind::choice, {std::string("a"), int64_t{4}, true, 0.5, std::vector<int64_t>{1, 2}}, 0, 0};
    }
  }
  std::mt19937_64 random_;
};

/// The whole setting, as what is there depends on values.
void expect_valid(const std::map<std::string, SearchRange>& parameters, const Params& params) {
  for (const auto& [key, range] : parameters) {
    const bool wanted = std::all_of(range.when.begin(), range.when.end(), [&](const auto& condition) {
      const auto found = params.find(condition.first);
      return found != params.end() && std::count(condition.second.begin(), condition.second.end(), found->second) > 0;
    });
    const auto found = params.find(key);
    ASSERT_EQ(found != params.end(), wanted) << key << " of " << to_string(params);
    if (wanted) {
      ASSERT_TRUE(contains(range, found->second)) << key << " of " << to_string(params);
    }
  }
  for (const auto& [key, value] : params) ASSERT_TRUE(parameters.contains(key)) << key;
}

std::string shown(const std::optional<Proposal>& proposal) {
  if (!proposal) return "nothing";
  return proposal->variant + " " + to_string(proposal->params) +
         (proposal->start_from ? fmt::format(" from {}", *proposal->start_from) : "");
}

SweepSpec random_sweep(RandomSpaces& random, const std::string& search, uint64_t seed) {
  SweepSpec sweep;
  sweep.search = search;
  sweep.parameters = random.space();
  sweep.trials = search == "gp" ? 24 : 60;
  sweep.seed = seed;
  sweep.startup = random.whole(1, 12);
  sweep.population = search == "pbt" ? 6 : random.flag() ? 0 : random.whole(4, 12);
  if (search == "nsga2") sweep.metrics = {{"one", "minimize"}, {"other", "minimize"}};
  if (random.flag()) sweep.variants = {{"v", {{"fixed", int64_t{1}}}, {}}, {"w", {{"fixed", int64_t{2}}}, {}}};
  return sweep;
}

/// How the trial at hand ended, or that it came to a rung: some fail, some have no value, some break constraints.
void go_on(RandomSpaces& random, const SweepSpec& sweep, Observation& seen) {
  seen.curve.push_back({static_cast<int64_t>(seen.curve.size()) + 1, random.number()});
  if (random.whole(0, 3) == 0) return;
  const int64_t end = random.whole(0, 9);
  seen.state = end == 0 ? Observation::State::failed : Observation::State::ended;
  seen.stopped = end == 1;
  if (end == 2) seen.violation = 0.5;
  if (end == 3) return;
  seen.values = {end == 4 ? std::nan("") : random.number()};
  if (!sweep.metrics.empty()) seen.values.push_back(random.number());
}

class SearchProperty : public testing::TestWithParam<const char*> {};

TEST_P(SearchProperty, ProposalsAreValidAndThoseOfARestoredSearcher) {
  for (uint64_t seed = 1; seed <= (std::string(GetParam()) == "gp" ? 8u : 40u); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    RandomSpaces random(seed);
    const SweepSpec sweep = random_sweep(random, GetParam(), seed);
    auto searcher = searcher_of(sweep);
    std::vector<Observation> trials;
    std::vector<size_t> open;
    const int64_t parallel = random.whole(1, 9);
    while (static_cast<int64_t>(trials.size()) < searcher->size() || !open.empty()) {
      std::optional<Proposal> proposal;
      const auto index = static_cast<int64_t>(trials.size());
      if (static_cast<int64_t>(open.size()) < parallel) proposal = searcher->propose(index);
      if (random.whole(0, 6) == 0) {
        auto restored = searcher_of(sweep);
        auto shuffled = trials;
        std::shuffle(shuffled.begin(), shuffled.end(), random.engine());
        for (const auto& each : shuffled) restored->tell(each);
        ASSERT_EQ(shown(restored->propose(index)), shown(searcher->propose(index))) << "trial " << index;
      }
      if (proposal) {
        ASSERT_EQ(shown(searcher->propose(index)), shown(proposal));
        Params own = proposal->params;
        own.erase("fixed");
        expect_valid(sweep.parameters, own);
        if (HasFatalFailure()) return;
        ASSERT_LT(proposal->start_from.value_or(-1), index);
        Observation seen;
        seen.index = index;
        seen.params = proposal->params;
        searcher->tell(seen);
        open.push_back(trials.size());
        trials.push_back(std::move(seen));
        continue;
      }
      // It is full, at its end, or waits for others: something must be open.
      ASSERT_FALSE(open.empty()) << "it waits for nothing at trial " << index;
      const auto at = random.whole(0, static_cast<int64_t>(open.size()) - 1);
      Observation& seen = trials[open[static_cast<size_t>(at)]];
      go_on(random, sweep, seen);
      searcher->tell(seen);
      if (seen.state != Observation::State::open) open.erase(open.begin() + at);
    }
    EXPECT_FALSE(searcher->propose(searcher->size()));
  }
}

TEST_P(SearchProperty, AnotherSeedProposesSomethingElse) {
  RandomSpaces random(5);
  SweepSpec sweep = sweep_of(hartmann6(), GetParam(), 20, 1);
  if (sweep.search == "nsga2") sweep.metrics = {{"one", "minimize"}, {"other", "minimize"}};
  auto one = searcher_of(sweep);
  sweep.seed = 2;
  auto other = searcher_of(sweep);
  EXPECT_NE(shown(one->propose(0)), shown(other->propose(0)));
}

INSTANTIATE_TEST_SUITE_P(All, SearchProperty, testing::ValuesIn(searches), [](const auto& each) {
  std::string name = each.param;
  std::erase(name, '-');
  return name;
});

}  // namespace
}  // namespace hivq
