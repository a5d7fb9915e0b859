#pragma once

// A searcher proposes the trials of a sweep, and may learn from how they went. Pure: a fold over what it was told.
//
// propose(index) depends on the specification, the index and the set of observations that were told, not on their
// order, and nothing is drawn from a running generator. So a restarted coordinator that tells the stored trials again
// has the same searcher, and no proposal is made twice.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jobs/search/space.h"
#include "jobs/spec.h"

namespace hivq {

/// One trial that a searcher wants: a setting, and the variant (row) that it belongs to; empty without variants.
struct Proposal {
  std::string variant;
  Params params;                        // includes the variant's
  std::optional<int64_t> start_from{};  // the trial of the sweep whose newest checkpoint it starts from
};

/// The sweep's metric of a trial after so many epochs, to be minimised (negated where the goal is to maximise).
struct CurvePoint {
  int64_t epoch = 0;
  double value = 0;
  bool operator==(const CurvePoint&) const = default;
};

/// All that is known of a trial now.
struct Observation {
  enum class State { open, ended, failed };
  int64_t index = 0;
  Params params;  // as proposed
  State state = State::open;
  bool stopped = false;           // ended early: its values are of the last evaluation before
  std::vector<CurvePoint> curve;  // where the sweep stops trials early; epochs rise
  std::vector<double> values;     // of an ended one: the sweep's metrics, all to be minimised; empty: it has not all
  double violation = 0;           // how far it misses the constraints, summed; 0: it keeps them
};

class Searcher {
 public:
  virtual ~Searcher() = default;
  /// How many trials the sweep has in all; INT64_MAX where it is more than that.
  virtual int64_t size() const = 0;
  /// The proposal of trial `index` (0-based). Nothing beyond the end, and where the searcher must hear first how trials
  /// before it ended; never so when all of them have.
  virtual std::optional<Proposal> propose(int64_t index) const = 0;
  /// What is known of a trial now, in place of what was told of it before. Trials are told from their proposal on.
  virtual void tell(const Observation&) {}
  /// An ended trial of an earlier sweep; its index counts for nothing. All of them come before the first tell().
  virtual void recall(const Observation&) {}
  /// Whether tell() changes what is proposed: then each trial is to be asked for when a gang can take it, not before.
  virtual bool adaptive() const { return false; }
};

/// The searcher of a job; a job without a sweep gets one that proposes one trial without parameters.
///
/// Grid: the variants in their order, and for each the whole grid, the last key (in alphabetical order) changing
/// fastest; `trials` above 0 keeps the first so many settings of each variant. All others: `trials` settings of each
/// variant, and for each setting all variants in their order: a paired comparison, complete at any time. Random and
/// Sobol give all variants the same settings; the others search for each variant by itself, with equal seeds.
/// Random: a parameter's values depend on (seed, setting, key) alone: more trials, variants or parameters leave them
/// as they are.
std::unique_ptr<Searcher> make_searcher(const JobSpec& job);

/// Grid, random and single trials: those that need nothing but the specification.
std::unique_ptr<Searcher> make_single_trial();
std::unique_ptr<Searcher> make_grid_search(const SweepSpec& sweep);
std::unique_ptr<Searcher> make_random_search(const SweepSpec& sweep);
/// Sobol' points, Owen-scrambled by the seed: fills the space more evenly than random ones. See sobol.h.
std::unique_ptr<Searcher> make_sobol_search(const SweepSpec& sweep);

/// What random search draws for a parameter of a setting: a function of its arguments.
ParamValue drawn_value(const SearchRange& range, uint64_t seed, uint64_t setting, std::string_view key);

/// One search over the parameters alone, without variants: the sweep's `trials` settings.
std::unique_ptr<Searcher> make_adaptive_search(const SweepSpec& sweep);

}  // namespace hivq
