#pragma once

// The REST API (openapi.yaml): a request becomes a question of the coordinator's own protocol, its answer JSON.

#include <functional>
#include <string>
#include <vector>

#include "coordinator/http/pool.h"
#include "coordinator/http/reply.h"

namespace httplib {
struct Request;
struct Response;
}  // namespace httplib

namespace hivq {

/// One operation. `path` is a regular expression below /api/v1 whose groups are the operation's numbers.
struct Route {
  std::string method, path;
  std::function<Reply(const httplib::Request&)> answer;
  std::function<void(const httplib::Request&, httplib::Response&)> stream = {};  // instead: answers piece by piece
};

/// `ending`: the server goes down; what streams ends.
std::vector<Route> routes_of_api(ClientPool& pool, const std::atomic<bool>& ending);

// Its parts.
void add_job_routes(std::vector<Route>& routes, ClientPool& pool);
void add_trial_routes(std::vector<Route>& routes, ClientPool& pool);
void add_picture_routes(std::vector<Route>& routes, ClientPool& pool);
void add_study_routes(std::vector<Route>& routes, ClientPool& pool);
void add_cluster_routes(std::vector<Route>& routes, ClientPool& pool);
void add_streams(std::vector<Route>& routes, ClientPool& pool, const std::atomic<bool>& ending);
void add_job_metrics(std::vector<Route>& routes, ClientPool& pool);

/// Appends operations: add("POST", "/drain", drain). Without a method it is GET.
struct RouteAdder {
  using Operation = Reply (*)(ClientPool&, const httplib::Request&);
  std::vector<Route>& routes;
  ClientPool& pool;
  void operator()(const char* method, const std::string& path, Operation operation) const;
  void operator()(const std::string& path, Operation operation) const { (*this)("GET", path, operation); }
};

/// The service in Prometheus' text format.
Reply prometheus_metrics(ClientPool& pool);

/// Puts a reply into the HTTP library's.
void put(const Reply& reply, httplib::Response& response);

// ---- What the operations share ----

/// Asks, and makes a reply of the answer; without one, or with a refusal, the problem.
template <typename Answer, typename Make>
Reply answered(ClientPool& pool, Body question, Make make) {
  auto answer = pool.ask<Answer>(std::move(question));
  if (!answer) return unavailable();
  if (!*answer) return refusal(answer->error());
  return make(**answer);
}

/// The same of what changes something: what was known before is forgotten.
template <typename Answer, typename Make>
Reply changed(ClientPool& pool, Body wish, Make make) {
  Reply reply = answered<Answer>(pool, std::move(wish), make);
  pool.forget();
  return reply;
}

/// The same of a job and its trials, a moment old at most.
template <typename Make>
Reply with_job(ClientPool& pool, JobId id, Make make) {
  auto job = pool.job(id);
  if (!job) return unavailable();
  if (!*job) return refusal(job->error());
  return make(***job);
}

/// A job's trials that meet a request's `state` and `where`; ranks stay those among all. Errors: no condition, an
/// unknown name.
Result<Results> chosen_trials(const JobSnapshot& job, const httplib::Request& request);

/// The number of a path's group.
uint64_t path_number(const httplib::Request& request, size_t group);
TrialId path_trial(const httplib::Request& request);
/// A query's number in [least, most]. Errors: it is none.
Result<uint64_t> query_number(const httplib::Request& request, const std::string& name, uint64_t otherwise,
                              uint64_t least, uint64_t most);
Result<bool> query_flag(const httplib::Request& request, const std::string& name);
/// Empty where it is not given.
std::string query_text(const httplib::Request& request, const std::string& name);
std::vector<std::string> query_texts(const httplib::Request& request, const std::string& name);

struct Page {
  size_t offset = 0, limit = 0;
  /// The part of a list that is on the page.
  template <typename List>
  auto of(const List& list) const {
    const size_t begin = std::min(offset, list.size()), end = begin + std::min(limit, list.size() - begin);
    return std::pair(list.begin() + static_cast<std::ptrdiff_t>(begin),
                     list.begin() + static_cast<std::ptrdiff_t>(end));
  }
};
Result<Page> query_page(const httplib::Request& request);

/// A specification's body: why it is none, and what errors call it.
std::optional<Reply> refuse_body(const httplib::Request& request);
std::string file_of(const httplib::Request& request);

/// An object of JSON in the body with these members alone. Errors: it is none.
Result<nlohmann::json> body_json(const httplib::Request& request);

}  // namespace hivq
