// The cluster and the service: gangs, draining, questions in SQL, versions, and Prometheus' metrics.

#include <httplib.h>
#include <unistd.h>

#include <fstream>

#include "common/version.h"
#include "coordinator/http/api.h"
#include "jobs/views/json.h"

namespace hivq {

namespace {

using httplib::Request;
using nlohmann::ordered_json;

constexpr size_t kMostRows = 100'000;
constexpr size_t kMostRowBytes = 64 << 20;

Reply gangs(ClientPool& pool, const Request&) {
  return answered<GangList>(pool, QueryGangs{}, [](const GangList& list) {
    ordered_json json = {{"gangs", ordered_json::array()}};
    for (const GangView& gang : list.gangs) json["gangs"].push_back(to_json(gang));
    return json_reply(json);
  });
}

/// The members of a body: each there is of a type, and none besides.
Status check_members(const nlohmann::json& body, const std::map<std::string, nlohmann::json::value_t>& types) {
  for (const auto& [key, value] : body.items()) {
    const auto known = types.find(key);
    if (known == types.end()) return error("the body has the unknown member '{}'", key);
    if (value.type() != known->second) return error("{} has the wrong type", key);
  }
  return {};
}

Reply drain(ClientPool& pool, const Request& request) {
  using Type = nlohmann::json::value_t;
  const auto body = body_json(request);
  if (!body) return problem(400, body.error().message);
  if (Status usable =
          check_members(*body, {{"target", Type::string}, {"drained", Type::boolean}, {"to_the_end", Type::boolean}});
      !usable) {
    return problem(400, usable.error().message);
  }
  const std::string target = body->value("target", "");
  if (target.empty() || target.size() > 1000) return problem(400, "target must name a gang or host:NAME");
  const bool drained = body->value("drained", true);
  return changed<DrainSet>(pool, SetDrained{random_id(), target, drained, body->value("to_the_end", false)},
                           [&](const DrainSet& done) { return json_reply(to_json(done, drained)); });
}

Reply query(ClientPool& pool, const Request& request) {
  const auto body = body_json(request);
  if (!body) return problem(400, body.error().message);
  if (Status usable = check_members(*body, {{"sql", nlohmann::json::value_t::string}}); !usable) {
    return problem(400, usable.error().message);
  }
  const std::string sql = body->value("sql", ""), key = random_id();
  if (sql.empty() || sql.size() > 100'000) return problem(400, "sql must be a SELECT of at most 100000 bytes");
  ordered_json json = {{"columns", ordered_json::array()}, {"rows", ordered_json::array()}, {"complete", false}};
  size_t bytes = 0;
  for (uint64_t batch = 0;; ++batch) {
    const auto answer = pool.ask<SqlAnswer>(QuerySql{key, sql, batch}, std::chrono::seconds(60));
    if (!answer) return unavailable();
    if (!*answer) return problem(422, answer->error().message);
    if (batch == 0) json["columns"] = (*answer)->columns;
    for (const SqlRow& row : (*answer)->rows) {
      if (json["rows"].size() == kMostRows || bytes > kMostRowBytes) return json_reply(json);
      auto values = ordered_json::array();
      for (const SqlValue& value : row) {
        values.push_back(to_json(value));
        bytes += 16 + (values.back().is_string() ? values.back().get_ref<const std::string&>().size() : 0);
      }
      json["rows"].push_back(std::move(values));
    }
    if (!(*answer)->end) continue;
    json["complete"] = true;
    return json_reply(json);
  }
}

Reply show_version(ClientPool&, const Request&) { return json_reply({{"version", version}}); }

/// Of this process, from Linux.
void add_process(std::string& text) {
  std::ifstream memory("/proc/self/statm");
  uint64_t size = 0, resident = 0;
  memory >> size >> resident;
  text += fmt::format(
      "# HELP process_resident_memory_bytes Resident memory.\n# TYPE process_resident_memory_bytes gauge\n"
      "process_resident_memory_bytes {}\n",
      resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)));
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  text += fmt::format(
      "# HELP process_cpu_seconds_total CPU time.\n# TYPE process_cpu_seconds_total counter\n"
      "process_cpu_seconds_total {:.3f}\n",
      static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9);
}

}  // namespace

Reply prometheus_metrics(ClientPool& pool) {
  const auto list = pool.jobs();
  const auto gang_list = pool.ask<GangList>(QueryGangs{});
  if (!list || !*list || !gang_list || !*gang_list) return unavailable();
  std::map<std::string, uint64_t> jobs{{"waiting", 0},  {"running", 0}, {"paused", 0},
                                       {"finished", 0}, {"failed", 0},  {"cancelled", 0}};
  std::map<std::string, uint64_t> trials{
      {"waiting", 0}, {"running", 0}, {"finished", 0}, {"failed", 0}, {"cancelled", 0}};
  uint64_t queued = 0;
  for (const JobView& job : (**list)->jobs) {
    ++jobs[job.state];
    queued += job.queued;
    trials["finished"] += job.finished;
    trials["failed"] += job.failed;
    trials["running"] += job.running;
    trials["cancelled"] += job.cancelled;
    trials["waiting"] += job.trials - std::min(job.trials, job.finished + job.failed + job.running + job.cancelled);
  }
  uint64_t connected = 0, busy = 0, ranks = 0, busy_ranks = 0, drained = 0;
  for (const GangView& gang : (*gang_list)->gangs) {
    if (!gang.connected) continue;
    ++connected;
    ranks += gang.ranks;
    drained += gang.drained ? 1 : 0;
    if (gang.trials.empty()) continue;
    ++busy;
    busy_ranks += gang.ranks;
  }
  std::string text = fmt::format(
      "# HELP hivq_build_info Version.\n# TYPE hivq_build_info gauge\nhivq_build_info{{version=\"{}\"}} 1\n", version);
  const auto by_state = [&](const char* name, const char* help, const std::map<std::string, uint64_t>& counts) {
    text += fmt::format("# HELP {0} {1}\n# TYPE {0} gauge\n", name, help);
    for (const auto& [state, count] : counts) text += fmt::format("{}{{state=\"{}\"}} {}\n", name, state, count);
  };
  by_state("hivq_jobs", "Jobs by state.", jobs);
  by_state("hivq_trials", "Trials by state.", trials);
  text += fmt::format(
      "# HELP hivq_trials_queued Trials that wait for a gang: none of a paused job, of a study, or of one that comes "
      "after "
      "another.\n# TYPE hivq_trials_queued gauge\nhivq_trials_queued {}\n",
      queued);
  by_state("hivq_gangs", "Connected gangs.", {{"busy", busy}, {"idle", connected - busy}});
  by_state("hivq_ranks", "Ranks of connected gangs.", {{"busy", busy_ranks}, {"idle", ranks - busy_ranks}});
  text += fmt::format(
      "# HELP hivq_gangs_drained Connected gangs that get no new trials.\n# TYPE hivq_gangs_drained gauge\n"
      "hivq_gangs_drained {}\n",
      drained);
  add_process(text);
  return {200, "text/plain; version=0.0.4; charset=utf-8", text};
}

void add_cluster_routes(std::vector<Route>& routes, ClientPool& pool) {
  const RouteAdder add{routes, pool};
  add("/gangs", gangs);
  add("POST", "/drain", drain);
  add("POST", "/query", query);
  add("/version", show_version);
}

}  // namespace hivq
