#include "coordinator/http/reply.h"

#include <charconv>
#include <sstream>

namespace hivq {

using nlohmann::ordered_json;

namespace {

const char* title_of(int status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 416:
      return "Range Not Satisfiable";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 503:
      return "Service Unavailable";
    case 507:
      return "Insufficient Storage";
    default:
      return status < 500 ? "Bad Request" : "Internal Server Error";
  }
}

}  // namespace

std::vector<Mistake> mistakes_of(const std::string& message, const std::string& file) {
  std::vector<Mistake> mistakes;
  std::istringstream lines(message);
  const std::string prefix = file + ":";
  for (std::string line; std::getline(lines, line);) {
    Mistake mistake{0, line};
    if (line.starts_with(prefix)) {
      const char *begin = line.data() + prefix.size(), *end = line.data() + line.size();
      const auto [rest, failed] = std::from_chars(begin, end, mistake.line);
      if (failed != std::errc()) mistake.line = 0;
      if (rest != end && *rest == ':') mistake.message = std::string(rest + 1, end);
      while (mistake.message.starts_with(' ')) mistake.message.erase(0, 1);
    }
    mistakes.push_back(std::move(mistake));
  }
  return mistakes;
}

ordered_json to_json(const std::vector<Mistake>& mistakes) {
  auto list = ordered_json::array();
  for (const Mistake& mistake : mistakes) list.push_back({{"line", mistake.line}, {"message", mistake.message}});
  return list;
}

Reply json_reply(const ordered_json& json, int status) {
  return {status, "application/json", json.dump(-1, ' ', false, ordered_json::error_handler_t::replace)};
}

Reply problem(int status, const std::string& detail, const std::vector<Mistake>& mistakes) {
  ordered_json json = {{"type", "about:blank"}, {"title", title_of(status)}, {"status", status}, {"detail", detail}};
  if (!mistakes.empty()) json["mistakes"] = to_json(mistakes);
  Reply reply = json_reply(json, status);
  reply.type = "application/problem+json";
  return reply;
}

Reply refusal(const Error& error) {
  const std::string& text = error.message;
  if (text.starts_with("there is no ") || text.find(" has no checkpoint") != std::string::npos) {
    return problem(404, text);
  }
  if (text.starts_with("not allowed: ")) return problem(403, text);
  if (text.starts_with("too many requests")) return problem(429, text);
  if (text.find(" has ended") != std::string::npos) return problem(409, text);
  return problem(text.starts_with("the disk ") ? 507 : 422, text);
}

Reply unavailable() {
  return problem(503, "the coordinator does not answer at the moment; what was acknowledged is kept, try again");
}

}  // namespace hivq
