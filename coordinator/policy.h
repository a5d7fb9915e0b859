#pragma once

// What the owner of a cluster decides: weights, quotas and priority limits of projects and users, and how patient the
// scheduler is. Read from YAML (hivq-coordinator --policy FILE) at every start.

#include <cstdint>
#include <map>
#include <string>

#include "common/clock.h"
#include "common/result.h"

namespace hivq {

inline constexpr int64_t most_priority = 1'000'000;  // of any job; -most_priority is the least

/// What a project or a user may have.
struct Allowance {
  double weight = 1;                     // of its share beside the others'; above 0
  uint64_t max_ranks = 0;                // of all gangs that run for it at once; 0: no quota
  int64_t max_priority = most_priority;  // that its jobs may ask for
  bool operator==(const Allowance&) const = default;
};

struct Policy {
  Millis half_life = 24 * 3'600'000;  // after which ranks that were used count half
  Millis reserve_after = 60'000;      // a size or label that had no gang for so long has the next one that fits
  Millis preempt_after = 10'000;      // that a higher priority waits before it takes a gang away
  Millis min_run = 60'000;            // that an attempt runs before its gang may be taken away
  bool preempt = true;
  std::map<std::string, Allowance> projects, users;  // by name; `*`: those that are not named

  const Allowance& of_project(const std::string& name) const { return named(projects, name); }
  const Allowance& of_user(const std::string& name) const { return named(users, name); }
  /// Errors: the priority is higher than a job of the user for the project may have.
  Status allows(const std::string& user, const std::string& project, int64_t priority) const;
  bool operator==(const Policy&) const = default;

 private:
  static const Allowance& named(const std::map<std::string, Allowance>& all, const std::string& name);
};

/// Reads a policy:
///
///     half_life_hours: 24
///     reserve_seconds: 60
///     preempt: true
///     preempt_seconds: 10
///     min_run_seconds: 60
///     projects:
///       vision: {weight: 3, max_ranks: 64}
///     users:
///       ada: {max_ranks: 16, max_priority: 10}
///       "*": {max_ranks: 8}
///
/// All keys may be left out. An Error holds one line per mistake, `file:line: …` with the remedy.
Result<Policy> parse_policy(const std::string& text, const std::string& file);
/// The same from a file. Errors also: it cannot be read.
Result<Policy> read_policy(const std::string& path);

}  // namespace hivq
