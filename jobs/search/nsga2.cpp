#include "jobs/search/nsga2.h"

#include <algorithm>
#include <cmath>

#include "jobs/search/draws.h"
#include "jobs/search/pareto.h"
#include "jobs/search/trial_set.h"

namespace hivq {

namespace {

constexpr uint32_t purpose_child = 0x256;
constexpr double crossover = 0.9;       // of pairs
constexpr double crossover_index = 15;  // eta: the larger, the nearer to the parents
constexpr double mutation_index = 20;

double bounded(double x) { return std::clamp(x, 0.0, 1.0); }

/// One of the two children's coordinates.
double crossed(double a, double b, Draws& draws) {
  const double u = draws.uniform();
  const double spread =
      u < 0.5 ? std::pow(2 * u, 1 / (crossover_index + 1)) : std::pow(1 / (2 * (1 - u)), 1 / (crossover_index + 1));
  return bounded(0.5 * ((1 + spread) * a + (1 - spread) * b));
}

double mutated(double x, Draws& draws) {
  const double u = draws.uniform(), power = mutation_index + 1;
  if (u < 0.5) return bounded(x + std::pow(2 * u + (1 - 2 * u) * std::pow(1 - x, power), 1 / power) - 1);
  return bounded(x + 1 - std::pow(2 * (1 - u) + (2 * u - 1) * std::pow(x, power), 1 / power));
}

class Nsga2 final : public Searcher {
 public:
  explicit Nsga2(const SweepSpec& sweep)
      : space_(sweep.parameters),
        size_(sweep.trials),
        seed_(sweep.seed),
        population_(sweep.population > 0 ? std::max<int64_t>(4, sweep.population)
                                         : std::clamp<int64_t>(sweep.trials / 10, 8, 50)) {}

  int64_t size() const override { return size_; }
  bool adaptive() const override { return true; }
  void recall(const Observation& seen) override { seen_.put(space_, seen, true); }
  void tell(const Observation& seen) override { seen_.put(space_, seen, false); }

  std::optional<Proposal> propose(int64_t index) const override {
    if (index < 0 || index >= size_) return std::nullopt;
    std::vector<double> point;
    const auto generation = static_cast<size_t>(index / population_);
    while (parents_.size() < generation) {
      if (!select_next()) return std::nullopt;
    }
    if (generation == 0 || parents_[generation - 1].size() < 2) {
      point = space_.spread_point(seed_, static_cast<uint64_t>(index));
    } else {
      point = child_of(parents_[generation - 1], index);
    }
    Proposal proposal;
    proposal.params = space_.params(point);
    return proposal;
  }

 private:
  struct Parent {
    const SeenTrial* trial;
    size_t front;
    double crowding;
  };
  using Parents = std::vector<Parent>;

  /// The parents of the generation after the last: the best of its members and of those parents that it had. False: it
  /// has not ended.
  bool select_next() const {
    const auto last = static_cast<int64_t>(parents_.size());
    std::vector<const SeenTrial*> pool;
    for (int64_t index = last * population_; index < (last + 1) * population_; ++index) {
      const auto found = seen_.trials().find(index);
      if (found == seen_.trials().end() || found->second.state == Observation::State::open) return false;
      if (found->second.has_value()) pool.push_back(&found->second);
    }
    if (last > 0) {
      for (const Parent& parent : parents_.back()) pool.push_back(parent.trial);
    } else {
      for (const auto& [index, trial] : seen_.trials()) {
        if (index < 0 && trial.has_value()) pool.push_back(&trial);
      }
    }
    parents_.push_back(best_of(std::move(pool)));
    return true;
  }

  Parents best_of(std::vector<const SeenTrial*> pool) const {
    std::sort(pool.begin(), pool.end(), [](auto* a, auto* b) { return a->index < b->index; });
    std::vector<Solution> solutions;
    for (const SeenTrial* each : pool) solutions.push_back({each->values, each->violation});
    const auto fronts = fronts_of(solutions);
    Parents best;
    for (size_t front = 0; best.size() < static_cast<size_t>(population_); ++front) {
      std::vector<size_t> members;
      std::vector<Solution> of_front;
      for (size_t i = 0; i < pool.size(); ++i) {
        if (fronts[i] == front) members.push_back(i), of_front.push_back(solutions[i]);
      }
      if (members.empty()) break;
      const auto crowding = crowding_of(of_front);
      Parents ranked;
      for (size_t i = 0; i < members.size(); ++i) ranked.push_back({pool[members[i]], front, crowding[i]});
      std::stable_sort(ranked.begin(), ranked.end(),
                       [](const Parent& a, const Parent& b) { return a.crowding > b.crowding; });
      for (const Parent& each : ranked) {
        if (best.size() < static_cast<size_t>(population_)) best.push_back(each);
      }
    }
    return best;
  }

  static const Parent& tournament(const Parents& parents, Draws& draws) {
    const Parent& a = parents[draws.below(parents.size())];
    const Parent& b = parents[draws.below(parents.size())];
    return std::pair(a.front, -a.crowding) <= std::pair(b.front, -b.crowding) ? a : b;
  }

  std::vector<double> child_of(const Parents& parents, int64_t index) const {
    Draws draws(seed_, static_cast<uint64_t>(index), purpose_child);
    const auto& one = tournament(parents, draws).trial->point;
    const auto& other = tournament(parents, draws).trial->point;
    const bool crosses = draws.uniform() < crossover;
    std::vector<double> child(space_.size());
    for (size_t d = 0; d < child.size(); ++d) {
      const bool swapped = crosses && draws.uniform() < 0.5;
      double a = swapped ? other[d] : one[d], b = swapped ? one[d] : other[d];
      const double fresh = draws.uniform();
      if (std::isnan(a)) a = std::isnan(b) ? fresh : b;
      if (std::isnan(b)) b = a;
      const bool ordered = space_.dimensions()[d].ordered;
      child[d] = crosses && ordered ? crossed(a, b, draws) : a;
      if (draws.uniform() < 1 / static_cast<double>(child.size())) {
        child[d] = ordered ? mutated(child[d], draws) : fresh;
      }
    }
    return child;
  }

  const Space space_;
  const int64_t size_;
  const uint64_t seed_;
  const int64_t population_;
  TrialSet seen_;
  mutable std::vector<Parents> parents_;  // of the generations from the second on
};

}  // namespace

std::unique_ptr<Searcher> make_nsga2_search(const SweepSpec& sweep) { return std::make_unique<Nsga2>(sweep); }

}  // namespace hivq
