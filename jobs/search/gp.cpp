#include "jobs/search/gp.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "jobs/search/draws.h"
#include "jobs/search/gaussian_process.h"
#include "jobs/search/trial_set.h"

namespace hivq {

namespace {

constexpr uint32_t purpose_sample = 0x9a0, purpose_propose = 0x9a1;
constexpr size_t most_best = 80, most_others = 80, most_open = 80;  // trials that the process knows
constexpr size_t spread_candidates = 256, near_candidates = 192, refinements = 40;

class GpSearch final : public Searcher {
 public:
  explicit GpSearch(const SweepSpec& sweep)
      : space_(sweep.parameters), size_(sweep.trials), seed_(sweep.seed), startup_(static_cast<size_t>(sweep.startup)) {
    for (const auto& dimension : space_.dimensions()) categorical_.push_back(!dimension.ordered);
  }

  int64_t size() const override { return size_; }
  bool adaptive() const override { return true; }
  void recall(const Observation& seen) override { seen_.put(space_, seen, true); }
  void tell(const Observation& seen) override { seen_.put(space_, seen, false); }

  std::optional<Proposal> propose(int64_t index) const override {
    if (index < 0 || index >= size_) return std::nullopt;
    Proposal proposal;
    proposal.params = space_.params(choose(index));
    return proposal;
  }

 private:
  struct Data {
    std::vector<std::vector<double>> points;
    std::vector<double> values;  // mean 0, deviation 1
  };

  std::vector<double> choose(int64_t index) const {
    std::vector<const SeenTrial*> done, open;
    size_t with_value = 0;
    for (const auto& [number, trial] : seen_.trials()) {
      (trial.state == Observation::State::open ? open : done).push_back(&trial);
      with_value += trial.has_value();
    }
    if (with_value < startup_) return space_.spread_point(seed_, static_cast<uint64_t>(index));
    Data data = data_of(done);
    const GaussianKernel& kernel = kernel_of_the_first();
    const double best = *std::min_element(data.values.begin(), data.values.end());
    // The newest ones are the nearest to what is proposed now.
    if (open.size() > most_open) open.erase(open.begin(), open.end() - most_open);
    if (!open.empty()) {
      const GaussianProcess ended(data.points, data.values, kernel, categorical_);
      for (const SeenTrial* each : open) {
        data.values.push_back(ended.predict(each->point).mean);
        data.points.push_back(each->point);
      }
    }
    const GaussianProcess process(data.points, data.values, kernel, categorical_);
    return best_candidate(process, data, best, static_cast<uint64_t>(index));
  }

  /// Values on a scale where the worst ones, which may be far off, do not hide the differences of the others.
  Data data_of(std::vector<const SeenTrial*> done) const {
    const auto worth = [](const SeenTrial* t) { return t->has_value() && t->violation == 0; };
    std::sort(done.begin(), done.end(), [&](const SeenTrial* a, const SeenTrial* b) {
      if (worth(a) != worth(b)) return worth(a);
      return worth(a) ? ranks_before(*a, *b) : a->index < b->index;
    });
    if (done.size() > most_best + most_others) {
      const auto draw = [&](const SeenTrial* t) {
        return random_bits(seed_, static_cast<uint64_t>(t->index), uint64_t{purpose_sample} << 32);
      };
      std::sort(done.begin() + most_best, done.end(),
                [&](const SeenTrial* a, const SeenTrial* b) { return draw(a) < draw(b); });
      done.resize(most_best + most_others);
    }
    std::vector<double> good;
    for (const SeenTrial* each : done) {
      if (worth(each)) good.push_back(each->values.front());
    }
    if (good.empty()) good.push_back(0);
    std::sort(good.begin(), good.end());
    const double low = good.front(), middle = good[good.size() / 2];
    const double ceiling = std::min(good.back(), middle + 3 * std::max(middle - low, 1e-300));
    Data data;
    for (const SeenTrial* each : done) {
      data.points.push_back(each->point);
      data.values.push_back(worth(each) ? std::min(each->values.front(), ceiling) : ceiling);
    }
    double mean = 0, square = 0;
    for (double value : data.values) mean += value / static_cast<double>(data.values.size());
    for (double value : data.values) square += (value - mean) * (value - mean);
    const double scale = std::sqrt(square / static_cast<double>(data.values.size())) + 1e-300;
    for (double& value : data.values) value = (value - mean) / scale;
    return data;
  }

  /// The kernel that suits the first trials best: as many as have all ended, rounded down to a power of 1.25. Their
  /// results do not change any more, so it is fitted once.
  const GaussianKernel& kernel_of_the_first() const {
    size_t ended = 0;
    for (const auto& [number, trial] : seen_.trials()) {
      if (trial.state == Observation::State::open) break;
      ++ended;
    }
    size_t count = 0;
    for (double step = 5; static_cast<size_t>(step) <= ended; step *= 1.25) count = static_cast<size_t>(step);
    const auto [found, fresh] = kernels_.try_emplace(count);
    if (fresh) found->second = fitted(count);
    return found->second;
  }

  GaussianKernel fitted(size_t count) const {
    GaussianKernel kernel{std::vector<double>(space_.size(), 0.5), 1e-4};
    std::vector<const SeenTrial*> first;
    for (const auto& [number, trial] : seen_.trials()) {
      if (first.size() < count) first.push_back(&trial);
    }
    if (first.size() < 3) return kernel;
    const Data data = data_of(first);
    // Log-normal prior: lengths around a half, little noise. Steps along one coordinate after another, in logarithms.
    const auto worth = [&](const GaussianKernel& k) {
      double prior = 0;
      for (double length : k.lengths) prior -= 0.5 * std::pow(std::log(length / 0.5) / 1.0, 2);
      prior -= 0.5 * std::pow(std::log(k.noise / 1e-4) / 3.0, 2);
      return GaussianProcess(data.points, data.values, k, categorical_).log_likelihood() + prior;
    };
    double value = worth(kernel);
    double step = 1;
    for (int round = 0; round < 5; ++round, step *= 0.6) {
      for (size_t d = 0; d <= space_.size(); ++d) {
        for (double direction : {step, -step}) {
          GaussianKernel moved = kernel;
          double& each = d < space_.size() ? moved.lengths[d] : moved.noise;
          each *= std::exp(d < space_.size() ? direction : 2 * direction);
          each = d < space_.size() ? std::clamp(each, 0.02, 20.0) : std::clamp(each, 1e-7, 1.0);
          const double moved_value = worth(moved);
          if (!(moved_value > value)) continue;
          kernel = moved;
          value = moved_value;
          break;
        }
      }
    }
    return kernel;
  }

  std::vector<double> best_candidate(const GaussianProcess& process, const Data& data, double best,
                                     uint64_t index) const {
    Draws draws(seed_, index, purpose_propose);
    std::vector<size_t> order(data.points.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    const size_t leaders = std::min<size_t>(5, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(leaders), order.end(),
                      [&](size_t a, size_t b) { return std::pair(data.values[a], a) < std::pair(data.values[b], b); });
    std::vector<double> chosen;
    double most = -std::numeric_limits<double>::infinity();
    const auto consider = [&](std::vector<double> point) {
      space_.settle(point);
      if (std::find(data.points.begin(), data.points.end(), point) != data.points.end()) return false;
      const double worth = log_expected_improvement(process.predict(point), best);
      if (!(worth > most) && !chosen.empty()) return false;
      most = worth;
      chosen = std::move(point);
      return true;
    };
    for (size_t i = 0; i < spread_candidates; ++i) {
      std::vector<double> point(space_.size());
      for (double& each : point) each = draws.uniform();
      consider(std::move(point));
    }
    for (size_t i = 0; i < near_candidates; ++i) {
      consider(moved(data.points[order[i % leaders]], std::exp2(-1.0 - static_cast<double>(i % 9)), draws));
    }
    if (chosen.empty()) return space_.spread_point(seed_, index);  // a finite space that is exhausted
    double width = 0.05;
    for (size_t i = 0; i < refinements; ++i) width *= consider(moved(chosen, width, draws)) ? 1.5 : 0.85;
    return chosen;
  }

  /// A point near another: all of its coordinates changed, or one in three.
  std::vector<double> moved(std::vector<double> point, double width, Draws& draws) const {
    const bool all = draws.uniform() < 0.5;
    for (size_t d = 0; d < point.size(); ++d) {
      const double u = draws.uniform(), change = draws.normal();
      if (!all && u > 1.0 / 3) continue;
      if (std::isnan(point[d])) {
        point[d] = unit_double(draws.bits());
      } else if (categorical_[d]) {
        if (u < 0.2) point[d] = unit_double(draws.bits());
      } else {
        const int64_t count = space_.dimensions()[d].count;
        const double least = count > 0 ? 0.7 / static_cast<double>(count) : 0;
        point[d] = std::clamp(point[d] + std::max(width, least) * change, 0.0, 1.0);
      }
    }
    return point;
  }

  const Space space_;
  const int64_t size_;
  const uint64_t seed_;
  const size_t startup_;
  std::vector<bool> categorical_;
  TrialSet seen_;
  mutable std::unordered_map<size_t, GaussianKernel> kernels_;
};

}  // namespace

std::unique_ptr<Searcher> make_gp_search(const SweepSpec& sweep) { return std::make_unique<GpSearch>(sweep); }

}  // namespace hivq
