// Why a job does not run (yet), for people.

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core_running.h"

namespace hivq {

/// No gang that fits the job's trials may have new ones.
bool Core::all_drained(const Job& owner) const {
  const Need need{static_cast<uint64_t>(owner.spec.trial.gang.ranks), owner.spec.trial.gang.labels};
  return !drains_.empty() && std::all_of(gangs_.begin(), gangs_.end(), [&](const auto& entry) {
    const GangState& gang = entry.second;
    return !fits(need, {gang.hello.ranks, gang.hello.labels}) || drained(gang);
  });
}

std::string Core::waiting_reason(JobId id) const {
  auto found = jobs_.find(id);
  if (found == jobs_.end()) return "";
  const Job& owner = found->second;
  if (owner.row.paused) {
    const uint64_t running = running_trials(id);
    return fmt::format("it is paused{}; `hivq resume {}` lets it go on",
                       running == 0 ? "" : fmt::format(", {} to stop at the next step", running), id);
  }
  if (!owner.after.empty()) {
    return fmt::format("it waits for the end of job{} {}", owner.after.size() == 1 ? "" : "s",
                       fmt::join(owner.after, ", "));
  }
  if (owner.spec.study) return study_waits(owner);
  std::string reason = scheduler_.why(id);
  if (reason.empty()) {
    const auto of_job = [&](const auto& entry) { return entry.second.job == id; };
    auto retry = std::find_if(retries_.begin(), retries_.end(), of_job);
    if (retry == retries_.end()) return "";
    const Trial& waits = *trial(retry->second);
    return fmt::format("trial {} has lost its gang {} times and is tried again in {} s", to_string(retry->second),
                       waits.row.attempts, std::max<Millis>(0, retry->first - now_ + 999) / 1000);
  }
  const bool no_gang = reason.starts_with("it waits for");
  const Need need{static_cast<uint64_t>(owner.spec.trial.gang.ranks), owner.spec.trial.gang.labels};
  const bool quota = reason.find(" of a quota of ") != reason.npos;
  const std::string growth = quota ? "" : growing(need, no_gang);
  if (!no_gang && all_drained(owner)) reason = "every gang that fits is drained; `hivq gangs` shows which";
  if (!growth.empty()) return no_gang ? growth : fmt::format("{}; {}", reason, growth);
  if (!no_gang) return reason;
  const int64_t ranks = std::max<int64_t>(1, owner.spec.trial.gang.ranks);
  std::string labels;
  for (const auto& [key, value] : owner.spec.trial.gang.labels) labels += fmt::format(" --label {}={}", key, value);
  return reason + fmt::format(". Start one: mpirun -np {} hivq-worker --coordinator …{}", ranks, labels);
}

}  // namespace hivq
