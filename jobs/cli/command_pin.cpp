// pin, unpin: checkpoints that stay.

#include <charconv>

#include "jobs/cli/commands.h"
#include "jobs/views/format.h"
#include "jobs/views/json.h"

namespace hivq::cli {

namespace {

struct CheckpointName {
  TrialId trial;
  int64_t step = -1;  // the newest
};

/// `1/0` or `1/0@200`.
Result<CheckpointName> parse_checkpoint(const std::string& text) {
  const size_t at = text.find('@');
  auto trial = read_trial_id(text.substr(0, at));
  if (!trial) return trial.error();
  CheckpointName name{*trial, -1};
  if (at == std::string::npos) return name;
  const char* end = text.data() + text.size();
  auto [rest, failed] = std::from_chars(text.data() + at + 1, end, name.step);
  if (failed != std::errc() || rest != end || name.step < 0) {
    return error("'{}' is no checkpoint; write JOB/TRIAL@STEP, such as 1/0@2400", printable(text));
  }
  return name;
}

}  // namespace

Result<int> pin(const Common& common, const std::string& checkpoint, bool pinned) {
  auto name = parse_checkpoint(checkpoint);
  if (!name) return wrong_input(name.error());
  auto session = Session::for_reading(common.where);
  if (!session) return session.error();
  auto done = session->client().ask<Pinned>(Pin{name->trial, name->step, pinned});
  if (!done) return done.error();
  const std::string trial = to_string(name->trial);
  const auto said = print(common.json ? text_of({{"trial", trial}, {"step", done->step}, {"pinned", pinned}})
                                      : fmt::format("checkpoint {}@{} {}\n", trial, done->step,
                                                    pinned ? "stays until it is unpinned"
                                                           : "stays as long as its job's retention asks for it"));
  if (!said) return said.error();
  return 0;
}

}  // namespace hivq::cli
