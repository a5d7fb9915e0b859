#pragma once

// What a job would take, before it is submitted: from what similar trials took that are stored.

#include "common/messages.h"
#include "coordinator/policy.h"
#include "coordinator/store.h"

namespace hivq {

/// What a job would take: trials, GPU time and checkpoints' space of a job. A stored trial is similar where it differs
/// only in what neither changes the shapes nor the work of a step: it fuses with the job's trial apart from the number
/// of epochs and how often it evaluates. Its time on gangs, its part of a pack, is scaled by epochs. Looks at the 200
/// newest jobs, at some of the trials of each, and at no more once 1000 are known. Errors: the specification's
/// mistakes, that the policy would not let it in, a row that cannot be read.
Result<Estimate> estimate(const EstimateJob& question, const Policy& policy, const Store& store);

}  // namespace hivq
