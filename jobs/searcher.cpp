#include "jobs/searcher.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "jobs/philox.h"

namespace hivq {

namespace {

// Six significant digits: reads well in a table, and hides the last bits of exp(), which differ between C libraries.
double rounded(double value) {
  char text[40];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::scientific, 5).ptr;
  std::from_chars(text, end, value);
  return value;
}

ParamValue draw(const SearchRange& range, uint64_t bits) {
  constexpr uint64_t most = (uint64_t{1} << 53) - 1;
  const double part = static_cast<double>(bits >> 11) / static_cast<double>(most);  // 0 to 1, both included
  switch (range.kind) {
    case SearchRange::Kind::uniform:
      return std::clamp(rounded(range.low * (1 - part) + range.high * part), range.low, range.high);
    case SearchRange::Kind::log_uniform:
      return std::clamp(rounded(std::exp(std::log(range.low) * (1 - part) + std::log(range.high) * part)), range.low,
                        range.high);
    case SearchRange::Kind::choice:
    case SearchRange::Kind::integer:
      break;
  }
  return value_at(range, static_cast<int64_t>(bits % static_cast<uint64_t>(count_of(range))));
}

// FNV-1a: a key's stream of random bits.
uint64_t stream_of(const std::string& key) {
  uint64_t hash = 0xcbf29ce484222325;
  for (unsigned char c : key) hash = (hash ^ c) * 0x100000001b3;
  return hash;
}

int64_t variant_count(const SweepSpec& sweep) {
  return std::max<int64_t>(1, static_cast<int64_t>(sweep.variants.size()));
}

Proposal of_variant(const SweepSpec& sweep, int64_t variant) {
  if (sweep.variants.empty()) return {};
  const Variant& chosen = sweep.variants[static_cast<size_t>(variant)];
  return {chosen.name, chosen.params};
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
  explicit GridSearch(SweepSpec sweep) : sweep_(std::move(sweep)) {
    for (const auto& [key, range] : sweep_.parameters) settings_ = saturating_product(settings_, count_of(range));
    if (sweep_.trials > 0) settings_ = std::min(settings_, sweep_.trials);
  }

  int64_t size() const override { return saturating_product(variant_count(sweep_), settings_); }

  std::optional<Proposal> propose(int64_t index) const override {
    if (index < 0 || index >= size()) return std::nullopt;
    Proposal proposal = of_variant(sweep_, index / settings_);
    int64_t rest = index % settings_;  // a number whose digits are the positions in the ranges
    for (auto each = sweep_.parameters.rbegin(); each != sweep_.parameters.rend(); ++each) {
      const int64_t count = count_of(each->second);
      proposal.params[each->first] = value_at(each->second, rest % count);
      rest /= count;
    }
    return proposal;
  }

 private:
  SweepSpec sweep_;
  int64_t settings_ = 1;
};

class RandomSearch final : public Searcher {
 public:
  explicit RandomSearch(SweepSpec sweep) : sweep_(std::move(sweep)) {}

  int64_t size() const override { return saturating_product(variant_count(sweep_), sweep_.trials); }

  std::optional<Proposal> propose(int64_t index) const override {
    if (index < 0 || index >= size()) return std::nullopt;
    const auto setting = static_cast<uint64_t>(index / variant_count(sweep_));
    Proposal proposal = of_variant(sweep_, index % variant_count(sweep_));
    for (const auto& [key, range] : sweep_.parameters) {
      proposal.params[key] = draw(range, random_bits(sweep_.seed, setting, stream_of(key)));
    }
    return proposal;
  }

 private:
  SweepSpec sweep_;
};

}  // namespace

std::unique_ptr<Searcher> make_searcher(const JobSpec& job) {
  if (!job.sweep) return std::make_unique<SingleTrial>();
  if (job.sweep->search == "random") return std::make_unique<RandomSearch>(*job.sweep);
  return std::make_unique<GridSearch>(*job.sweep);
}

int64_t saturating_product(int64_t a, int64_t b) {
  constexpr int64_t most = std::numeric_limits<int64_t>::max();
  return b != 0 && a > most / b ? most : a * b;
}

int64_t count_of(const SearchRange& range) {
  switch (range.kind) {
    case SearchRange::Kind::choice:
      return static_cast<int64_t>(range.choices.size());
    case SearchRange::Kind::integer:
      return static_cast<int64_t>(range.high) - static_cast<int64_t>(range.low) + 1;
    case SearchRange::Kind::uniform:
    case SearchRange::Kind::log_uniform:
      break;
  }
  return 0;
}

ParamValue value_at(const SearchRange& range, int64_t position) {
  if (range.kind == SearchRange::Kind::choice) return range.choices[static_cast<size_t>(position)];
  return static_cast<int64_t>(range.low) + position;
}

}  // namespace hivq
