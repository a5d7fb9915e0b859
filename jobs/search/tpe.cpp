#include "jobs/search/tpe.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include "jobs/search/parzen.h"
#include "jobs/search/trial_set.h"

namespace hivq {

namespace {

constexpr uint32_t purpose_draw = 0x7e0, purpose_sample = 0x7e1, purpose_explore = 0x7e2;
constexpr size_t most_others = 1024;                      // kernels of g
constexpr size_t candidates = 32, spread_candidates = 8;  // drawn from l, and evenly from the space
constexpr double explored = 1.0 / 3;                      // BOHB: so many proposals are random (its rho)

uint64_t hash_of(std::span<const double> point) {
  uint64_t hash = 0xcbf29ce484222325;
  for (double each : point) {
    uint64_t bits = 0;
    if (!std::isnan(each)) std::memcpy(&bits, &each, sizeof bits);
    hash = (hash ^ bits) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
  }
  return hash;
}

double active_dimensions(const Space& space) {
  constexpr uint64_t points = 256;
  double active = 0;
  for (uint64_t i = 0; i < points; ++i) {
    const std::vector<double> point = space.spread_point(0, i);
    active += static_cast<double>(std::count_if(point.begin(), point.end(), [](double x) { return !std::isnan(x); }));
  }
  return active / static_cast<double>(points);
}

// By rank, and those that g is made of by index: both grow by insertion, so that a tell costs O(log n) comparisons.
class Tpe final : public Searcher {
 public:
  explicit Tpe(const SweepSpec& sweep)
      : space_(sweep.parameters),
        size_(sweep.trials),
        seed_(sweep.seed),
        startup_(static_cast<size_t>(sweep.startup)),
        rungs_(sweep.search == "bohb"),
        active_(active_dimensions(space_)),
        better_(space_),
        others_(space_) {}

  int64_t size() const override { return size_; }
  bool adaptive() const override { return true; }
  void recall(const Observation& seen) override { take(seen, true); }
  void tell(const Observation& seen) override { take(seen, false); }

  std::optional<Proposal> propose(int64_t index) const override {
    if (index < 0 || index >= size_) return std::nullopt;
    Proposal proposal;
    proposal.params = space_.params(choose(static_cast<uint64_t>(index)));
    return proposal;
  }

 private:
  struct Kernel {
    const SeenTrial* trial;
    uint64_t draw;                           // the smallest ones are in the sample
    mutable std::vector<double> norms = {};  // for the width …
    mutable int64_t level = -1;              // … of this level
  };

  void take(const Observation& seen, bool earlier) {
    // A trial that is told again may rank otherwise: out with it first, while it is as it was.
    const auto known = seen_.trials().find(seen.index);
    if (!earlier && known != seen_.trials().end()) unrank(known->second);
    const SeenTrial* trial = seen_.put(space_, seen, earlier);
    if (trial == nullptr) return;
    if (earlier || known == seen_.trials().end()) {
      points_.insert(hash_of(trial->point));
      add_to_sample(*trial);
    }
    rank(*trial);
  }

  /// The lists that the trial ranks in: of its value, or of each epoch that it was evaluated at.
  template <typename Each>
  void each_list(const SeenTrial& trial, const Each& each) {
    if (!rungs_) {
      if (trial.has_value()) each(int64_t{0});
      return;
    }
    if (trial.state == Observation::State::failed) return;
    for (const auto& [epoch, value] : trial.curve) {
      if (std::isfinite(value)) each(epoch);
    }
  }
  static double value_at_epoch(const SeenTrial& trial, int64_t epoch) {
    for (const auto& [at, value] : trial.curve) {
      if (at == epoch) return value;
    }
    return trial.values.front();
  }
  bool before(int64_t list, const SeenTrial* a, const SeenTrial* b) const {
    if (!rungs_) return ranks_before(*a, *b);
    return std::tuple(a->violation, value_at_epoch(*a, list), a->index) <
           std::tuple(b->violation, value_at_epoch(*b, list), b->index);
  }
  void rank(const SeenTrial& trial) {
    each_list(trial, [&](int64_t list) {
      auto& ranked = ranked_[list];
      const auto at = std::lower_bound(ranked.begin(), ranked.end(), &trial,
                                       [&](const SeenTrial* a, const SeenTrial* b) { return before(list, a, b); });
      ranked.insert(at, &trial);
    });
  }
  void unrank(const SeenTrial& trial) {
    each_list(trial, [&](int64_t list) {
      auto& ranked = ranked_[list];
      const auto at = std::lower_bound(ranked.begin(), ranked.end(), &trial,
                                       [&](const SeenTrial* a, const SeenTrial* b) { return before(list, a, b); });
      if (at != ranked.end() && *at == &trial) ranked.erase(at);
    });
  }

  /// Of all trials those with the smallest draws, in the order of their indices.
  void add_to_sample(const SeenTrial& trial) {
    const Kernel kernel{&trial, random_bits(seed_, static_cast<uint64_t>(trial.index), uint64_t{purpose_sample} << 32)};
    if (sample_.size() >= most_others) {
      auto last = std::max_element(sample_.begin(), sample_.end(),
                                   [](const Kernel& a, const Kernel& b) { return a.draw < b.draw; });
      if (last->draw <= kernel.draw) return;
      sample_.erase(last);
    }
    const auto at = std::lower_bound(sample_.begin(), sample_.end(), kernel,
                                     [](const Kernel& a, const Kernel& b) { return a.trial->index < b.trial->index; });
    sample_.insert(at, kernel);
  }

  /// The list that the model is made from: with rungs that of the most epochs that enough trials have come to.
  const std::vector<const SeenTrial*>* model_list() const {
    const size_t enough = rungs_ ? std::max(startup_, space_.size() + 3) : startup_;
    for (auto list = ranked_.rbegin(); list != ranked_.rend(); ++list) {
      if (list->second.size() >= enough) return &list->second;
    }
    return nullptr;
  }

  std::vector<double> choose(uint64_t index) const {
    const auto* ranked = model_list();
    const bool explores = rungs_ && Draws(seed_, index, purpose_explore).uniform() < explored;
    if (ranked == nullptr || explores) return space_.spread_point(seed_, index);
    make_model(*ranked);
    Draws draws(seed_, index, purpose_draw);
    std::vector<std::vector<double>> drawn;
    for (size_t i = 0; i < candidates; ++i) drawn.push_back(better_.draw(draws));
    for (size_t i = 0; i < spread_candidates; ++i) {
      std::vector<double> point(space_.size());
      for (double& each : point) each = draws.uniform();
      space_.settle(point);
      drawn.push_back(std::move(point));
    }
    const auto l = better_.log_density(drawn), g = others_.log_density(drawn);
    size_t best = 0;
    auto worth = [&](size_t i) { return std::pair(!points_.contains(hash_of(drawn[i])), l[i] - g[i]); };
    for (size_t i = 1; i < drawn.size(); ++i) {
      if (worth(best) < worth(i)) best = i;
    }
    return drawn[best];
  }

  void make_model(const std::vector<const SeenTrial*>& ranked) const {
    const size_t n = ranked.size();
    const size_t good = std::min<size_t>(25, (n + 9) / 10);
    const std::span best(ranked.data(), good);
    better_.clear(widths_of(best));
    for (const SeenTrial* each : best) better_.add(each->point, better_.norms_of(each->point));

    // Widths change by steps, so that norms can be kept.
    const auto level = static_cast<int64_t>(std::lround(8 * std::log2(static_cast<double>(sample_.size()))));
    others_.clear(widths_for(std::exp2(static_cast<double>(level) / 8)));
    const std::unordered_set<const SeenTrial*> taken(best.begin(), best.end());
    for (const Kernel& kernel : sample_) {
      if (taken.contains(kernel.trial)) continue;
      if (kernel.level != level) {
        kernel.norms = others_.norms_of(kernel.trial->point);
        kernel.level = level;
      }
      others_.add(kernel.trial->point, kernel.norms);
    }
  }

  // Widths by Scott's rule, kernels^(-1/(active dimensions + 4)). Those of the better trials follow their spread, so
  // that the search narrows down where they agree; one more trial in the middle of the usual spread stands for what is
  // not known. Those of the others are narrow: what was tried and was no good repels, without darkening what lies
  // beside it. The figures are the best of those that were tried on the problems of tests/jobs/search_problems.h.
  std::vector<double> widths_of(std::span<const SeenTrial* const> best) const {
    constexpr double usual_variance = 0.02, least = 0.005;
    std::vector<double> widths = widths_for(static_cast<double>(best.size()));
    for (size_t d = 0; d < widths.size(); ++d) {
      if (!space_.dimensions()[d].ordered) continue;
      double sum = 0, squares = 0, count = 0;
      for (const SeenTrial* each : best) {
        if (const double x = each->point[d]; !std::isnan(x)) sum += x, squares += x * x, ++count;
      }
      const double around_mean = count > 0 ? std::max(0.0, squares - sum * sum / count) : 0;
      const double spread = std::sqrt((around_mean + usual_variance) / (count + 1));
      widths[d] = std::max({spread * shrink(static_cast<double>(best.size())), least, half_cell(d)});
    }
    return widths;
  }

  std::vector<double> widths_for(double kernels) const {
    constexpr double narrow = 0.065;
    std::vector<double> widths;
    for (size_t d = 0; d < space_.size(); ++d) {
      // Of a choice: as if each value had been seen once beside all kernels.
      const auto count = static_cast<double>(space_.dimensions()[d].count);
      const bool ordered = space_.dimensions()[d].ordered;
      widths.push_back(ordered ? std::max(narrow * shrink(kernels), half_cell(d)) : count / (kernels + count));
    }
    return widths;
  }
  double shrink(double kernels) const { return std::pow(kernels, -1 / (active_ + 4)); }
  double half_cell(size_t d) const {
    const int64_t count = space_.dimensions()[d].count;
    return count > 0 ? 0.5 / static_cast<double>(count) : 0;
  }

  const Space space_;
  const int64_t size_;
  const uint64_t seed_;
  const size_t startup_;
  const bool rungs_;
  const double active_;  // dimensions at a point, on average
  TrialSet seen_;
  std::map<int64_t, std::vector<const SeenTrial*>> ranked_;  // by epoch; without rungs one list
  std::vector<Kernel> sample_;
  std::unordered_set<uint64_t> points_;  // that were proposed
  mutable Parzen better_, others_;       // memory for the model
};

}  // namespace

std::unique_ptr<Searcher> make_tpe_search(const SweepSpec& sweep) { return std::make_unique<Tpe>(sweep); }

}  // namespace hivq
