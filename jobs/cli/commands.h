#pragma once

// The commands of hivq. Each returns its exit code; an Error is one of code 1.

#include <optional>
#include <string>
#include <vector>

#include "common/result.h"
#include "jobs/cli/session.h"
#include "jobs/spec.h"
#include "jobs/views/results.h"

namespace CLI {
class App;
}

namespace hivq::cli {

namespace exit_code {
inline constexpr int finished = 0;  // of run and watch: every trial
inline constexpr int failed = 1;
inline constexpr int usage = 2;             // wrong usage, or a wrong specification
inline constexpr int trials_failed = 3;     // the job ended, and not every trial finished
inline constexpr int interrupt_base = 128;  // + the signal
}  // namespace exit_code

/// What all commands share.
struct Common {
  std::string program = "hivq";  // as the user called it, for the commands that are suggested
  Where where;
  bool json = false, csv = false;
};

/// A specification on the command line.
struct SpecArguments {
  std::string file;
  std::vector<std::string> sets;  // key=value
};

struct RunArguments {
  SpecArguments spec;
  std::string resume;  // a job instead of a specification
  uint64_t ranks = 0, gangs = 1;
};
Result<int> run(const Common& common, const RunArguments& arguments);

struct SubmitArguments {
  SpecArguments spec;
  bool watch = false;
  bool dry_run = false;  // only what it would take
};
Result<int> submit(const Common& common, const SubmitArguments& arguments);
/// Prints the job with every default; with `estimate`, what it would take instead.
Result<int> validate(const Common& common, const SpecArguments& arguments, bool estimate);
Result<int> watch_command(const Common& common, const std::string& job);
Result<int> cancel(const Common& common, const std::string& job);
/// Holds the job, or lets it go on.
Result<int> set_paused(const Common& common, const std::string& job, bool paused);
/// The higher goes first.
Result<int> set_priority(const Common& common, const std::string& job, int64_t priority);
/// No new trials for a gang or a host (host:NAME), or again.
struct DrainArguments {
  std::string target;
  bool undo = false;
  bool to_the_end = false;  // what runs there runs to its end
};
Result<int> drain(const Common& common, const DrainArguments& arguments);
/// Why the job does not run, in one sentence.
Result<int> explain(const Common& common, const std::string& job);

/// Keeps a checkpoint (`1/0` the newest, `1/0@200` that of a step) whatever retention says, or does not any more.
Result<int> pin(const Common& common, const std::string& checkpoint, bool pinned);

Result<int> list(const Common& common);
Result<int> show(const Common& common, const std::string& job_or_trial);
struct ResultsArguments {
  std::string job, sort = "rank";
  std::vector<std::string> where;  // conditions, all of which hold
  bool reverse = false;
  bool by_setting = false;  // only the summary
};
Result<int> results(const Common& common, const ResultsArguments& arguments);
/// Trials side by side, of a job the best: `1/3`, `1`.
Result<int> compare(const Common& common, const std::vector<std::string>& names);
/// What the metric (empty: the sweep's) depends on.
Result<int> importance(const Common& common, const std::string& job, const std::string& metric);
/// `most` points of each curve, those that its drawing needs; 0: all.
Result<int> metrics(const Common& common, const std::string& trial, const std::string& name, uint64_t most);
Result<int> logs(const Common& common, const std::string& trial, bool follow);
struct PlotArguments {
  std::string job, metric, out;  // metric: empty: the sweep's; out: empty: figures_folder()
  std::string format = "svg";    // or png; text: in the terminal
};
Result<int> plot(const Common& common, const PlotArguments& arguments);
Result<int> gangs(const Common& common);
Result<int> dashboard(const Common& common);
/// A question in SQL; an empty one tells the tables.
/// `parquet`: a file for the answer, or empty.
Result<int> query(const Common& common, const std::string& question, const std::string& parquet);

/// A page of the documentation, or a command's options; an empty topic lists the pages.
Result<int> help(const CLI::App& app, const std::string& topic);
/// What the last word can become, a line each.
Result<int> print_completions(const CLI::App& app, const std::vector<std::string>& words);

/// Checks what hivq needs here; code 1 where something is wrong. Waits so many seconds for each program.
Result<int> doctor_command(const Common& common, int64_t wait_seconds);
/// Writes a specification for a folder of one's own images.
struct InitArguments {
  std::string folder, out;  // empty: asked for; FOLDER.yaml
  bool yes = false;         // nothing is asked
  bool force = false;       // replaces files
};
Result<int> init_command(const Common& common, const InitArguments& arguments);

/// Whom a coordinator lets in: common/allow_list.h.
struct KeysArguments {
  std::string keys;  // folder; empty: the coordinator's of the data folder
  std::string name, role = "submitter", out, public_key;
};
Result<int> keys_add(const Common& common, const KeysArguments& arguments);
Result<int> keys_list(const Common& common, const KeysArguments& arguments);
Result<int> keys_revoke(const Common& common, const KeysArguments& arguments);
/// What the HTTP API is asked with.
Result<int> keys_token(const Common& common);
/// The public half of a key.
Result<int> keys_public(const Common& common);
/// A pair of one's own, whose secret never leaves this machine.
Result<int> keys_new(const Common& common, const KeysArguments& arguments);

// ---- Shared by the commands ----

/// Reads, overrides and checks the file. Errors: one line per mistake.
Result<JobSpec> read_spec(const SpecArguments& arguments);

/// Prints mistakes in what the user wrote, and gives their exit code.
int wrong_input(const Error& mistake);

/// What the job would take; asks a coordinator for what has been measured.
Result<int> estimate(const Common& common, const JobSpec& job, const std::string& file);

/// The login name of who calls.
std::string login_name();

/// A job with the newest losses of its trials.
Result<Results> ask_results(Session& session, JobId job);

/// What is printed when a job has ended: why trials failed, the table, the figures, the next commands. The exit code.
Result<int> report_end(const Common& common, Session& session, const JobDetail& detail, const std::string& spec_file);

/// Standard output, or a sentence when it cannot be written.
Status print(const std::string& text);
/// The same as a command's end: its exit code.
Result<int> printed(const std::string& text);

/// Where a job's figures go when nothing else is said.
std::string figures_folder(const Where& where, JobId job);

}  // namespace hivq::cli
