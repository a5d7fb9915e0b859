#pragma once

// The names of things: jobs, trials, gangs.

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/wire.h"

namespace hivq {

/// Jobs are numbered from 1 in the order of their submission.
using JobId = uint64_t;

/// A trial: its job and its 0-based place in the sweep. Printed `7/3`.
struct TrialId {
  JobId job = 0;
  uint64_t index = 0;
  auto operator<=>(const TrialId&) const = default;
  HIVQ_FIELDS(job, index)
};

std::string to_string(const TrialId& id);
/// Reads `7/3`.
std::optional<TrialId> parse_trial_id(std::string_view text);

/// A gang's name: 16 hexadecimal digits, chosen at random by its leader. It is also its ZeroMQ identity.
using GangId = std::string;

/// The right of a gang to run a trial. Epochs grow by one with every pack of trials that is given to a gang, and the
/// leases of a pack share one; what carries an old one is refused.
struct Lease {
  TrialId trial;
  uint64_t epoch = 0;
  auto operator<=>(const Lease&) const = default;
  HIVQ_FIELDS(trial, epoch)
};

/// 16 hexadecimal digits from the operating system's random source.
std::string random_id();

}  // namespace hivq
