#pragma once

// A gang's life: wait for a pack of trials, load its features, train, report; until the coordinator or a signal ends
// it.

#include <functional>
#include <string>

#include "common/log.h"
#include "common/result.h"
#include "worker/collective/collective.h"
#include "worker/data/feature_set.h"
#include "worker/gang/leader.h"
#include "worker/gang/world.h"
#include "worker/train/run_trial.h"

namespace hivq {

/// What a gang does with a pack; tests put their own in.
struct Work {
  std::function<Result<FeatureSet>(const DataSpec&, const BackboneSpec&, const FeatureProgress&)> load_features;
  std::function<Result<std::vector<TrialOutcome>>(std::span<const TrialRun>, const FeatureSet&, Collective&)>
      run_trials;
};

/// Runs trials on every rank until the gang ends. Collective; `leader` on rank 0 only. Returns how the gang ends, the
/// same on every rank. An Error is the gang's failure: a rank or the communication between ranks broke, and MPI must be
/// aborted.
Result<Ending> run_gang(const World& world, Collective& collective, Leader* leader, const Work& work, const Log& log);

}  // namespace hivq
