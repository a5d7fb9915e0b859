// list, show, results, metrics, logs, plot, gangs: what is stored and what runs.

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "jobs/cli/commands.h"
#include "jobs/cli/figures.h"
#include "jobs/cli/interrupt.h"
#include "jobs/cli/terminal.h"
#include "jobs/cli/trial_metrics.h"
#include "jobs/cli/watch.h"
#include "jobs/views/format.h"
#include "jobs/views/json.h"
#include "jobs/views/settings.h"

namespace hivq::cli {

namespace {

Result<TrialView> ask_trial(Session& session, const TrialId& id, JobDetail& detail) {
  auto answer = session.client().ask<JobDetail>(ShowJob{id.job});
  if (!answer) return answer.error();
  detail = std::move(*answer);
  for (const auto& trial : detail.trials) {
    if (trial.id == id) return trial;
  }
  return error("there is no trial {}; job {} has {} (from {}/0); `hivq show {}` shows them", to_string(id), id.job,
               count_text(detail.trials.size(), "trial"), id.job, id.job);
}

std::string job_header(const JobDetail& detail, bool colour) {
  const JobView& job = detail.job;
  std::string text =
      fmt::format("job {} '{}': {}", job.id, printable(job.name), tinted(job.state, tint_of_state(job.state), colour));
  text += fmt::format(" · {} of {} ended", job.finished + job.failed + job.cancelled, count_text(job.trials, "trial"));
  if (job.failed > 0) text += fmt::format(", {} failed", job.failed);
  text += fmt::format("\nsubmitted {}", time_text(job.submitted));
  text += job.ended != 0
              ? fmt::format(", ended {} (after {})", time_text(job.ended), duration_text(job.ended - job.submitted))
              : "";
  if (!job.user.empty()) text += fmt::format("\nby {} for project {}", printable(job.user), printable(job.project));
  if (job.priority != 0) text += fmt::format("{}priority {}", job.user.empty() ? "\n" : ", ", job.priority);
  text += fmt::format("\nmetric: {} ({})\n", printable(job.metric), printable(job.goal));
  if (!job.reason.empty()) text += fmt::format("reason: {}\n", printable(job.reason));
  if (!detail.waiting.empty() && !has_ended(job.state)) text += fmt::format("waiting: {}\n", printable(detail.waiting));
  return text;
}

std::string trial_text(const TrialView& trial, const Terminal& terminal) {
  Table facts{{{"trial"}, {to_string(trial.id), Align::left, true}}, {}};
  auto add = [&](const std::string& name, const std::string& value, Tint tint = Tint::none) {
    if (!value.empty()) facts.rows.push_back({Cell(name, Tint::dim), Cell(value, tint)});
  };
  add("state", trial.state, tint_of_state(trial.state));
  add("reason", trial.reason == trial.state ? "" : trial.reason, Tint::bad);
  add("variant", trial.variant);
  for (const auto& [key, value] : trial.params) add(key, value);
  add("attempts", std::to_string(trial.attempts));
  add("started", time_text(trial.started));
  add("ended", time_text(trial.ended));
  if (trial.started != 0)
    add("duration", duration_text((trial.ended != 0 ? trial.ended : wall_clock()) - trial.started));
  if (trial.total_steps > 0) add("progress", fmt::format("step {} of {}", trial.step, trial.total_steps));
  add("phase", trial.phase);
  add("gang", trial.gang);
  if (trial.beside > 0)
    add("side by side", fmt::format("with {} on its gang", count_text(trial.beside, "other trial")));
  if (trial.checkpoint_step >= 0) add("checkpoint", fmt::format("step {}", trial.checkpoint_step));
  for (const auto& kept : trial.checkpoints) {
    if (kept.step == trial.checkpoint_step && !kept.pinned) continue;
    add("also kept", fmt::format("step {}{}{}", kept.step, kept.metric ? ", " + number_text(*kept.metric) : "",
                                 kept.pinned ? ", pinned" : ""));
  }
  std::string text = render(facts, terminal.style());

  const std::string metrics = metrics_text(trial.initial, trial.final, terminal.style());
  if (!metrics.empty()) text += "\n" + metrics;
  return text;
}

std::string pack_text(const std::vector<TrialId>& trials) {
  if (trials.empty()) return "idle";
  const std::string others = trials.size() == 1 ? "" : fmt::format(" and {} more", trials.size() - 1);
  return to_string(trials.front()) + others;
}

std::string labels_text(const std::map<std::string, std::string>& labels) {
  std::string text;
  for (const auto& [key, value] : labels) text += fmt::format("{}{}={}", text.empty() ? "" : " ", key, value);
  return text;
}

/// connected, drained or lost.
Cell standing(const GangView& gang) {
  if (!gang.connected) return {"no", Tint::bad};
  return gang.drained ? Cell("drained", Tint::bad) : Cell("yes", Tint::good);
}

std::string metrics_csv(const MetricSeries& series) {
  std::string text = "metric,step,value\n";
  for (const auto& [name, points] : series.series) {
    for (const auto& point : points) text += fmt::format("{},{},{}\n", csv_field(name), point.step, point.value);
  }
  return text;
}

Table metrics_overview(const MetricSeries& series) {
  Table table{{{"metric", Align::left, true},
               {"points", Align::right},
               {"steps", Align::right},
               {"first", Align::right},
               {"last", Align::right},
               {"least", Align::right, false, 1},
               {"most", Align::right, false, 1}},
              {}};
  for (const auto& [name, points] : series.series) {
    if (points.empty()) continue;
    auto [least, most] = std::minmax_element(points.begin(), points.end(),
                                             [](const auto& a, const auto& b) { return a.value < b.value; });
    table.rows.push_back({name, std::to_string(points.size()),
                          fmt::format("{}–{}", points.front().step, points.back().step),
                          number_text(points.front().value), number_text(points.back().value),
                          number_text(least->value), number_text(most->value)});
  }
  return table;
}

/// All metrics of one name: the exact one where it is there, otherwise those that begin with it.
void keep_named(MetricSeries& series, const std::string& name) {
  auto exact = series.series.find(name);
  if (exact == series.series.end()) return;
  auto points = std::move(exact->second);
  series.series.clear();
  series.series[name] = std::move(points);
}

std::string log_text(const LogLines& lines) {
  std::string text;
  for (size_t i = 0; i < lines.lines.size(); ++i) {
    if (i < lines.times.size() && lines.times[i] != 0) text += time_text(lines.times[i]) + "  ";
    text += printable(lines.lines[i]) + '\n';
  }
  return text;
}

}  // namespace

Result<int> list(const Common& common) {
  auto session = Session::for_reading(common.where);
  if (!session) return session.error();
  auto jobs = session->client().ask<JobList>(ListJobs{});
  if (!jobs) return jobs.error();
  if (common.json) {
    auto json = nlohmann::ordered_json::array();
    for (const auto& job : jobs->jobs) json.push_back(to_json(job));
    return printed(text_of(json));
  }
  if (jobs->jobs.empty()) return printed("no jobs yet; run one: hivq run jobs/specs/quick.yaml\n");
  Table table{{{"job", Align::right},
               {"name", Align::left, true},
               {"state"},
               {"trials", Align::right},
               {"failed", Align::right},
               {"metric", Align::left, true, 2},
               {"submitted", Align::left, false, 3},
               {"duration", Align::right, false, 1}},
              {}};
  for (const auto& job : jobs->jobs) {
    Millis end = job.ended != 0 ? job.ended : wall_clock();
    table.rows.push_back(
        {std::to_string(job.id), job.name, Cell(job.state, tint_of_state(job.state)),
         fmt::format("{}/{}", job.finished + job.failed + job.cancelled, job.trials),
         Cell(job.failed == 0 ? "–" : std::to_string(job.failed), job.failed == 0 ? Tint::none : Tint::bad), job.metric,
         time_text(job.submitted), duration_text(end - job.submitted)});
  }
  return printed(render(table, terminal_of(1).style()));
}

Result<int> show(const Common& common, const std::string& job_or_trial) {
  const Terminal terminal = terminal_of(1);
  if (job_or_trial.find('/') != std::string::npos) {
    auto id = read_trial_id(job_or_trial);
    if (!id) return wrong_input(id.error());
    auto session = Session::for_reading(common.where);
    if (!session) return session.error();
    JobDetail detail;
    auto trial = ask_trial(*session, *id, detail);
    if (!trial) return trial.error();
    return printed(common.json ? text_of(to_json(*trial)) : trial_text(*trial, terminal));
  }
  auto job = parse_job_id(job_or_trial);
  if (!job) return wrong_input(job.error());
  auto session = Session::for_reading(common.where);
  if (!session) return session.error();
  auto detail = session->client().ask<JobDetail>(ShowJob{*job});
  if (!detail) return detail.error();
  if (common.json) return printed(text_of(to_json(*detail)));
  Results view = make_results(*detail, newest_losses(session->client(), *detail), wall_clock());
  if (auto sorted = sort(view, "trial", false); !sorted) return sorted.error();
  return printed(job_header(*detail, terminal.colour) + "\n" + render(results_table(view), terminal.style()));
}

Result<int> results(const Common& common, const ResultsArguments& arguments) {
  auto job = parse_job_id(arguments.job);
  if (!job) return wrong_input(job.error());
  auto session = Session::for_reading(common.where);
  if (!session) return session.error();
  auto view = ask_results(*session, *job);
  if (!view) return view.error();
  for (const auto& condition : arguments.where) {
    if (auto kept = keep(*view, condition); !kept) return wrong_input(kept.error());
  }
  if (auto sorted = sort(*view, arguments.sort, arguments.reverse); !sorted) return wrong_input(sorted.error());
  const BySetting grouped = by_setting(*view);
  if (common.json) return printed(text_of(to_json(*view)));
  if (common.csv) return printed(arguments.by_setting ? settings_csv(grouped) : results_csv(*view));
  const TableStyle style = terminal_of(1).style();
  const std::string summary = settings_text(grouped, style);
  if (arguments.by_setting) {
    return printed(!summary.empty() ? summary
                                    : "no setting has several trials or a published figure; `hivq results` shows the "
                                      "trials\n");
  }
  bool shown_already = arguments.sort == view->job.metric;
  bool is_metric = std::any_of(view->rows.begin(), view->rows.end(),
                               [&](const ResultRow& row) { return row.trial.final.contains(arguments.sort); });
  std::string text = render(results_table(*view, is_metric && !shown_already ? arguments.sort : ""), style);
  return printed(summary.empty() ? text : text + "\n" + summary);
}

Result<int> metrics(const Common& common, const std::string& trial_text_given, const std::string& name, uint64_t most) {
  auto trial = read_trial_id(trial_text_given);
  if (!trial) return wrong_input(trial.error());
  auto session = Session::for_reading(common.where);
  if (!session) return session.error();
  auto series = session->client().ask<MetricSeries>(QueryMetrics{*trial, name, 0, most});
  if (!series) return series.error();
  if (series->series.empty() && !name.empty()) {
    auto all = session->client().ask<MetricSeries>(QueryMetrics{*trial, "", 1, 0});
    if (!all) return all.error();
    std::string known;
    for (const auto& [other, points] : all->series) known += fmt::format("{}{}", known.empty() ? "" : ", ", other);
    return error("trial {} has no metric '{}'; it has {}", to_string(*trial), printable(name),
                 known.empty() ? "none yet" : known);
  }
  keep_named(*series, name);
  if (common.json) return printed(text_of(to_json(*series)));
  if (common.csv) return printed(metrics_csv(*series));
  if (series->series.empty()) return printed(fmt::format("trial {} has no metrics yet\n", to_string(*trial)));
  if (name.empty() || series->series.size() > 1)
    return printed(render(metrics_overview(*series), terminal_of(1).style()));
  Table table{{{"step", Align::right}, {series->series.begin()->first, Align::right}}, {}};
  for (const auto& point : series->series.begin()->second) {
    table.rows.push_back({std::to_string(point.step), fmt::format("{:.6g}", point.value)});
  }
  return printed(render(table, terminal_of(1).style()));
}

Result<int> logs(const Common& common, const std::string& trial_text_given, bool follow) {
  auto trial = read_trial_id(trial_text_given);
  if (!trial) return wrong_input(trial.error());
  auto session = follow ? Session::for_work(common.where) : Session::for_reading(common.where);
  if (!session) return session.error();
  if (follow) note_interrupts();
  uint64_t seen = 0, version = 0;
  bool ended = false;
  while (interrupted() == 0) {
    auto lines = session->client().try_ask<LogLines>(QueryLogs{*trial, seen}, std::chrono::seconds(follow ? 3 : 10));
    if (!lines) {
      if (!follow) return session->client().nobody();
      auto revived = session->revive([](const std::string& line) { std::fputs((line + "\n").c_str(), stderr); });
      if (!revived) return revived.error();
      continue;
    }
    if (!*lines) return lines->error();
    session->answered(true);
    seen += (*lines)->lines.size();
    if (auto done = print(common.json ? text_of(to_json(**lines)) : log_text(**lines)); !done) return done.error();
    if (!follow || ended) return 0;
    JobDetail detail;
    auto view = ask_trial(*session, *trial, detail);
    // Once more after the end: the last lines may have come between the two questions.
    ended = view && has_ended(view->state);
    if (!ended && interrupted() == 0) version = wait_for_change(session->client(), trial->job, version);
  }
  return exit_code::interrupt_base + interrupted();
}

Result<int> plot(const Common& common, const PlotArguments& arguments) {
  auto job = parse_job_id(arguments.job);
  if (!job) return wrong_input(job.error());
  auto session = Session::for_reading(common.where);
  if (!session) return session.error();
  auto view = ask_results(*session, *job);
  if (!view) return view.error();
  const auto figures = job_figures(session->client(), *view, arguments.metric);
  if (!figures) return figures.error();
  if (arguments.format == "text") {
    const Terminal terminal = terminal_of(1);
    TextStyle style;
    if (terminal.width > 0) style.width = terminal.width;
    style.colour = terminal.colour;
    return printed(to_text(*figures, style));
  }
  const std::string out = arguments.out.empty() ? figures_folder(common.where, *job) : arguments.out;
  const auto paths = write_figures(*figures, out, arguments.format == "png" ? FigureFormat::png : FigureFormat::svg);
  if (!paths) return paths.error();
  if (common.json) return printed(text_of({{"figures", *paths}}));
  std::string text;
  for (const auto& path : *paths) text += path + "\n";
  return printed(text);
}

Result<int> dashboard(const Common& common) {
  const auto live = live_coordinator(common.where.data);
  if (!live) {
    return error(
        "no coordinator serves {}: start one with hivq-coordinator --data {}, or name another folder with --data",
        common.where.data, common.where.data);
  }
  if (live->http.empty()) {
    return error("the coordinator of {} was started with --http off: start it without, or with --http http://HOST:PORT",
                 common.where.data);
  }
  return printed(common.json ? text_of({{"dashboard", live->http}}) : live->http + '\n');
}

Result<int> gangs(const Common& common) {
  auto session = Session::for_work(common.where);
  if (!session) return session.error();
  auto answer = session->client().ask<GangList>(QueryGangs{});
  if (!answer) return answer.error();
  if (common.json) {
    auto json = nlohmann::ordered_json::array();
    for (const auto& gang : answer->gangs) json.push_back(to_json(gang));
    return printed(text_of(json));
  }
  if (answer->gangs.empty()) {
    return printed(fmt::format(
        "no gangs; pools start theirs when a trial waits, others you do: mpirun -np 2 hivq-worker --coordinator "
        "{}\n",
        session->endpoint()));
  }
  Table table{{{"gang"},
               {"host", Align::left, true},
               {"devices", Align::left, true},
               {"ranks", Align::right},
               {"labels", Align::left, true, 2},
               {"trial"},
               {"phase", Align::left, true},
               {"started", Align::left, false, 1},
               {"connected"}},
              {}};
  for (const auto& gang : answer->gangs) {
    table.rows.push_back({gang.id, gang.host, gang.devices, std::to_string(gang.ranks), labels_text(gang.labels),
                          pack_text(gang.trials), gang.phase, gang.launch.empty() ? "by hand" : "by hivq",
                          standing(gang)});
  }
  return printed(render(table, terminal_of(1).style()));
}

}  // namespace hivq::cli
