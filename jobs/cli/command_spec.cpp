// validate, submit, cancel, pause, resume, watch: what a user sends, and how it is followed.

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "jobs/cli/commands.h"
#include "jobs/cli/interrupt.h"
#include "jobs/cli/watch.h"
#include "jobs/views/format.h"
#include "jobs/views/json.h"

namespace hivq::cli {

namespace {

Result<std::string> read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return error("cannot read {}: {}; ready specifications are in jobs/specs", path, std::strerror(errno));
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return error("{} is a folder; name a YAML file in it", path);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  return text;
}

Result<std::vector<Override>> parse_sets(const std::vector<std::string>& sets) {
  std::vector<Override> overrides;
  for (const auto& set : sets) {
    size_t equals = set.find('=');
    if (equals == std::string::npos || equals == 0) {
      return error("--set {}: it must be KEY=VALUE, such as --set train.lr=1e-3", set);
    }
    overrides.push_back({set.substr(0, equals), set.substr(equals + 1)});
  }
  return overrides;
}

}  // namespace

int wrong_input(const Error& mistake) {
  std::fputs((mistake.message + "\n").c_str(), stderr);
  return exit_code::usage;
}

Status print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return error("cannot write to standard output: {}", std::strerror(errno));
  }
  return {};
}

Result<int> printed(const std::string& text) {
  if (auto done = print(text); !done) return done.error();
  return exit_code::finished;
}

Result<JobSpec> read_spec(const SpecArguments& arguments) {
  auto text = read_text(arguments.file);
  if (!text) return text.error();
  auto overrides = parse_sets(arguments.sets);
  if (!overrides) return overrides.error();
  return parse_job(*text, arguments.file, *overrides);
}

Result<int> validate(const Common& common, const SpecArguments& arguments, bool estimate_it) {
  auto job = read_spec(arguments);
  if (!job) return wrong_input(job.error());
  if (estimate_it) return estimate(common, *job, arguments.file);
  if (auto printed = print(to_yaml(*job)); !printed) return printed.error();
  return 0;
}

Result<int> submit(const Common& common, const SubmitArguments& arguments) {
  const bool watch_it = arguments.watch;
  auto job = read_spec(arguments.spec);
  if (!job) return wrong_input(job.error());
  if (arguments.dry_run) return estimate(common, *job, arguments.spec.file);
  auto session = Session::for_work(common.where);
  if (!session) return session.error();
  auto submitted =
      session->client().ask<Submitted>(Submit{random_id(), arguments.spec.file, to_yaml(*job), login_name()});
  if (!submitted) return submitted.error();
  std::string id = std::to_string(submitted->job);
  if (common.json && !watch_it) {
    if (auto printed = print(text_of({{"job", submitted->job}})); !printed) return printed.error();
    return 0;
  }
  if (watch_it) return watch_command(common, id);
  auto printed = print(
      fmt::format("job {0} submitted; follow it with: {1} watch {0}{2}\n", id, common.program, common.where.flags()));
  if (!printed) return printed.error();
  return 0;
}

Result<int> watch_command(const Common& common, const std::string& job_text) {
  auto job = parse_job_id(job_text);
  if (!job) return wrong_input(job.error());
  auto session = Session::for_work(common.where);
  if (!session) return session.error();
  note_interrupts();
  Display display;
  auto ended = watch(*session, *job, display);
  display.clear();
  if (!ended) return ended.error();
  if (!*ended) {
    display.say(fmt::format("job {0} goes on; {1} watch {0}{2} follows it again, {1} cancel {0}{2} ends it", *job,
                            common.program, common.where.flags()));
    return exit_code::interrupt_base + interrupted();
  }
  return report_end(common, *session, **ended, "");
}

Result<int> cancel(const Common& common, const std::string& job_text) {
  auto job = parse_job_id(job_text);
  if (!job) return wrong_input(job.error());
  auto session = Session::for_reading(common.where);
  if (!session) return session.error();
  auto cancelled = session->client().ask<Cancelled>(Cancel{*job});
  if (!cancelled) return cancelled.error();
  std::string text = cancelled->trials == 0 ? fmt::format("job {} had ended already\n", *job)
                                            : fmt::format("job {} cancelled: {} had not ended\n", *job,
                                                          count_text(cancelled->trials, "trial"));
  if (common.json) text = text_of({{"job", *job}, {"cancelled_trials", cancelled->trials}});
  if (auto printed = print(text); !printed) return printed.error();
  return 0;
}

Result<int> set_paused(const Common& common, const std::string& job_text, bool paused) {
  auto job = parse_job_id(job_text);
  if (!job) return wrong_input(job.error());
  auto session = Session::for_reading(common.where);
  if (!session) return session.error();
  auto done = session->client().ask<PausedSet>(SetPaused{random_id(), *job, paused});
  if (!done) return done.error();
  std::string text = fmt::format("job {} {}: {}", *job, paused ? "paused" : "resumed",
                                 count_text(done->waiting, "trial") + (done->waiting == 1 ? " waits" : " wait"));
  if (done->running > 0) text += fmt::format(", {} {}", done->running, paused ? "to stop at the next step" : "running");
  if (paused) text += fmt::format("; {} resume {}{} lets it go on", common.program, *job, common.where.flags());
  text += '\n';
  if (common.json) {
    text = text_of({{"job", *job}, {"paused", paused}, {"running", done->running}, {"waiting", done->waiting}});
  }
  if (auto printed = print(text); !printed) return printed.error();
  return 0;
}

}  // namespace hivq::cli
