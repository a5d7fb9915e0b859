// drain, explain, and what a job would take: how trials get gangs.

#include <pwd.h>
#include <unistd.h>

#include <cmath>

#include "jobs/cli/commands.h"
#include "jobs/views/format.h"
#include "jobs/views/json.h"

namespace hivq::cli {

namespace {

std::string bytes_text(double bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < std::size(units); ++unit) bytes /= 1024;
  return fmt::format("{:.{}f} {}", bytes, unit == 0 || bytes >= 100 ? 0 : 1, units[unit]);
}

std::string hours_text(double hours) {
  if (hours < 1.0 / 60) return fmt::format("{:.1f} seconds", hours * 3600);
  if (hours < 1) return fmt::format("{:.1f} minutes", hours * 60);
  return fmt::format("{:.1f} hours", hours);
}

}  // namespace

std::string login_name() {
  const passwd* entry = getpwuid(geteuid());
  return entry != nullptr && entry->pw_name != nullptr ? entry->pw_name : fmt::format("uid-{}", geteuid());
}

Result<int> drain(const Common& common, const DrainArguments& arguments) {
  auto session = Session::for_reading(common.where);
  if (!session) return session.error();
  auto done =
      session->client().ask<DrainSet>(SetDrained{random_id(), arguments.target, !arguments.undo, arguments.to_the_end});
  if (!done) return done.error();
  std::string text =
      fmt::format("{} {}: {}", printable(done->target), arguments.undo ? "may have trials again" : "gets no new trials",
                  count_text(done->gangs, "gang"));
  if (done->running > 0 && !arguments.undo) {
    text += fmt::format(", {} {}", count_text(done->running, "trial"),
                        arguments.to_the_end ? "to run to the end" : "to stop at the next step and go on elsewhere");
  }
  text += '\n';
  if (common.json) text = text_of(to_json(*done, !arguments.undo));
  if (auto printed = print(text); !printed) return printed.error();
  return 0;
}

Result<int> set_priority(const Common& common, const std::string& job_text, int64_t priority) {
  auto job = parse_job_id(job_text);
  if (!job) return wrong_input(job.error());
  auto session = Session::for_reading(common.where);
  if (!session) return session.error();
  const auto done = session->client().ask<PrioritySet>(SetPriority{random_id(), *job, priority});
  if (!done) return done.error();
  if (common.json) return printed(text_of({{"job", *job}, {"priority", done->priority}}));
  return printed(fmt::format("job {} has the priority {}\n", *job, done->priority));
}

Result<int> explain(const Common& common, const std::string& job_text) {
  auto job = parse_job_id(job_text);
  if (!job) return wrong_input(job.error());
  auto session = Session::for_reading(common.where);
  if (!session) return session.error();
  auto answer = session->client().ask<Explanation>(ExplainJob{*job});
  if (!answer) return answer.error();
  std::string text =
      common.json ? text_of({{"job", *job}, {"explanation", answer->text}}) : printable(answer->text) + '\n';
  if (auto printed = print(text); !printed) return printed.error();
  return 0;
}

Result<int> estimate(const Common& common, const JobSpec& job, const std::string& file) {
  auto session = Session::for_reading(common.where);
  if (!session) return session.error();
  auto answer = session->client().ask<Estimate>(EstimateJob{file, to_yaml(job), login_name()});
  if (!answer) return answer.error();
  std::string text = fmt::format("trials: {}\n", answer->trials);
  if (answer->rank_hours >= 0) {
    text += fmt::format("time on a GPU (or CPU rank): {} in all, measured on {} like these\n",
                        hours_text(answer->rank_hours), count_text(answer->similar, "finished trial"));
  }
  if (answer->checkpoint_bytes >= 0) {
    text +=
        fmt::format("space of the newest checkpoints: {}\n", bytes_text(static_cast<double>(answer->checkpoint_bytes)));
  }
  if (!answer->note.empty()) text += "not known: " + printable(answer->note) + '\n';
  if (common.json) text = text_of(to_json(*answer));
  if (auto printed = print(text); !printed) return printed.error();
  return 0;
}

}  // namespace hivq::cli
