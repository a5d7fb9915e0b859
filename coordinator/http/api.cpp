#include "coordinator/http/api.h"

#include <httplib.h>

#include <charconv>

namespace hivq {

void put(const Reply& reply, httplib::Response& response) {
  response.status = reply.status;
  response.set_content(reply.body, reply.type);
}

uint64_t path_number(const httplib::Request& request, size_t group) {
  const std::string text = request.matches[group];
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

TrialId path_trial(const httplib::Request& request) { return {path_number(request, 1), path_number(request, 2)}; }

Result<uint64_t> query_number(const httplib::Request& request, const std::string& name, uint64_t otherwise,
                              uint64_t least, uint64_t most) {
  if (!request.has_param(name)) return otherwise;
  const std::string text = request.get_param_value(name);
  uint64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed == std::errc() && end == text.data() + text.size() && value >= least && value <= most) return value;
  return error("{} is '{}'; it must be a number from {} to {}", name, text, least, most);
}

Result<bool> query_flag(const httplib::Request& request, const std::string& name) {
  const std::string text = query_text(request, name);
  if (text == "true") return true;
  if (text == "false" || !request.has_param(name)) return false;
  return error("{} is '{}'; it must be true or false", name, text);
}

std::string query_text(const httplib::Request& request, const std::string& name) {
  return request.has_param(name) ? request.get_param_value(name) : "";
}

std::vector<std::string> query_texts(const httplib::Request& request, const std::string& name) {
  const auto [begin, end] = request.params.equal_range(name);
  std::vector<std::string> texts;
  for (auto it = begin; it != end; ++it) texts.push_back(it->second);
  return texts;
}

Result<Page> query_page(const httplib::Request& request) {
  const auto limit = query_number(request, "limit", 100, 1, 10'000);
  if (!limit) return limit.error();
  const auto offset = query_number(request, "offset", 0, 0, 1'000'000'000'000);
  if (!offset) return offset.error();
  return Page{static_cast<size_t>(*offset), static_cast<size_t>(*limit)};
}

std::optional<Reply> refuse_body(const httplib::Request& request) {
  const std::string type = request.get_header_value("Content-Type");
  if (type.starts_with("application/yaml") || type.starts_with("application/x-yaml") || type.starts_with("text/yaml")) {
    return std::nullopt;
  }
  return problem(415, "a specification is sent as Content-Type: application/yaml");
}

std::string file_of(const httplib::Request& request) {
  const std::string file = query_text(request, "file");
  return file.empty() ? "the specification" : file;
}

Result<nlohmann::json> body_json(const httplib::Request& request) {
  auto json = nlohmann::json::parse(request.body, nullptr, /*allow_exceptions=*/false);
  if (json.is_object()) return json;
  return error("the body is no JSON object");
}

void RouteAdder::operator()(const char* method, const std::string& path, Operation operation) const {
  routes.push_back(
      {method, path, [&from = pool, operation](const httplib::Request& request) { return operation(from, request); }});
}

std::vector<Route> routes_of_api(ClientPool& pool, const std::atomic<bool>& ending) {
  std::vector<Route> routes;
  add_job_routes(routes, pool);
  add_trial_routes(routes, pool);
  add_picture_routes(routes, pool);
  add_study_routes(routes, pool);
  add_cluster_routes(routes, pool);
  add_streams(routes, pool, ending);
  add_job_metrics(routes, pool);
  return routes;
}

}  // namespace hivq
