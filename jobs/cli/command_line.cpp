#include "jobs/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>

#include "common/version.h"
#include "jobs/cli/commands.h"
#include "jobs/cli/complete.h"
#include "jobs/cli/worker_command.h"

namespace hivq::cli {

namespace {

constexpr const char* about =
    "hivq trains HVQ-Trans, one model that finds anomalies in many classes of images, as single runs and as sweeps "
    "over\n"
    "gangs of workers, and keeps every checkpoint and metric.";
constexpr const char* examples =
    "Start here:\n"
    "  hivq run jobs/specs/quick.yaml\n"
    "\n"
    "The coordinator is found by itself: --coordinator or HIVQ_COORDINATOR, else the one of the data folder (--data,\n"
    "./.hivq by default), else one at tcp://127.0.0.1:4487. What is only read needs none to run.\n"
    "Exit codes: 0 done, 1 error, 2 wrong usage or specification, 3 the job ended and trials failed, 130 "
    "interrupted.\n";

/// The commands' arguments, and which command was chosen.
struct CommandLine {
  Common common;
  RunArguments run;
  std::string job, trial, name, out, question;
  std::vector<std::string> names;
  uint64_t most_points = 0;
  int64_t priority = 0;
  ResultsArguments results;
  PlotArguments plot;
  SubmitArguments submit;
  DrainArguments drain;
  InitArguments init;
  KeysArguments keys;
  int64_t wait = 10;  // seconds
  bool estimate = false;
  bool follow = false;
  std::function<Result<int>()> chosen;
};

CLI::App* add(CLI::App& app, CommandLine& line, const std::string& name, const std::string& what,
              const std::string& example, std::function<Result<int>()> command) {
  CLI::App* sub = app.add_subcommand(name, what);
  sub->footer("Example:\n  " + example + "\n");
  sub->callback([&line, command = std::move(command)] { line.chosen = command; });
  return sub;
}

void add_data(CLI::App* sub, CommandLine& line) {
  sub->add_option("--data", line.common.where.data, "Data folder of the coordinator")
      ->type_name("DIR")
      ->capture_default_str();
}

void add_key(CLI::App* sub, CommandLine& line) {
  sub->add_option("--key", line.common.where.keys.key,
                  "Your key, where the coordinator asks for one (or HIVQ_KEY, ~/.config/hivq/key.json)")
      ->type_name("FILE");
  sub->add_option("--coordinator-key", line.common.where.keys.coordinator_key,
                  "Its public key, where the file of yours does not tell it")
      ->type_name("HEX");
}

void add_where(CLI::App* sub, CommandLine& line) {
  add_data(sub, line);
  sub->add_option("--coordinator", line.common.where.coordinator, "Address of the coordinator")
      ->type_name("tcp://HOST:PORT")
      ->envname("HIVQ_COORDINATOR");
  add_key(sub, line);
}

void add_json(CLI::App* sub, CommandLine& line) { sub->add_flag("--json", line.common.json, "Print JSON"); }

void add_csv(CLI::App* sub, CommandLine& line) {
  sub->add_flag("--csv", line.common.csv, "Print CSV in full precision")->excludes("--json");
}

void add_sets(CLI::App* sub, CommandLine& line) {
  sub->add_option("--set", line.run.spec.sets,
                  "Replace a value of the specification: --set train.lr=1e-3 (again for more)")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
}

void add_spec(CLI::App* sub, CommandLine& line, bool required) {
  auto* spec = sub->add_option("spec", line.run.spec.file, "Specification of the job, a YAML file")->type_name("FILE");
  if (required) spec->required();
  add_sets(sub, line);
}

void add_job(CLI::App* sub, CommandLine& line) { sub->add_option("job", line.job, "Number of the job")->required(); }
void add_trial(CLI::App* sub, CommandLine& line) {
  sub->add_option("trial", line.trial, "Trial, such as 1/0")->required();
}

void add_checkpoint(CLI::App* sub, CommandLine& line) {
  sub->add_option("checkpoint", line.trial, "A trial, such as 1/0 (its newest checkpoint), or 1/0@STEP")->required();
  add_where(sub, line);
  add_json(sub, line);
}

void add_working_commands(CLI::App& app, CommandLine& line) {
  auto* sub =
      add(app, line, "run", "Run a job here to its end: starts what it needs, shows progress, results and figures",
          "hivq run jobs/specs/quick.yaml --set train.lr=3e-4\n  hivq run --resume 1",
          [&] { return run(line.common, line.run); });
  add_spec(sub, line, false);
  sub->add_option("--resume", line.run.resume, "Go on with a stored job instead")->type_name("JOB");
  sub->add_option("--ranks", line.run.ranks, "Ranks of a local gang (the specification's gang.ranks, else 2)")
      ->check(CLI::Range(1, 1024));
  sub->add_option("--gangs", line.run.gangs, "Local gangs at once")->check(CLI::Range(1, 1024))->capture_default_str();
  add_data(sub, line);
  add_json(sub, line);

  sub = add(app, line, "submit", "Send a job to a coordinator", "hivq submit jobs/specs/quick.yaml --watch", [&] {
    line.submit.spec = line.run.spec;
    return submit(line.common, line.submit);
  });
  add_spec(sub, line, true);
  auto* follow_it = sub->add_flag("--watch", line.submit.watch, "Follow it to its end");
  sub->add_flag("--dry-run", line.submit.dry_run,
                "Submit nothing: print trials, GPU-hours and space that it would take")
      ->excludes(follow_it);
  add_where(sub, line);
  add_json(sub, line);

  sub = add(app, line, "watch", "Follow a job to its end", "hivq watch 1",
            [&] { return watch_command(line.common, line.job); });
  add_job(sub, line);
  add_where(sub, line);
  add_json(sub, line);

  sub = add(app, line, "cancel", "End a job: its trials that have not ended are given up", "hivq cancel 1",
            [&] { return cancel(line.common, line.job); });
  add_job(sub, line);
  add_where(sub, line);
  add_json(sub, line);

  sub = add(app, line, "pause", "Hold a job: its trials stop at the next step, and keep all that they have learned",
            "hivq pause 1", [&] { return set_paused(line.common, line.job, true); });
  add_job(sub, line);
  add_where(sub, line);
  add_json(sub, line);

  sub = add(app, line, "resume", "Let a paused job go on where its trials stopped", "hivq resume 1",
            [&] { return set_paused(line.common, line.job, false); });
  add_job(sub, line);
  add_where(sub, line);
  add_json(sub, line);

  sub = add(
      app, line, "priority", "Give a job another priority: the higher goes first, and may take gangs away from others",
      "hivq priority 3 10\n  hivq priority 3 -5", [&] { return set_priority(line.common, line.job, line.priority); });
  add_job(sub, line);
  sub->add_option("priority", line.priority, "A whole number; 0 is usual")->required();
  add_where(sub, line);
  add_json(sub, line);

  sub = add(app, line, "pin", "Keep a checkpoint whatever the job's retention says",
            "hivq pin 1/0\n  hivq pin 1/0@2400", [&] { return pin(line.common, line.trial, true); });
  add_checkpoint(sub, line);
  sub = add(app, line, "unpin", "Let a checkpoint go again where retention does not ask for it", "hivq unpin 1/0@2400",
            [&] { return pin(line.common, line.trial, false); });
  add_checkpoint(sub, line);

  sub = add(app, line, "validate", "Check a specification and print it with every default",
            "hivq validate jobs/specs/quick.yaml --set train.epochs=5",
            [&] { return validate(line.common, line.run.spec, line.estimate); });
  add_spec(sub, line, true);
  sub->add_flag("--estimate", line.estimate, "Print trials, GPU-hours and space that it would take instead");
  add_where(sub, line);
  add_json(sub, line);

  sub = add(app, line, "drain", "Give a gang or a host no new trials; what runs there goes on elsewhere",
            "hivq drain host:node7\n  hivq drain 3f1c --to-the-end\n  hivq drain host:node7 --undo",
            [&] { return drain(line.common, line.drain); });
  sub->add_option("target", line.drain.target, "A gang's name or how it begins, or host:NAME")
      ->type_name("GANG|host:NAME")
      ->required();
  auto* undo = sub->add_flag("--undo", line.drain.undo, "It may have trials again");
  sub->add_flag("--to-the-end,--wait", line.drain.to_the_end, "What runs there runs to its end")->excludes(undo);
  add_where(sub, line);
  add_json(sub, line);
}

void add_reading_commands(CLI::App& app, CommandLine& line) {
  auto* sub = add(app, line, "list", "All jobs", "hivq list", [&] { return list(line.common); });
  add_where(sub, line);
  add_json(sub, line);

  sub = add(app, line, "show", "A job or a trial", "hivq show 1\n  hivq show 1/3",
            [&] { return show(line.common, line.job); });
  sub->add_option("what", line.job, "Number of a job, or a trial such as 1/3")->type_name("JOB|TRIAL")->required();
  add_where(sub, line);
  add_json(sub, line);

  sub = add(app, line, "explain", "Why a job does not run yet, in one sentence", "hivq explain 1",
            [&] { return explain(line.common, line.job); });
  add_job(sub, line);
  add_where(sub, line);
  add_json(sub, line);

  sub = add(app, line, "results", "A job's trials, the best first",
            "hivq results 1 --sort loss\n  hivq results 1 --where 'lr<=1e-3' --where state=finished\n"
            "  hivq results 1 --csv > results.csv\n  hivq results 1 --by-setting",
            [&] { return results(line.common, line.results); });
  sub->add_option("job", line.results.job, "Number of the job")->required();
  sub->add_option("--sort", line.results.sort,
                  "Sort by rank, trial, variant, state, duration, loss, a parameter or a metric")
      ->type_name("NAME")
      ->capture_default_str();
  sub->add_flag("--reverse", line.results.reverse, "The other way round");
  sub->add_option("--where", line.results.where, "Only trials that meet the condition (again for more)")
      ->type_name("NAME<VALUE")
      ->expected(1)
      ->take_all();
  sub->add_flag("--by-setting", line.results.by_setting,
                "Only the means over seeds and splits of the classes, beside published figures");
  add_where(sub, line);
  add_json(sub, line);
  add_csv(sub, line);

  sub = add(app, line, "compare", "Trials side by side: the settings in which they differ, and their metrics",
            "hivq compare 1/0 1/3\n  hivq compare 1 2  # the best trials of two jobs",
            [&] { return compare(line.common, line.names); });
  sub->add_option("what", line.names, "Trials such as 1/3, or jobs, which stand for their best trial")
      ->type_name("TRIAL|JOB")
      ->required()
      ->expected(2, 20);
  add_where(sub, line);
  add_json(sub, line);
  add_csv(sub, line);

  sub = add(app, line, "importance", "Which parameters of a sweep its metric depends on (functional ANOVA)",
            "hivq importance 1\n  hivq importance 1 --metric pixel_auroc",
            [&] { return importance(line.common, line.job, line.name); });
  add_job(sub, line);
  sub->add_option("--metric", line.name, "Another metric than the sweep's")->type_name("NAME");
  add_where(sub, line);
  add_json(sub, line);
  add_csv(sub, line);

  sub = add(app, line, "metrics", "A trial's metrics, or every point of one",
            "hivq metrics 1/0 auroc\n  hivq metrics 1/0 loss --points 200\n  hivq metrics 1/0 --csv > metrics.csv",
            [&] { return metrics(line.common, line.trial, line.name, line.most_points); });
  add_trial(sub, line);
  sub->add_option("name", line.name, "Name of the metric, or how the names begin");
  sub->add_option("--points", line.most_points, "At most so many of each curve: its ends and extremes; otherwise all")
      ->type_name("N")
      ->check(CLI::Range(4, 1'000'000));
  add_where(sub, line);
  add_json(sub, line);
  add_csv(sub, line);

  sub = add(app, line, "logs", "A trial's log", "hivq logs 1/0 -f",
            [&] { return logs(line.common, line.trial, line.follow); });
  add_trial(sub, line);
  sub->add_flag("-f,--follow", line.follow, "Go on until the trial ends");
  add_where(sub, line);
  add_json(sub, line);

  sub = add(app, line, "plot", "Draw a job's figures: as files, or in the terminal",
            "hivq plot 1 --out figures\n  hivq plot 1 --format png --metric pixel_auroc\n  hivq plot 1 --format text",
            [&] { return plot(line.common, line.plot); });
  sub->add_option("job", line.plot.job, "Number of the job")->required();
  auto* out = sub->add_option("--out", line.plot.out, "Folder of the figures (DATA/figures/job-N)")->type_name("DIR");
  auto* format = sub->add_option("--format", line.plot.format, "svg, png, or text in the terminal")
                     ->check(CLI::IsMember({"svg", "png", "text"}))
                     ->type_name("FORMAT")
                     ->capture_default_str();
  sub->add_flag_callback(
         "--text", [&] { line.plot.format = "text"; }, "The same as --format text")
      ->excludes(out)
      ->excludes(format);
  sub->add_option("--metric", line.plot.metric, "Another metric than the sweep's")->type_name("NAME");
  add_where(sub, line);
  add_json(sub, line);

  sub = add(app, line, "query",
            "Ask in SQL: a SELECT over jobs, trials, params, results, metrics, checkpoints, logs, events",
            "hivq query  # the tables and their columns\n"
            "  hivq query \"SELECT id, auroc, [train.lr] FROM trials_of_1 ORDER BY auroc DESC\"\n"
            "  hivq query \"SELECT * FROM metrics WHERE job = 1 AND name = 'loss'\" --csv > loss.csv\n"
            "  hivq query \"SELECT * FROM trials_of_1\" --parquet trials.parquet",
            [&] { return query(line.common, line.question, line.out); });
  sub->add_option("sql", line.question, "One SELECT; without it the tables are told")->type_name("SELECT");
  add_where(sub, line);
  add_json(sub, line);
  add_csv(sub, line);
  sub->add_option("--parquet", line.out, "Write the answer into an Apache Parquet file")
      ->type_name("FILE")
      ->excludes("--json")
      ->excludes("--csv");

  sub = add(app, line, "dashboard", "Where the dashboard of the data folder's coordinator is", "hivq dashboard",
            [&] { return dashboard(line.common); });
  add_data(sub, line);
  add_json(sub, line);

  sub = add(app, line, "gangs", "The workers that are connected", "hivq gangs", [&] { return gangs(line.common); });
  add_where(sub, line);
  add_json(sub, line);
}

/// `app` is the whole program, which the commands describe.
void add_helping_commands(CLI::App& app, CommandLine& line) {
  auto* sub = add(app, line, "help", "A page of the documentation, or a command's options",
                  "hivq help\n  hivq help search", [&] { return help(app, line.name); });
  sub->add_option("topic", line.name, "A topic, or a command; without it the topics are listed");
  sub = add(app, line, "completion", "A shell's completion of commands, options, jobs and trials",
            "eval \"$(hivq completion bash)\"        # in ~/.bashrc\n"
            "  eval \"$(hivq completion zsh)\"         # in ~/.zshrc\n"
            "  hivq completion fish | source          # in ~/.config/fish/config.fish",
            [&]() -> Result<int> {
              auto script = completion_script(line.name);
              return script ? printed(*script) : wrong_input(script.error());
            });
  sub->add_option("shell", line.name, "bash, zsh or fish")->required();
}

void add_first_commands(CLI::App& app, CommandLine& line) {
  auto* sub =
      add(app, line, "doctor", "Check what hivq needs here: programs, mpirun, cores, GPUs, disk, ports, coordinator",
          "hivq doctor\n  hivq doctor --coordinator tcp://node1:4487",
          [&] { return doctor_command(line.common, line.wait); });
  sub->add_option("--wait", line.wait, "Seconds that each program may take")
      ->type_name("SECONDS")
      ->envname("HIVQ_DOCTOR_WAIT")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  add_where(sub, line);
  add_json(sub, line);

  sub = add(app, line, "init", "Write a specification for a folder of your own images",
            "hivq init screws\n  hivq init screws --out screws.yaml --yes",
            [&] { return init_command(line.common, line.init); });
  sub->add_option("folder", line.init.folder, "Folder of images, in folders by class and kind of defect")
      ->type_name("DIR");
  sub->add_option("--out", line.init.out, "The specification (FOLDER.yaml)")->type_name("FILE");
  sub->add_flag("-y,--yes", line.init.yes, "Ask nothing: take what was found");
  sub->add_flag("--force", line.init.force, "Replace files that are there");
  add_json(sub, line);
}

void add_keys_commands(CLI::App& app, CommandLine& line) {
  CLI::App* keys = app.add_subcommand("keys", "Whom a coordinator lets in: keys with a role each");
  keys->require_subcommand(1);
  keys->footer(
      "Example:\n  hivq keys add alice --role submitter --data /srv/hivq\n  hivq keys list\n  hivq keys revoke "
      "alice\n");
  const auto add_folder = [&](CLI::App* sub) {
    add_data(sub, line);
    sub->add_option("--keys", line.keys.keys, "Folder of the keys (the coordinator's own, else DATA/keys)")
        ->type_name("DIR");
    add_json(sub, line);
  };
  const auto add_name = [&](CLI::App* sub) { sub->add_option("name", line.keys.name, "Of its holder")->required(); };

  auto* sub = add(*keys, line, "add", "Make a key and let it in",
                  "hivq keys add alice --role submitter\n  hivq keys add bob --role viewer --public HEX",
                  [&] { return keys_add(line.common, line.keys); });
  add_name(sub);
  sub->add_option("--role", line.keys.role,
                  "viewer: reads; submitter: and submits jobs; operator: everything; gang: serves")
      ->type_name("ROLE")
      ->capture_default_str();
  sub->add_option("--out", line.keys.out, "File of the key (NAME.json; - prints it)")->type_name("FILE");
  sub->add_option("--public", line.keys.public_key, "Let in the key of which this is the public half (hivq keys new)")
      ->type_name("HEX");
  sub->add_option("--coordinator", line.common.where.coordinator, "Address of the coordinator, to stand in the file")
      ->type_name("tcp://HOST:PORT");
  add_folder(sub);

  add_folder(add(*keys, line, "list", "The keys that are let in, and the coordinator's own public key",
                 "hivq keys list --data /srv/hivq", [&] { return keys_list(line.common, line.keys); }));

  sub = add(*keys, line, "revoke", "Let a key in no more; its connections end", "hivq keys revoke alice",
            [&] { return keys_revoke(line.common, line.keys); });
  add_name(sub);
  add_folder(sub);

  sub = add(*keys, line, "token", "Print the token of a key, for the HTTP API and the dashboard",
            "hivq keys token --key alice.json\n  curl -H \"Authorization: Bearer $(hivq keys token)\" "
            "https://HOST:4488/api/v1/jobs",
            [&] { return keys_token(line.common); });
  add_key(sub, line);
  add_data(sub, line);
  add_json(sub, line);

  sub = add(*keys, line, "public", "Print the public half of a key", "hivq keys public --key alice.json",
            [&] { return keys_public(line.common); });
  add_key(sub, line);
  add_data(sub, line);
  add_json(sub, line);

  sub = add(*keys, line, "new", "Make a key of your own, of which an operator gets the public half alone",
            "hivq keys new bob --coordinator tcp://HOST:4487 --coordinator-key HEX",
            [&] { return keys_new(line.common, line.keys); });
  add_name(sub);
  sub->add_option("--out", line.keys.out, "File of the key (NAME.json; - prints it)")->type_name("FILE");
  sub->add_option("--coordinator", line.common.where.coordinator, "Its address")->type_name("tcp://HOST:PORT");
  sub->add_option("--coordinator-key", line.common.where.keys.coordinator_key, "Its public key")->type_name("HEX");
  add_json(sub, line);
}

/// For `hivq --help`: their arguments are hivq-worker's and are not parsed here.
void list_worker_commands(CLI::App& app) {
  for (const auto& command : worker_commands())
    app.add_subcommand(std::string(command.name), std::string(command.what));
}

int finish(const Result<int>& code) {
  if (code) return *code;
  std::fputs(fmt::format("hivq: {}\n", code.error().message).c_str(), stderr);
  return exit_code::failed;
}

/// The program as it can be typed again.
std::string program_name(const char* called) {
  std::string name = called == nullptr ? "" : called;
  return name.empty() ? "hivq" : name;
}

int wrong_usage(const CLI::App& app, const std::string& problem, const std::string& first) {
  if (app.get_subcommands().empty() && !first.empty() && first[0] != '-') {
    std::fputs(fmt::format("hivq: there is no command '{}'; `hivq --help` lists them\n", printable(first)).c_str(),
               stderr);
    return exit_code::usage;
  }
  std::string command = "hivq";
  for (const auto* sub : app.get_subcommands()) command += " " + sub->get_name();
  std::fputs(fmt::format("hivq: {}; `{} --help` shows how\n", problem, command).c_str(), stderr);
  return exit_code::usage;
}

}  // namespace

int run_command_line(int argc, const char* const* argv) {
  if (const auto* command = argc > 1 ? find_worker_command(argv[1]) : nullptr) {
    return finish(run_worker_command(*command, {argv + 2, argv + argc}));
  }
  CommandLine line;
  if (argc > 0) line.common.program = program_name(argv[0]);
  CLI::App app{about, "hivq"};
  app.set_version_flag("--version", std::string("hivq ") + version);
  app.set_help_flag("-h,--help", "Show this help");
  app.footer(examples);
  app.require_subcommand(1);
  add_first_commands(app, line);
  add_working_commands(app, line);
  add_reading_commands(app, line);
  add_helping_commands(app, line);
  add_keys_commands(app, line);
  list_worker_commands(app);
  if (argc > 1 && argv[1] == std::string_view("__complete")) {  // by the shells: jobs/cli/complete.cpp
    return finish(print_completions(app, {argv + 2, argv + argc}));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {
    return app.exit(asked);
  } catch (const CLI::ParseError& problem) {
    return wrong_usage(app, problem.what(), argc > 1 ? argv[1] : "");
  }
  return finish(line.chosen());
}

}  // namespace hivq::cli
