// Jobs: submitted, listed, held and ended; their trials with results.

#include <httplib.h>

#include <algorithm>
#include <limits>
#include <set>
#include <sstream>

#include "coordinator/http/api.h"
#include "jobs/importance.h"
#include "jobs/spec.h"
#include "jobs/views/format.h"
#include "jobs/views/json.h"

namespace hivq {

namespace {

using httplib::Request;
using nlohmann::ordered_json;

constexpr size_t kCurvesByDefault = 50, kMostCurves = 500;
constexpr uint64_t kLargestNumber = 1'000'000'000'000;  // of a job or a trial

Reply list_jobs(ClientPool& pool, const Request& request) {
  const auto page = query_page(request);
  if (!page) return problem(400, page.error().message);
  const auto after = query_number(request, "after", std::numeric_limits<JobId>::max(), 1, kLargestNumber);
  if (!after) return problem(400, after.error().message);
  const auto list = pool.jobs();
  if (!list) return unavailable();
  if (!*list) return refusal(list->error());
  const std::string state = query_text(request, "state"), user = query_text(request, "user"),
                    project = query_text(request, "project"), name = query_text(request, "name");
  std::vector<const JobView*> found;
  for (const JobView& job : (**list)->jobs) {
    const auto meets = [](const std::string& wanted, const std::string& value) {
      return wanted.empty() || wanted == value;
    };
    if (job.id >= *after || !meets(state, job.state) || !meets(user, job.user) || !meets(project, job.project))
      continue;
    if (job.name.find(name) == std::string::npos) continue;
    found.push_back(&job);
  }
  std::ranges::reverse(found);  // they are kept by number
  ordered_json json = {{"jobs", ordered_json::array()}, {"total", found.size()}};
  const auto [begin, end] = page->of(found);
  for (auto it = begin; it != end; ++it) json["jobs"].push_back(to_json(**it));
  return json_reply(json);
}

Reply submit(ClientPool& pool, const Request& request) {
  if (auto refused = refuse_body(request)) return *refused;
  const std::string file = file_of(request), key = query_text(request, "key");
  if (key.size() > 200) return problem(400, "key is longer than 200 bytes");
  const auto job = parse_job(request.body, file);
  if (!job) return problem(422, job.error().message, mistakes_of(job.error().message, file));
  const Submit wish{key.empty() ? random_id() : key, file, to_yaml(*job), query_text(request, "user")};
  return changed<Submitted>(pool, wish,
                            [](const Submitted& submitted) { return json_reply({{"job", submitted.job}}, 201); });
}

Reply validate(ClientPool& pool, const Request& request) {
  if (auto refused = refuse_body(request)) return *refused;
  const std::string file = file_of(request);
  const auto job = parse_job(request.body, file);
  if (!job) {
    return json_reply({{"valid", false},
                       {"mistakes", to_json(mistakes_of(job.error().message, file))},
                       {"yaml", ""},
                       {"estimate", nullptr}});
  }
  const std::string yaml = to_yaml(*job);
  return answered<Estimate>(pool, EstimateJob{file, yaml, query_text(request, "user")}, [&](const Estimate& estimate) {
    return json_reply(
        {{"valid", true}, {"mistakes", ordered_json::array()}, {"yaml", yaml}, {"estimate", to_json(estimate)}});
  });
}

Reply show_job(ClientPool& pool, const Request& request) {
  return with_job(pool, path_number(request, 1), [](const JobSnapshot& job) {
    ordered_json json = to_json(job.detail.job);
    json["waiting"] = job.detail.waiting;
    json["yaml"] = job.detail.yaml;
    return json_reply(json);
  });
}

/// The members of a row that `fields=state,trained` asks for, with its name; all without it. Errors: there is none of
/// that name.
Result<std::set<std::string>> wanted_fields(const Request& request) {
  std::vector<std::string> known;
  const ordered_json every = to_json(ResultRow{});
  for (const auto& [name, value] : every.items()) known.push_back(name);
  if (!request.has_param("fields")) return std::set<std::string>(known.begin(), known.end());
  std::set<std::string> wanted = {"trial"};
  std::istringstream given(request.get_param_value("fields"));
  for (std::string name; std::getline(given, name, ',');) {
    if (std::ranges::find(known, name) == known.end()) {
      return error("fields has '{}'; there are {}", name, fmt::join(known, ", "));
    }
    wanted.insert(name);
  }
  return wanted;
}

/// Those of a larger number than `after`, for pages by number: what comes in between moves none of these.
Status keep_after(Results& results, const Request& request, const std::string& order, bool reverse) {
  if (!request.has_param("after")) return {};
  const auto after = query_number(request, "after", 0, 0, kLargestNumber);
  if (!after) return after.error();
  if (order != "trial" || reverse) return error("after is a trial's number; it goes with sort=trial alone");
  std::erase_if(results.rows, [&](const ResultRow& row) { return row.trial.id.index <= *after; });
  return {};
}

Reply trials_page(const Results& results, const Page& page, const std::set<std::string>& fields) {
  ordered_json json = {{"trials", ordered_json::array()}, {"total", results.rows.size()}, {"params", results.params}};
  json["metrics"] = ordered_json::array({results.job.metric});
  for (const std::string& metric : results.metrics) json["metrics"].push_back(metric);
  const auto [begin, end] = page.of(results.rows);
  for (auto row = begin; row != end; ++row) {
    ordered_json whole = to_json(*row), part;
    for (auto& [name, value] : whole.items()) {
      if (fields.contains(name)) part[name] = std::move(value);
    }
    json["trials"].push_back(std::move(part));
  }
  return json_reply(json);
}

Reply list_trials(ClientPool& pool, const Request& request) {
  const auto page = query_page(request);
  if (!page) return problem(400, page.error().message);
  const auto reverse = query_flag(request, "reverse");
  if (!reverse) return problem(400, reverse.error().message);
  const auto fields = wanted_fields(request);
  if (!fields) return problem(400, fields.error().message);
  return with_job(pool, path_number(request, 1), [&](const JobSnapshot& job) {
    const std::string order = query_text(request, "sort");
    auto results = chosen_trials(job, request);
    if (!results) return problem(400, results.error().message);
    if (Status kept = keep_after(*results, request, order, *reverse); !kept) return problem(400, kept.error().message);
    if (Status sorted = sort(*results, order.empty() ? "rank" : order, *reverse); !sorted) {
      return problem(400, sorted.error().message);
    }
    return trials_page(*results, *page, *fields);
  });
}

Reply curves(ClientPool& pool, const Request& request) {
  const std::string metric = query_text(request, "metric");
  if (metric.empty()) return problem(400, "metric is missing: name one, such as loss");
  const auto points = query_number(request, "points", 1000, 0, 1'000'000);
  if (!points) return problem(400, points.error().message);
  std::vector<uint64_t> wanted;
  for (const std::string& text : query_texts(request, "trial")) {
    const auto trial = parse_trial_id("1/" + text);
    if (!trial) return problem(400, fmt::format("trial is '{}'; it must be a trial's number in its job", text));
    wanted.push_back(trial->index);
  }
  if (wanted.size() > kMostCurves) return problem(400, fmt::format("more than {} trials at once", kMostCurves));
  return with_job(pool, path_number(request, 1), [&](const JobSnapshot& job) {
    for (const ResultRow& row : job.results.rows) {
      if (!request.has_param("trial") && wanted.size() < kCurvesByDefault) wanted.push_back(row.trial.id.index);
    }
    ordered_json json = {{"metric", metric}, {"curves", ordered_json::object()}};
    for (const uint64_t index : wanted) {
      const TrialId id{job.detail.job.id, index};
      const auto series = pool.ask<MetricSeries>(QueryMetrics{id, metric, 0, *points});
      if (!series) return unavailable();
      if (!*series) return refusal(series->error());
      const auto found = (*series)->series.find(metric);
      if (found != (*series)->series.end()) json["curves"][to_string(id)] = to_json(found->second);
    }
    return json_reply(json);
  });
}

Reply show_importance(ClientPool& pool, const Request& request) {
  return with_job(pool, path_number(request, 1), [](const JobSnapshot& job) {
    const std::string& metric = job.detail.job.metric;
    const auto found = importance(outcomes_of(job.detail, metric));
    return found ? json_reply(to_json(*found, metric)) : problem(409, found.error().message);
  });
}

Reply explain(ClientPool& pool, const Request& request) {
  const JobId job = path_number(request, 1);
  return answered<Explanation>(pool, ExplainJob{job}, [&](const Explanation& answer) {
    return json_reply({{"job", job}, {"explanation", answer.text}});
  });
}

Reply cancel(ClientPool& pool, const Request& request) {
  const JobId job = path_number(request, 1);
  return changed<Cancelled>(pool, Cancel{job}, [&](const Cancelled& answer) {
    return json_reply({{"job", job}, {"cancelled_trials", answer.trials}});
  });
}

Reply set_paused(ClientPool& pool, const Request& request, bool paused) {
  const JobId job = path_number(request, 1);
  return changed<PausedSet>(pool, SetPaused{random_id(), job, paused}, [&](const PausedSet& answer) {
    return json_reply({{"job", job}, {"paused", paused}, {"running", answer.running}, {"waiting", answer.waiting}});
  });
}

Reply set_priority(ClientPool& pool, const Request& request) {
  const JobId job = path_number(request, 1);
  const auto body = body_json(request);
  if (!body) return problem(400, body.error().message);
  if (body->size() != 1 || !body->contains("priority") || !(*body)["priority"].is_number_integer()) {
    return problem(400, "the body must be {\"priority\": N}, a whole number");
  }
  const auto& given = (*body)["priority"];
  // What is larger than an int64 is out of range anyway.
  const int64_t priority = given.is_number_unsigned()
                               ? static_cast<int64_t>(std::min<uint64_t>(given.get<uint64_t>(), INT64_MAX))
                               : given.get<int64_t>();
  return changed<PrioritySet>(pool, SetPriority{random_id(), job, priority}, [&](const PrioritySet& answer) {
    return json_reply({{"job", job}, {"priority", answer.priority}});
  });
}

}  // namespace

Result<Results> chosen_trials(const JobSnapshot& job, const Request& request) {
  Results results = job.results;
  const std::string state = query_text(request, "state");
  if (!state.empty()) std::erase_if(results.rows, [&](const ResultRow& row) { return row.trial.state != state; });
  for (const std::string& condition : query_texts(request, "where")) {
    if (Status kept = keep(results, condition); !kept) return kept.error();
  }
  return results;
}

void add_job_routes(std::vector<Route>& routes, ClientPool& pool) {
  const RouteAdder add{routes, pool};
  const std::string job = "/jobs/([0-9]{1,13})";
  add("/jobs", list_jobs);
  add("POST", "/jobs", submit);
  add("POST", "/validate", validate);
  add(job, show_job);
  add(job + "/trials", list_trials);
  add(job + "/curves", curves);
  add(job + "/importance", show_importance);
  add(job + "/explain", explain);
  add("POST", job + "/cancel", cancel);
  add("POST", job + "/priority", set_priority);
  for (const bool paused : {true, false}) {
    routes.push_back({"POST", job + (paused ? "/pause" : "/resume"),
                      [&pool, paused](const Request& request) { return set_paused(pool, request, paused); }});
  }
}

}  // namespace hivq
