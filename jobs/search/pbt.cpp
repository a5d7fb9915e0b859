#include "jobs/search/pbt.h"

#include <algorithm>
#include <cmath>

#include "jobs/search/draws.h"
#include "jobs/search/trial_set.h"

namespace hivq {

namespace {

constexpr uint32_t purpose_exploit = 0x9b7;
constexpr double replaced = 0.2;     // part of the population
constexpr double drawn_anew = 0.25;  // chance of a parameter of one that is replaced
constexpr double factors[] = {0.8, 1.2};

class PopulationBased final : public Searcher {
 public:
  explicit PopulationBased(const SweepSpec& sweep)
      : space_(sweep.parameters),
        size_(sweep.trials),
        seed_(sweep.seed),
        population_(sweep.population > 0 ? sweep.population : default_population) {}

  int64_t size() const override { return size_; }
  bool adaptive() const override { return true; }
  void recall(const Observation& seen) override { seen_.put(space_, seen, true); }
  void tell(const Observation& seen) override { seen_.put(space_, seen, false); }

  std::optional<Proposal> propose(int64_t index) const override {
    if (index < 0 || index >= size_) return std::nullopt;
    const int64_t generation = index / population_;
    if (generation == 0) return first(index);
    const auto ranked = ranking_of(generation - 1);
    if (!ranked) return std::nullopt;
    if (ranked->empty()) return first(index);  // all have failed
    return successor(index, *ranked);
  }

 private:
  static constexpr int64_t default_population = 10;

  Proposal first(int64_t index) const {
    Proposal proposal;
    std::vector<const SeenTrial*> earlier;
    for (const auto& [number, trial] : seen_.trials()) {
      if (number < 0 && trial.has_value()) earlier.push_back(&trial);
    }
    std::sort(earlier.begin(), earlier.end(), [](auto* a, auto* b) { return ranks_before(*a, *b); });
    if (static_cast<size_t>(index) < std::min<size_t>(earlier.size(), static_cast<size_t>(population_ / 2))) {
      proposal.params = space_.params(earlier[static_cast<size_t>(index)]->point);
      return proposal;
    }
    proposal.params = space_.params(space_.spread_point(seed_, static_cast<uint64_t>(index)));
    return proposal;
  }

  /// A generation's members that have a value, the best first; nothing while one of them has not ended.
  std::optional<std::vector<const SeenTrial*>> ranking_of(int64_t generation) const {
    std::vector<const SeenTrial*> ranked;
    for (int64_t index = generation * population_; index < (generation + 1) * population_; ++index) {
      const auto found = seen_.trials().find(index);
      if (found == seen_.trials().end() || found->second.state == Observation::State::open) return std::nullopt;
      if (found->second.has_value()) ranked.push_back(&found->second);
    }
    std::sort(ranked.begin(), ranked.end(), [](auto* a, auto* b) { return ranks_before(*a, *b); });
    return ranked;
  }

  Proposal successor(int64_t index, const std::vector<const SeenTrial*>& ranked) const {
    const auto part = static_cast<size_t>(std::ceil(replaced * static_cast<double>(population_)));
    const auto own =
        std::find_if(ranked.begin(), ranked.end(), [&](const SeenTrial* t) { return t->index == index - population_; });
    const auto rank = static_cast<size_t>(own - ranked.begin());
    Proposal proposal;
    if (own != ranked.end() && (rank == 0 || rank + part < static_cast<size_t>(population_))) {
      proposal.params = space_.params((*own)->point);
      proposal.start_from = (*own)->index;
      return proposal;
    }
    Draws draws(seed_, static_cast<uint64_t>(index), purpose_exploit);
    const SeenTrial& better = *ranked[draws.below(std::min(part, ranked.size()))];
    proposal.params = space_.params(explored(better, draws));
    proposal.start_from = better.index;
    return proposal;
  }

  std::vector<double> explored(const SeenTrial& better, Draws& draws) const {
    std::vector<double> point = better.point;
    for (size_t d = 0; d < point.size(); ++d) {
      const bool anew = draws.uniform() < drawn_anew;
      const double fresh = draws.uniform(), factor = factors[draws.below(2)];
      if (anew || std::isnan(point[d])) {
        point[d] = fresh;
      } else if (space_.dimensions()[d].ordered) {
        point[d] = perturbed(space_.dimensions()[d], point[d], factor);
      }
    }
    return point;
  }

  /// The value times the factor; in a finite range at least the next one.
  static double perturbed(const Space::Dimension& dimension, double unit, double factor) {
    const SearchRange& range = dimension.range;
    const ParamValue value = value_at_unit(range, unit);
    const auto* whole = std::get_if<int64_t>(&value);
    const double number = (whole ? static_cast<double>(*whole) : std::get<double>(value)) * factor;
    if (dimension.count == 0) return unit_of(range, std::clamp(number, range.low, range.high));
    const int64_t position = position_at_unit(range, unit);
    const double step = range.step > 0 ? range.step : 1;
    int64_t moved = std::llround((number - range.low) / step);
    if (moved == position) moved += factor > 1 ? 1 : -1;
    return unit_of(range, value_at(range, std::clamp<int64_t>(moved, 0, dimension.count - 1)));
  }

  const Space space_;
  const int64_t size_;
  const uint64_t seed_;
  const int64_t population_;
  TrialSet seen_;
};

}  // namespace

std::unique_ptr<Searcher> make_pbt_search(const SweepSpec& sweep) { return std::make_unique<PopulationBased>(sweep); }

}  // namespace hivq
