#pragma once

// Follows a job on standard error until it ends: live bars on a terminal, occasional lines elsewhere.

#include <optional>
#include <string>

#include "common/messages.h"
#include "jobs/cli/progress.h"
#include "jobs/cli/session.h"

namespace hivq::cli {

/// Writes lines, and below them a block that is drawn anew each time.
class Display {
 public:
  Display() = default;
  ~Display() { clear(); }
  Display(const Display&) = delete;

  /// A line that stays.
  void say(const std::string& line);
  /// The state of the job: what has changed since the last call stays as lines, the rest is redrawn. `losses`: of
  /// running trials, by shows_losses().
  void show(const JobDetail& detail, Millis now, std::map<TrialId, std::vector<double>> losses = {});
  /// It draws what runs, so that curves are worth asking for.
  bool shows_losses() const;
  /// Takes the block away.
  void clear();

 private:
  TimeLeft time_left_;
  Throughput throughput_;
  std::optional<JobDetail> last_;
  size_t block_lines_ = 0;
  Millis next_summary_ = 0;  // where there is no terminal
};

/// The job as it ended, or nothing when the user interrupted. Errors: the coordinator's own sentence, or that it is
/// gone for good.
Result<std::optional<JobDetail>> watch(Session& session, JobId job, Display& display);

/// Waits until something of the job has changed after `version` (0: nothing is known yet), a while at most, and not for
/// less than a moment. The version to ask with next; 0 where the coordinator says nothing.
uint64_t wait_for_change(Client& client, JobId job, uint64_t version);

}  // namespace hivq::cli
