// Trials: what they measured, said and stored.

#include <httplib.h>

#include <algorithm>

#include "coordinator/http/api.h"
#include "jobs/spec.h"
#include "jobs/spec_fields.h"
#include "jobs/study.h"
#include "jobs/views/compare.h"
#include "jobs/views/json.h"

namespace hivq {

namespace {

using httplib::Request;
using nlohmann::ordered_json;

constexpr size_t kMostCompared = 50;

/// Makes a reply of one trial of a job.
template <typename Make>
Reply with_trial(ClientPool& pool, const TrialId& id, Make make) {
  return with_job(pool, id.job, [&](const JobSnapshot& job) {
    for (const TrialView& trial : job.detail.trials) {
      if (trial.id == id) return make(job, trial);
    }
    return problem(404,
                   fmt::format("there is no trial {}; job {} has {}", to_string(id), id.job, job.detail.trials.size()));
  });
}

Reply show_trial(ClientPool& pool, const Request& request) {
  const TrialId id = path_trial(request);
  return with_trial(pool, id, [&](const JobSnapshot& job, const TrialView&) {
    const auto row = std::ranges::find(job.results.rows, id, [](const ResultRow& each) { return each.trial.id; });
    return json_reply(to_json(*row));
  });
}

Reply metrics(ClientPool& pool, const Request& request) {
  const auto points = query_number(request, "points", 1000, 0, 1'000'000);
  if (!points) return problem(400, points.error().message);
  const QueryMetrics question{path_trial(request), query_text(request, "prefix"), 0, *points};
  return answered<MetricSeries>(pool, question, [](const MetricSeries& series) { return json_reply(to_json(series)); });
}

Reply logs(ClientPool& pool, const Request& request) {
  const auto after = query_number(request, "after", 0, 0, 1'000'000'000'000);
  if (!after) return problem(400, after.error().message);
  return answered<LogLines>(pool, QueryLogs{path_trial(request), *after},
                            [](const LogLines& lines) { return json_reply({{"lines", to_json(lines)}}); });
}

/// All that a study knows of its trial: the parameters, and the ranges that they are of.
Reply study_trial_spec(const JobSpec& study, const TrialView& trial) {
  std::string yaml;
  ordered_json differences = ordered_json::array();
  for (const auto& [name, value] : trial.params) {
    yaml += fmt::format("{}: {}\n", name, value);
    const auto range = study.sweep->parameters.find(name);
    const std::string of = range == study.sweep->parameters.end() ? "" : to_yaml(range->second);
    differences.push_back({{"key", name}, {"value", value}, {"default", of}});
  }
  return json_reply({{"yaml", yaml}, {"differences", differences}});
}

Reply trial_spec(ClientPool& pool, const Request& request) {
  return with_trial(pool, path_trial(request), [](const JobSnapshot& job, const TrialView& trial) {
    const auto spec = parse_job(job.detail.yaml, fmt::format("job {}", job.detail.job.id));
    if (!spec) return problem(422, spec.error().message);
    if (spec->study) return study_trial_spec(*spec, trial);
    const auto params = read_params(trial.params);
    if (!params) return problem(422, params.error().message);
    const auto own = with_params(spec->trial, *params);
    if (!own) return problem(422, own.error().message);
    JobSpec is, would;
    is.trial = *own, would.trial = defaults_of("");
    ordered_json differences = ordered_json::array();
    for (const Field& field : all_fields()) {
      if (!field.of_trial()) continue;
      const std::string value = yaml_text(is, field), otherwise = yaml_text(would, field);
      if (value == otherwise) continue;
      differences.push_back({{"key", std::string(field.key)}, {"value", value}, {"default", otherwise}});
    }
    return json_reply({{"yaml", to_yaml(*own)}, {"differences", differences}});
  });
}

Reply pin(ClientPool& pool, const Request& request, bool pinned) {
  const std::string step = request.matches[3];
  const int64_t number = step == "latest" ? -1 : static_cast<int64_t>(path_number(request, 3));
  return changed<Pinned>(pool, Pin{path_trial(request), number, pinned},
                         [&](const Pinned& answer) { return json_reply({{"step", answer.step}, {"pinned", pinned}}); });
}

Reply compare_trials(ClientPool& pool, const Request& request) {
  std::vector<Compared> trials;
  const auto names = query_texts(request, "trial");
  if (names.empty()) return problem(400, "trial is missing: name some, such as trial=3/0&trial=3/1");
  if (names.size() > kMostCompared) return problem(400, fmt::format("more than {} trials at once", kMostCompared));
  for (const std::string& name : names) {
    const auto id = parse_trial_id(name);
    if (!id) return problem(400, fmt::format("trial is '{}'; it must be a trial such as 3/0", name));
    Reply got = with_trial(pool, *id, [&](const JobSnapshot& job, const TrialView& trial) {
      trials.push_back({job.detail.job, job.detail.yaml, trial});
      return Reply{};
    });
    if (got.status != 200) return got;
  }
  const auto found = compare(trials, wall_clock());
  if (!found) return problem(422, found.error().message);
  const auto lines = [](const std::vector<Comparison::Line>& given) {
    auto list = ordered_json::array();
    for (const auto& line : given) list.push_back({{"name", line.name}, {"values", line.values}});
    return list;
  };
  ordered_json json = {{"trials", found->trials}, {"facts", lines(found->facts)}, {"settings", lines(found->settings)}};
  json["metrics"] = ordered_json::array();
  for (const auto& line : found->metrics) {
    auto values = ordered_json::array();
    for (const auto& value : line.values) values.push_back(value ? ordered_json(*value) : ordered_json());
    json["metrics"].push_back({{"name", line.name}, {"values", values}});
  }
  return json_reply(json);
}

}  // namespace

void add_trial_routes(std::vector<Route>& routes, ClientPool& pool) {
  const RouteAdder add{routes, pool};
  const std::string trial = "/trials/([0-9]{1,13})/([0-9]{1,13})";
  add(trial, show_trial);
  add(trial + "/metrics", metrics);
  add(trial + "/logs", logs);
  add(trial + "/spec", trial_spec);
  add("/compare", compare_trials);
  for (const bool pinned : {true, false}) {
    routes.push_back({"POST", trial + "/checkpoints/([0-9]{1,15}|latest)" + (pinned ? "/pin" : "/unpin"),
                      [&pool, pinned](const Request& request) { return pin(pool, request, pinned); }});
  }
}

}  // namespace hivq
