// Studies: trials that a client's own program runs.

#include <httplib.h>

#include <algorithm>
#include <limits>

#include "coordinator/http/api.h"
#include "jobs/spec.h"
#include "jobs/views/format.h"

namespace hivq {

namespace {

using httplib::Request;
using nlohmann::json;
using nlohmann::ordered_json;

/// A member that must be there; `is`: what it must be.
Result<json> member(const json& body, const char* name, bool (json::*is)() const noexcept, const char* what) {
  const auto found = body.find(name);
  if (found == body.end() || !((*found).*is)()) return error("{} must be {}", name, what);
  return *found;
}

Result<std::string> text_member(const json& body, const char* name) {
  auto found = member(body, name, &json::is_string, "a text");
  if (!found) return found.error();
  return found->get<std::string>();
}

Status only(const json& body, std::initializer_list<std::string_view> names) {
  for (const auto& [name, value] : body.items()) {
    if (std::find(names.begin(), names.end(), name) == names.end()) return error("{} is no member here", name);
  }
  return {};
}

/// The trial of the path, held with the lease of the body.
Result<Lease> lease_of(const Request& request, const json& body) {
  const auto epoch =
      member(body, "lease", &json::is_number_unsigned, "a whole number, as the question for a trial gave it");
  if (!epoch) return epoch.error();
  return Lease{path_trial(request), epoch->get<uint64_t>()};
}

/// null: not finite.
Result<std::map<std::string, double>> metrics_of_json(const json& object) {
  if (!object.is_object()) return error("metrics must be an object of numbers");
  std::map<std::string, double> metrics;
  for (const auto& [name, value] : object.items()) {
    if (!value.is_number() && !value.is_null()) return error("the metric {} must be a number, or null", name);
    metrics[name] = value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
  }
  return metrics;
}

Result<std::vector<MetricsItem>> points_of_json(const json& body) {
  std::vector<MetricsItem> points;
  const auto list = body.find("points");
  if (list == body.end()) return points;
  if (!list->is_array()) return error("points must be a list of {{step, metrics}}");
  for (const json& each : *list) {
    const bool whole = each.is_object() && each.contains("step") && each["step"].is_number_unsigned() &&
                       each["step"].get<uint64_t>() <= uint64_t{1} << 53;
    if (!whole || !each.contains("metrics")) {
      return error("points must be a list of {{step, metrics}}, a step being a whole number from 0 to 2^53");
    }
    auto metrics = metrics_of_json(each["metrics"]);
    if (!metrics) return metrics.error();
    points.push_back({each["step"].get<int64_t>(), std::move(*metrics)});
  }
  return points;
}

Reply create(ClientPool& pool, const Request& request) {
  if (auto refused = refuse_body(request)) return *refused;
  const std::string file = file_of(request);
  const auto job = parse_job(request.body, file);
  if (!job) return problem(422, job.error().message, mistakes_of(job.error().message, file));
  if (!job->study) return problem(422, "this is no study: it has no section `study`; a job is submitted at /jobs");
  const Submit wish{random_id(), file, to_yaml(*job), query_text(request, "user")};
  return changed<Submitted>(pool, wish, [](const Submitted& there) { return json_reply({{"job", there.job}}); });
}

Reply find(ClientPool& pool, const Request& request) {
  if (!request.has_param("name")) return problem(400, "name is missing: name the study");
  return answered<Submitted>(pool, FindStudy{query_text(request, "name")},
                             [](const Submitted& there) { return json_reply({{"job", there.job}}); });
}

Reply ask(ClientPool& pool, const Request& request) {
  const auto body = body_json(request);
  if (!body) return problem(400, body.error().message);
  if (auto good = only(*body, {"key"}); !good) return problem(400, good.error().message);
  const auto key = text_member(*body, "key");
  if (!key || key->empty() || key->size() > 200) return problem(400, "key must be a text of 1 to 200 bytes");
  return changed<AskedTrial>(pool, AskTrial{path_number(request, 1), *key}, [](const AskedTrial& asked) {
    const bool given = asked.state == "trial";
    return json_reply({{"state", asked.state},
                       {"reason", asked.reason},
                       {"trial", given ? ordered_json(to_string(asked.lease.trial)) : ordered_json()},
                       {"lease", given ? ordered_json(asked.lease.epoch) : ordered_json()},
                       {"params", ordered_json(asked.params)}});
  });
}

Reply suggest(ClientPool& pool, const Request& request) {
  const auto body = body_json(request);
  if (!body) return problem(400, body.error().message);
  if (auto good = only(*body, {"lease", "name", "range"}); !good) return problem(400, good.error().message);
  const auto lease = lease_of(request, *body);
  if (!lease) return problem(400, lease.error().message);
  const auto name = text_member(*body, "name");
  if (!name) return problem(400, name.error().message);
  const auto range = body->find("range");
  if (range == body->end()) return problem(400, "range is missing: {\"uniform\": [0, 1]}, a list of choices, …");
  // JSON is YAML, where a colon is followed by a blank.
  const SuggestValue wish{*lease, *name, range->dump(1)};
  return answered<SuggestedValue>(pool, wish,
                                  [](const SuggestedValue& found) { return json_reply({{"value", found.value}}); });
}

Reply report(ClientPool& pool, const Request& request) {
  const auto body = body_json(request);
  if (!body) return problem(400, body.error().message);
  if (auto good = only(*body, {"lease", "points"}); !good) return problem(400, good.error().message);
  const auto lease = lease_of(request, *body);
  if (!lease) return problem(400, lease.error().message);
  auto points = points_of_json(*body);
  if (!points) return problem(400, points.error().message);
  return answered<TrialReported>(pool, ReportTrial{*lease, std::move(*points)}, [](const TrialReported& told) {
    return json_reply({{"stop", told.stop}, {"ended", told.ended}, {"reason", told.reason}});
  });
}

Reply end(ClientPool& pool, const Request& request) {
  const auto body = body_json(request);
  if (!body) return problem(400, body.error().message);
  if (auto good = only(*body, {"lease", "state", "metrics", "reason"}); !good)
    return problem(400, good.error().message);
  const auto lease = lease_of(request, *body);
  if (!lease) return problem(400, lease.error().message);
  const auto state = text_member(*body, "state");
  if (!state) return problem(400, state.error().message);
  EndTrial wish{*lease, *state, {}, ""};
  if (body->contains("metrics")) {
    auto metrics = metrics_of_json((*body)["metrics"]);
    if (!metrics) return problem(400, metrics.error().message);
    wish.metrics = std::move(*metrics);
  }
  if (body->contains("reason")) {
    auto reason = text_member(*body, "reason");
    if (!reason) return problem(400, reason.error().message);
    wish.reason = std::move(*reason);
  }
  return changed<TrialEnded>(pool, std::move(wish), [](const TrialEnded& ended) {
    return json_reply({{"state", ended.state}, {"reason", ended.reason}});
  });
}

}  // namespace

void add_study_routes(std::vector<Route>& routes, ClientPool& pool) {
  const auto add = [&](const char* method, const std::string& path, Reply (*answer)(ClientPool&, const Request&)) {
    routes.push_back({method, path, [&pool, answer](const Request& request) { return answer(pool, request); }});
  };
  const std::string trial = "/trials/([0-9]{1,13})/([0-9]{1,13})";
  add("GET", "/studies", find);
  add("POST", "/studies", create);
  add("POST", "/studies/([0-9]{1,13})/ask", ask);
  add("POST", trial + "/suggest", suggest);
  add("POST", trial + "/report", report);
  add("POST", trial + "/end", end);
}

}  // namespace hivq
