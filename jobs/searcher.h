#pragma once

// A searcher proposes the trials of a sweep. Pure: the same specification gives the same proposals in the same order,
// and proposal `index` needs none before it.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "jobs/spec.h"

namespace hivq {

/// One trial that a searcher wants: a setting, and the variant (row) that it belongs to; empty without variants.
struct Proposal {
  std::string variant;
  Params params;  // includes the variant's
};

class Searcher {
 public:
  virtual ~Searcher() = default;
  /// How many trials the sweep has in all; INT64_MAX where it is more than that.
  virtual int64_t size() const = 0;
  /// The proposal of trial `index` (0-based), or nothing beyond the end. Deterministic in (specification, index).
  virtual std::optional<Proposal> propose(int64_t index) const = 0;
};

/// The searcher of a job; a job without a sweep gets one that proposes one trial without parameters.
///
/// Grid: the variants in their order, and for each the whole grid, the last key (in alphabetical order) changing
/// fastest; `trials` above 0 keeps the first so many settings of each variant. Random: `trials` settings, and for each
/// setting all variants in their order: a paired comparison, complete at any time. A parameter's values depend on
/// (seed, setting, key) alone: more trials, variants or parameters leave them as they are.
std::unique_ptr<Searcher> make_searcher(const JobSpec& job);

/// `a * b`, or INT64_MAX where that is too large. Both at least 0.
int64_t saturating_product(int64_t a, int64_t b);

/// How many values a range has; 0 for a continuous one. value_at() is one of them, in their order.
int64_t count_of(const SearchRange& range);
ParamValue value_at(const SearchRange& range, int64_t position);

}  // namespace hivq
