#pragma once

// A searcher proposes the trials of a sweep. Pure: the same specification gives the same proposals in the same order.

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
  /// How many trials the sweep has in all.
  virtual int64_t size() const = 0;
  /// The proposal of trial `index` (0-based), or nothing at the end. Deterministic in (specification, index).
  virtual std::optional<Proposal> propose(int64_t index) const = 0;
};

/// The searcher of a job; a job without a sweep gets one that proposes one trial without parameters.
std::unique_ptr<Searcher> make_searcher(const JobSpec& job);

}  // namespace hivq
