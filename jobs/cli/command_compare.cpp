// compare, importance: what trials have in common, and what their metric depends on.

#include "jobs/cli/commands.h"
#include "jobs/cli/terminal.h"
#include "jobs/importance.h"
#include "jobs/views/compare.h"
#include "jobs/views/format.h"
#include "jobs/views/json.h"

namespace hivq::cli {

namespace {

struct Named {
  JobId job = 0;
  std::optional<TrialId> trial;  // otherwise the job's best
};

/// `1/3` is a trial, `1` a job.
Result<Named> parse_named(const std::string& text) {
  if (text.find('/') == std::string::npos) {
    auto job = parse_job_id(text);
    if (!job) return job.error();
    return Named{*job, std::nullopt};
  }
  auto trial = read_trial_id(text);
  if (!trial) return trial.error();
  return Named{trial->job, *trial};
}

Result<Compared> find_compared(JobDetail detail, const Named& named) {
  if (!named.trial) {
    Results results = make_results(detail, {}, wall_clock());
    if (results.rows.empty() || results.rows.front().rank == 0) {
      return error("no trial of job {} has a value of {} yet: name a trial of it, such as {}/0", named.job,
                   detail.job.metric, named.job);
    }
    return Compared{detail.job, std::move(detail.yaml), std::move(results.rows.front().trial)};
  }
  for (auto& trial : detail.trials) {
    if (trial.id == *named.trial) return Compared{detail.job, std::move(detail.yaml), std::move(trial)};
  }
  return error("there is no trial {}; `hivq show {}` shows those that there are", to_string(*named.trial), named.job);
}

constexpr size_t most_pairs = 5;
constexpr double least_pair = 0.01;

std::string importance_text(const Importance& found, const std::string& metric, const TableStyle& style) {
  Table table{{{"parameter", Align::left, true}, {"share", Align::right}, {"±", Align::right, false, 1}, {""}}, {}};
  size_t pairs = 0;
  for (const auto& share : found.shares) {
    const bool pair = !share.with.empty();
    if (pair && (share.share < least_pair || pairs++ >= most_pairs)) continue;
    std::string bar;
    for (int i = 0; i < static_cast<int>(share.share * 20 + 0.5); ++i) bar += "█";
    table.rows.push_back({pair ? share.parameter + " × " + share.with : share.parameter,
                          fmt::format("{:.1f} %", 100 * share.share), fmt::format("{:.1f}", 100 * share.deviation),
                          Cell(bar, pair ? Tint::dim : Tint::accent)});
  }
  std::string text = render(table, style);
  text +=
      fmt::format("of the variance of {} over {}; a forest of them explains {:.0f} % of trials that it has not seen\n",
                  metric, count_text(found.trials, "trial"), 100 * std::max(0.0, found.explained));
  if (found.explained < 0.3) text += "that is little: the shares may be chance, and more trials would tell\n";
  return text;
}

std::string importance_csv(const Importance& found) {
  std::string text = "parameter,with,share,deviation\n";
  for (const auto& share : found.shares) {
    text +=
        fmt::format("{},{},{},{}\n", csv_field(share.parameter), csv_field(share.with), share.share, share.deviation);
  }
  return text;
}

}  // namespace

Result<int> compare(const Common& common, const std::vector<std::string>& names) {
  std::vector<Named> wanted;
  for (const auto& name : names) {
    auto named = parse_named(name);
    if (!named) return wrong_input(named.error());
    wanted.push_back(*named);
  }
  auto session = Session::for_reading(common.where);
  if (!session) return session.error();
  std::vector<Compared> trials;
  for (const auto& named : wanted) {
    auto detail = session->client().ask<JobDetail>(ShowJob{named.job});
    if (!detail) return detail.error();
    auto found = find_compared(std::move(*detail), named);
    if (!found) return found.error();
    trials.push_back(std::move(*found));
  }
  auto comparison = compare(trials, wall_clock());
  if (!comparison) return comparison.error();
  if (common.json) return printed(text_of(to_json(*comparison)));
  if (common.csv) return printed(comparison_csv(*comparison));
  return printed(render(comparison_table(*comparison), terminal_of(1).style()));
}

Result<int> importance(const Common& common, const std::string& job_text, const std::string& metric_given) {
  auto job = parse_job_id(job_text);
  if (!job) return wrong_input(job.error());
  auto session = Session::for_reading(common.where);
  if (!session) return session.error();
  auto detail = session->client().ask<JobDetail>(ShowJob{*job});
  if (!detail) return detail.error();
  const std::string metric = metric_given.empty() ? detail->job.metric : metric_given;
  auto found = hivq::importance(outcomes_of(*detail, metric));
  if (!found) return error("job {}, metric {}: {}", *job, printable(metric), found.error().message);
  if (common.json) return printed(text_of(to_json(*found, metric)));
  if (common.csv) return printed(importance_csv(*found));
  return printed(importance_text(*found, metric, terminal_of(1).style()));
}

}  // namespace hivq::cli
