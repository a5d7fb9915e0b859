// run: the embedded default. Starts or takes the data folder's coordinator, submits, follows, reports.

#include <cstdio>
#include <cstdlib>

#include "jobs/cli/commands.h"
#include "jobs/cli/figures.h"
#include "jobs/cli/interrupt.h"
#include "jobs/cli/terminal.h"
#include "jobs/cli/watch.h"
#include "jobs/views/format.h"
#include "jobs/views/json.h"
#include "jobs/views/settings.h"

namespace hivq::cli {

namespace {

constexpr uint64_t default_ranks = 2;  // of the local gang

/// Submits; the same key makes a repeated submission the same job, also to a coordinator that was started again.
Result<JobId> submit_to(Session& session, Display& display, const SpecArguments& arguments, const JobSpec& job) {
  const Submit question{random_id(), arguments.file, to_yaml(job), login_name()};
  while (interrupted() == 0) {
    auto answer = session.client().try_ask<Submitted>(question, std::chrono::seconds(10));
    if (answer && !*answer) return answer->error();
    if (answer) return (*answer)->job;
    auto revived = session.revive([&](const std::string& line) { display.say(line); });
    if (!revived) return revived.error();
  }
  return error("interrupted before the job was submitted");
}

/// Other jobs want the same gangs, and may come first: the user shall know.
void tell_of_other_jobs(Session& session, Display& display, JobId job) {
  auto jobs = session.client().ask<JobList>(ListJobs{});
  if (!jobs) return;
  std::string others;
  size_t count = 0;
  for (const auto& other : jobs->jobs) {
    if (other.id == job || has_ended(other.state) || other.state == "paused") continue;
    if (++count <= 10) others += fmt::format("{}{}", count == 1 ? "" : ", ", other.id);
  }
  if (count == 0) return;
  if (count > 10) others += ", …";
  display.say(
      fmt::format("{} besides this one {} not ended: {} (gangs go by priority, share and age: `hivq explain {}`)",
                  count_text(count, "job"), count == 1 ? "has" : "have", others, job));
}

std::string come_back(const Common& common, JobId job) {
  return fmt::format("{} run --resume {}{}", common.program, job, common.where.flags());
}

/// The user's wish, else the job's own. A stored job's own ranks are known to the coordinator.
uint64_t ranks_for(const RunArguments& arguments, const std::optional<JobSpec>& job) {
  if (arguments.ranks != 0) return arguments.ranks;
  return job && job->trial.gang.ranks > 0 ? static_cast<uint64_t>(job->trial.gang.ranks) : default_ranks;
}

Result<int> follow(const Common& common, Session& session, Display& display, JobId job, const std::string& spec_file) {
  tell_of_other_jobs(session, display, job);
  auto ended = watch(session, job, display);
  display.clear();
  if (!ended) {
    return error("{}; job {} stays stored: `{}` goes on with it", ended.error().message, job, come_back(common, job));
  }
  if (!*ended) {
    int code = exit_code::interrupt_base + interrupted();
    if (session.ours()) {
      display.say("stopping the local gang …");
      session.stop();
      display.say(
          fmt::format("job {} is stored with its checkpoints; `{}` goes on with it", job, come_back(common, job)));
    } else {
      display.say(
          fmt::format("job {0} goes on at {1}; `{2} watch {0}{3}` follows it again, `{2} cancel {0}{3}` ends it", job,
                      session.endpoint(), common.program, common.where.flags()));
    }
    return code;
  }
  return report_end(common, session, **ended, spec_file);
}

void append_next_commands(std::string& text, const Common& common, const Results& results,
                          const std::string& spec_file) {
  const std::string flags = common.where.flags();
  std::vector<std::pair<std::string, std::string>> next;
  auto add = [&](const std::string& command, const std::string& why) {
    next.emplace_back(common.program + " " + command, why);
  };
  const JobId job = results.job.id;
  add(fmt::format("results {} --sort duration{}", job, flags),
      "the table again, sorted as you like; --csv and --json too");
  if (!results.rows.empty()) {
    std::string trial = to_string(results.rows.front().trial.id);
    add(fmt::format("show {}{}", trial, flags), "all that is known of the first trial");
    add(fmt::format("metrics {} {}{}", trial, results.job.metric, flags), "its curve in numbers");
    add(fmt::format("logs {}{}", trial, flags), "its log");
  }
  // An override of what the sweep varies would reach no trial.
  bool fixed_epochs = !results.rows.empty() && !results.rows.front().trial.params.contains("train.epochs");
  if (!spec_file.empty() && fixed_epochs) {
    int64_t epochs = std::max<int64_t>(1, std::atoll(results.rows.front().epochs.c_str()));
    add(fmt::format("run {} --set train.epochs={}{}", shell_word(spec_file), 2 * epochs, flags), "train twice as long");
  }
  size_t width = 0;
  for (const auto& [command, why] : next) width = std::max(width, display_width(command));
  text += "\nnext:\n";
  for (const auto& [command, why] : next) {
    text += fmt::format("  {}{}  {}\n", command, std::string(width - display_width(command), ' '), why);
  }
}

/// Why trials did not finish; the same reason once.
void append_reasons(std::string& text, const Results& results) {
  std::map<std::string, std::vector<std::string>> trials_of;
  for (const auto& row : results.rows) {
    if (row.trial.state == "failed") trials_of[row.trial.reason].push_back(to_string(row.trial.id));
  }
  for (const auto& [reason, trials] : trials_of) {
    std::string names = trials.front();
    for (size_t i = 1; i < std::min<size_t>(trials.size(), 4); ++i) names += fmt::format(", {}", trials[i]);
    if (trials.size() > 4) names += fmt::format(" and {} more", trials.size() - 4);
    text += fmt::format("failed: {}: {}\n", names, printable(reason));
  }
}

}  // namespace

std::string figures_folder(const Where& where, JobId job) { return fmt::format("{}/figures/job-{}", where.data, job); }

Result<Results> ask_results(Session& session, JobId job) {
  auto detail = session.client().ask<JobDetail>(ShowJob{job});
  if (!detail) return detail.error();
  auto losses = newest_losses(session.client(), *detail);
  return make_results(*detail, losses, wall_clock());
}

Result<int> report_end(const Common& common, Session& session, const JobDetail& detail, const std::string& spec_file) {
  Results results = make_results(detail, newest_losses(session.client(), detail), detail.job.ended);
  auto charts = job_figures(session.client(), results);
  auto figures = charts ? write_figures(*charts, figures_folder(common.where, detail.job.id), FigureFormat::svg)
                        : Result<std::vector<std::string>>(charts.error());
  std::string text;
  if (common.json) {
    auto json = to_json(results);
    json["figures"] = figures ? *figures : std::vector<std::string>();
    text = text_of(json);
  } else {
    text = fmt::format("\njob {} '{}' {} after {}\n\n", detail.job.id, printable(detail.job.name), detail.job.state,
                       duration_text(detail.job.ended - detail.job.submitted));
    text += render(results_table(results), terminal_of(1).style());
    text += '\n';
    if (std::string summary = settings_text(by_setting(results), terminal_of(1).style()); !summary.empty()) {
      text += summary + '\n';
    }
    append_reasons(text, results);
    if (figures) {
      text += "figures:\n";
      for (const auto& path : *figures) text += fmt::format("  {}\n", path);
    }
    append_next_commands(text, common, results, spec_file);
  }
  if (auto printed = print(text); !printed) return printed.error();
  if (!figures) return figures.error();
  return detail.job.finished == detail.job.trials ? exit_code::finished : exit_code::trials_failed;
}

Result<int> run(const Common& common, const RunArguments& arguments) {
  const bool resuming = !arguments.resume.empty();
  if (resuming == !arguments.spec.file.empty()) {
    return wrong_input({"hivq run takes a specification, or --resume JOB: give one of them (hivq run --help)"});
  }
  std::optional<JobSpec> spec;
  JobId job = 0;
  if (resuming) {
    auto id = parse_job_id(arguments.resume);
    if (!id) return wrong_input(id.error());
    if (!live_coordinator(common.where.data) && !has_store(common.where.data)) {
      return error("there is no data in {}: name the folder of job {} with --data DIR", common.where.data, *id);
    }
    job = *id;
  } else {
    auto read = read_spec(arguments.spec);
    if (!read) return wrong_input(read.error());
    if (read->study) {
      return wrong_input(error("{} is a study, whose trials your own program runs: submit it to a coordinator (hivq submit), "
                               "then hivq.Client().study('{}').optimize(objective) in Python",
                               arguments.spec.file, read->name));
    }
    spec = std::move(*read);
    if (arguments.ranks != 0 && spec->trial.gang.ranks != 0) {
      spec->trial.gang.ranks = static_cast<int64_t>(arguments.ranks);
    }
  }
  note_interrupts();
  Display display;
  const uint64_t ranks = ranks_for(arguments, spec);
  auto session = Session::embedded({common.where.data, arguments.gangs, ranks});
  if (!session) {
    if (interrupted() != 0) return exit_code::interrupt_base + interrupted();
    return session.error();
  }
  if (!session->ours())
    display.say(fmt::format("using the coordinator of {} at {}", common.where.data, session->endpoint()));
  if (spec) {
    auto submitted = submit_to(*session, display, arguments.spec, *spec);
    if (!submitted) {
      if (interrupted() != 0) return exit_code::interrupt_base + interrupted();
      return submitted.error();
    }
    job = *submitted;
    std::string where = session->ours() ? fmt::format(" on a gang of {} here", count_text(ranks, "rank")) : "";
    display.say(
        fmt::format("job {} '{}': {}{}; data in {}", job, spec->name, arguments.spec.file, where, common.where.data));
  }
  if (!spec) {
    auto known = session->client().ask<JobDetail>(ShowJob{job});
    if (!known) return known.error();
    if (!has_ended(known->job.state)) {
      auto resumed = session->client().ask<PausedSet>(SetPaused{random_id(), job, false});
      if (!resumed) return resumed.error();
    }
  }
  if (const auto live = live_coordinator(common.where.data); live && !live->http.empty()) {
    display.say(fmt::format("dashboard: {}/#/jobs/{}", live->http, job));
  }
  return follow(common, *session, display, job, arguments.spec.file);
}

}  // namespace hivq::cli
