#include "jobs/search/stopper.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>

#include "jobs/search/draws.h"

namespace hivq {

namespace {

constexpr uint32_t purpose_bracket = 0x57a;

/// The newest evaluation is the first at or beyond a rung: the rung's number, the highest of them; -1: it is not.
int64_t reached_rung(const std::vector<CurvePoint>& curve, double first, double reduction) {
  const auto rung_of = [&](int64_t epoch) {
    int64_t rung = -1;
    for (double at = first; at <= static_cast<double>(epoch) * (1 + 1e-9); at *= reduction) ++rung;
    return rung;
  };
  const int64_t now = rung_of(curve.back().epoch);
  const int64_t before = curve.size() < 2 ? -1 : rung_of(curve[curve.size() - 2].epoch);
  return now > before ? now : -1;
}

// One or several brackets of asynchronous successive halving.
class Halving final : public Stopper {
 public:
  /// `halvings`: rungs of the first bracket at which trials are stopped.
  Halving(const SweepSpec& sweep, int64_t brackets, int64_t halvings)
      : seed_(sweep.seed),
        variants_(std::max<int64_t>(1, static_cast<int64_t>(sweep.variants.size()))),
        brackets_(brackets),
        halvings_(halvings),
        first_(static_cast<double>(sweep.stop.min_epochs)),
        reduction_(sweep.stop.reduction) {}

  bool record(int64_t trial, const std::vector<CurvePoint>& curve) override {
    const int64_t bracket = bracket_of(seed_, trial / variants_, brackets_, reduction_);
    const double first = first_ * std::pow(reduction_, static_cast<double>(bracket));
    const int64_t rung = reached_rung(curve, first, reduction_);
    if (rung < 0 || rung + bracket >= halvings_) return false;
    const double value = std::isnan(curve.back().value) ? std::numeric_limits<double>::infinity() : curve.back().value;
    auto& there = rungs_[{trial % variants_, bracket, rung}];
    there.values[trial] = value;
    std::vector<double> values;
    for (const auto& [other, each] : there.values) values.push_back(each);
    const auto kept = std::max<size_t>(1, static_cast<size_t>(static_cast<double>(values.size()) / reduction_ + 1e-9));
    std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(kept - 1), values.end());
    return value > values[kept - 1] || std::isinf(value);
  }

 private:
  struct Rung {
    std::map<int64_t, double> values;  // by trial
  };
  uint64_t seed_;
  int64_t variants_, brackets_, halvings_;
  double first_, reduction_;
  std::map<std::tuple<int64_t, int64_t, int64_t>, Rung> rungs_;
};

class Median final : public Stopper {
 public:
  explicit Median(const SweepSpec& sweep)
      : variants_(std::max<int64_t>(1, static_cast<int64_t>(sweep.variants.size()))), stop_(sweep.stop) {}

  bool record(int64_t trial, const std::vector<CurvePoint>& curve) override {
    auto& means = means_[trial % variants_];
    const int64_t epoch = curve.back().epoch;
    double sum = 0, best = std::numeric_limits<double>::infinity();
    for (const auto& [at, value] : curve) {
      sum += value;
      if (!std::isnan(value)) best = std::min(best, value);
    }
    std::vector<double> others;
    for (const auto& [other, mean] : means[epoch]) {
      if (other != trial && !std::isnan(mean)) others.push_back(mean);
    }
    means[epoch][trial] = sum / static_cast<double>(curve.size());
    if (epoch < stop_.min_epochs || static_cast<int64_t>(others.size()) < stop_.startup) return false;
    const auto middle = others.begin() + static_cast<ptrdiff_t>(others.size() / 2);
    std::nth_element(others.begin(), middle, others.end());
    return best > *middle;
  }

 private:
  int64_t variants_;
  StopSpec stop_;
  std::map<int64_t, std::map<int64_t, std::map<int64_t, double>>> means_;  // by variant, epoch, trial
};

}  // namespace

int64_t brackets_of(const StopSpec& stop, int64_t epochs) {
  int64_t brackets = 1;
  for (double at = static_cast<double>(stop.min_epochs) * stop.reduction;
       at <= static_cast<double>(epochs) * (1 + 1e-9); at *= stop.reduction) {
    ++brackets;
  }
  return brackets;
}

int64_t bracket_of(uint64_t seed, int64_t trial, int64_t brackets, double reduction) {
  if (brackets <= 1) return 0;
  // Bracket s begins with ceil(brackets / (rungs left) · reduction^(rungs left - 1)) trials.
  std::vector<double> sizes;
  double total = 0;
  for (int64_t s = 0; s < brackets; ++s) {
    const auto rungs = static_cast<double>(brackets - s);
    sizes.push_back(std::ceil(static_cast<double>(brackets) / rungs * std::pow(reduction, rungs - 1)));
    total += sizes.back();
  }
  double left = Draws(seed, static_cast<uint64_t>(trial), purpose_bracket).uniform() * total;
  int64_t bracket = 0;
  while (bracket + 1 < brackets && (left -= sizes[static_cast<size_t>(bracket)]) >= 0) ++bracket;
  return bracket;
}

std::unique_ptr<Stopper> make_stopper(const SweepSpec& sweep, int64_t epochs) {
  if (sweep.stop.by == "asha") return std::make_unique<Halving>(sweep, 1, std::numeric_limits<int64_t>::max());
  if (sweep.stop.by == "hyperband") {
    const int64_t brackets = brackets_of(sweep.stop, epochs);
    return std::make_unique<Halving>(sweep, brackets, brackets - 1);
  }
  if (sweep.stop.by == "median") return std::make_unique<Median>(sweep);
  return nullptr;
}

}  // namespace hivq
