#pragma once

// What a request of the API comes to. Free of the HTTP library, so that what is answered can be read by itself.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace hivq {

struct Reply {
  int status = 200;
  std::string type = "application/json";
  std::string body;
};

/// A line of a specification and what is wrong there.
struct Mistake {
  int64_t line = 0;  // 0: the whole
  std::string message;
};
/// From parse_job()'s lines, `file:line: …`.
std::vector<Mistake> mistakes_of(const std::string& message, const std::string& file);
nlohmann::ordered_json to_json(const std::vector<Mistake>& mistakes);

/// Bytes that are no UTF-8 become U+FFFD, values that are not finite null.
Reply json_reply(const nlohmann::ordered_json& json, int status = 200);
/// problem+json (RFC 9457).
Reply problem(int status, const std::string& detail, const std::vector<Mistake>& mistakes = {});
/// The coordinator's refusal, by what its sentence says.
Reply refusal(const Error& error);
/// The coordinator does not answer.
Reply unavailable();

}  // namespace hivq
