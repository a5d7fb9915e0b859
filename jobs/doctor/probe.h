#pragma once

// Looking at the world for a while and no longer: programs, ports, HTTP.

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace hivq::doctor {

struct Ran {
  bool started = false, in_time = false;
  std::string problem;  // why it could not be started
  int code = -1;
  std::string output;  // standard output and error, at most 256 MiB
};

/// Runs a program; ends it, and what it started, when the time is over or the user interrupts.
Ran run_for(std::vector<std::string> command, std::chrono::milliseconds limit,
            std::map<std::string, std::string> environment = {});

/// Whether a program could listen on the port of 127.0.0.1 now.
bool port_is_free(uint16_t port);

struct HttpAnswer {
  int status = 0;
  std::string body;
};
/// GET of `http://HOST:PORT/path`; nothing where nobody answers in HTTP within the time.
std::optional<HttpAnswer> http_get(const std::string& url, std::chrono::milliseconds limit);

}  // namespace hivq::doctor
