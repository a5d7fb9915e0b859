#pragma once

// Ends trials early that fall behind others. Pure: a decision depends on the trial's own evaluations and on the set of
// what was recorded of the others so far. Since that grows while trials run, whoever asks must store the answer.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jobs/search/searcher.h"

namespace hivq {

class Stopper {
 public:
  virtual ~Stopper() = default;
  /// Takes in the newest evaluation of a trial (`curve.back()`; the others were recorded before), and says whether the
  /// trial is to end now. A trial may be recorded again, as after a restart: nothing counts twice. Whether the trial
  /// reaches its last epoch anyway is the caller's business.
  virtual bool record(int64_t trial, const std::vector<CurvePoint>& curve) = 0;
};

/// `sweep.stop`; nothing where it stops none. With variants each is judged beside its own kind.
///
/// asha: Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020, in the form that stops instead
/// of promoting: the rungs are at min_epochs · reduction^k; at its first evaluation at or beyond a rung a trial goes on
/// if it is among the best 1/reduction of those that have come there, rounded down, or the best of all.
///
/// hyperband: Li et al., JMLR 18 (2018): as many brackets s = 0, 1, … as there are rungs min_epochs · reduction^s up to
/// the last epoch. In bracket s the first rung is the one of s; at the last rung of all nobody is stopped, so that
/// trials of the last bracket train to their end. A trial's bracket is drawn by its index, in proportion to the trials
/// that Hyperband starts in it (its Algorithm 1); each bracket is halved as by asha.
///
/// median: Golovin et al., "Google Vizier", KDD 2017: a trial stops if its best value so far is worse than the median
/// of the running means of the others up to the same epoch; those that have come as far are at least `startup`.
std::unique_ptr<Stopper> make_stopper(const SweepSpec& sweep, int64_t epochs);

/// Hyperband's brackets for trials of `epochs`, and the bracket of a trial.
int64_t brackets_of(const StopSpec& stop, int64_t epochs);
int64_t bracket_of(uint64_t seed, int64_t trial, int64_t brackets, double reduction);

}  // namespace hivq
