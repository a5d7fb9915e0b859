// The searchers that need nothing but the specification.

#include <algorithm>
#include <cmath>
#include <limits>

#include "jobs/search/draws.h"
#include "jobs/search/searcher.h"

namespace hivq {

namespace {

// Its formula stays as it is: a restarted coordinator of whatever version must draw the same.
ParamValue draw(const SearchRange& range, uint64_t bits) {
  if (const int64_t count = count_of(range); count > 0 && range.kind != SearchRange::Kind::log_integer) {
    return value_at(range, static_cast<int64_t>(bits % static_cast<uint64_t>(count)));
  }
  constexpr uint64_t most = (uint64_t{1} << 53) - 1;
  return value_at_unit(range, static_cast<double>(bits >> 11) / static_cast<double>(most));  // both ends included
}

int64_t variant_count(const SweepSpec& sweep) {
  return std::max<int64_t>(1, static_cast<int64_t>(sweep.variants.size()));
}

Proposal of_variant(const SweepSpec& sweep, int64_t variant) {
  if (sweep.variants.empty()) return {};
  const Variant& chosen = sweep.variants[static_cast<size_t>(variant)];
  return {chosen.name, chosen.params, {}};
}

class SingleTrial final : public Searcher {
 public:
  int64_t size() const override { return 1; }
  std::optional<Proposal> propose(int64_t index) const override {
    return index == 0 ? std::optional<Proposal>(Proposal{}) : std::nullopt;
  }
};

class GridSearch final : public Searcher {
 public:
  explicit GridSearch(SweepSpec sweep) : sweep_(std::move(sweep)), space_(sweep_.parameters) {
    for (const auto& [key, range] : sweep_.parameters) settings_ = saturating_product(settings_, count_of(range));
    if (space_.conditional() && settings_ > 0) list_conditional();
    if (sweep_.trials > 0) settings_ = std::min(settings_, sweep_.trials);
  }

  int64_t size() const override { return saturating_product(variant_count(sweep_), settings_); }

  std::optional<Proposal> propose(int64_t index) const override {
    if (index < 0 || index >= size()) return std::nullopt;
    Proposal proposal = of_variant(sweep_, index / settings_);
    if (space_.conditional()) {
      proposal.params.merge(space_.params(listed_[static_cast<size_t>(index % settings_)]));
      return proposal;
    }
    int64_t rest = index % settings_;  // a number whose digits are the positions in the ranges
    for (auto each = sweep_.parameters.rbegin(); each != sweep_.parameters.rend(); ++each) {
      const int64_t count = count_of(each->second);
      proposal.params[each->first] = value_at(each->second, rest % count);
      rest /= count;
    }
    return proposal;
  }

 private:
  /// An inactive parameter multiplies nothing. The list ends one beyond what a sweep may have.
  void list_conditional() {
    std::vector<double> point(space_.size());
    list_from(0, point);
    settings_ = static_cast<int64_t>(listed_.size());
  }
  void list_from(size_t dimension, std::vector<double>& point) {
    constexpr size_t most = 1'000'001;
    if (listed_.size() >= most) return;
    if (dimension == space_.size()) return listed_.push_back(point);
    if (!space_.active(dimension, point)) {
      point[dimension] = std::numeric_limits<double>::quiet_NaN();
      return list_from(dimension + 1, point);
    }
    const Space::Dimension& d = space_.dimensions()[dimension];
    for (int64_t position = 0; position < d.count; ++position) {
      point[dimension] = unit_of(d.range, value_at(d.range, position));
      list_from(dimension + 1, point);
    }
  }

  SweepSpec sweep_;
  Space space_;
  int64_t settings_ = 1;
  std::vector<std::vector<double>> listed_;  // the settings, where there are conditions
};

// Random and Sobol: setting by setting, each with all variants.
class SpreadSearch : public Searcher {
 public:
  explicit SpreadSearch(SweepSpec sweep) : sweep_(std::move(sweep)), space_(sweep_.parameters) {}

  int64_t size() const override { return saturating_product(variant_count(sweep_), sweep_.trials); }

  std::optional<Proposal> propose(int64_t index) const override {
    if (index < 0 || index >= size()) return std::nullopt;
    Proposal proposal = of_variant(sweep_, index % variant_count(sweep_));
    proposal.params.merge(setting(static_cast<uint64_t>(index / variant_count(sweep_))));
    return proposal;
  }

 protected:
  /// Active parameters alone.
  virtual Params setting(uint64_t number) const = 0;

  SweepSpec sweep_;
  Space space_;
};

class RandomSearch final : public SpreadSearch {
 public:
  using SpreadSearch::SpreadSearch;

 private:
  Params setting(uint64_t number) const override {
    Params params;
    for (const auto& [key, range] : sweep_.parameters) {
      params[key] = drawn_value(range, sweep_.seed, number, key);
    }
    return space_.conditional() ? space_.params(space_.point(params).value()) : params;
  }
};

class SobolSearch final : public SpreadSearch {
 public:
  using SpreadSearch::SpreadSearch;

 private:
  Params setting(uint64_t number) const override { return space_.params(space_.spread_point(sweep_.seed, number)); }
};

}  // namespace

ParamValue drawn_value(const SearchRange& range, uint64_t seed, uint64_t setting, std::string_view key) {
  return draw(range, random_bits(seed, setting, stream_of(key)));
}

std::unique_ptr<Searcher> make_single_trial() { return std::make_unique<SingleTrial>(); }
std::unique_ptr<Searcher> make_grid_search(const SweepSpec& sweep) { return std::make_unique<GridSearch>(sweep); }
std::unique_ptr<Searcher> make_random_search(const SweepSpec& sweep) { return std::make_unique<RandomSearch>(sweep); }
std::unique_ptr<Searcher> make_sobol_search(const SweepSpec& sweep) { return std::make_unique<SobolSearch>(sweep); }

}  // namespace hivq
