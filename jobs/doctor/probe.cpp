#include "jobs/doctor/probe.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "common/process.h"
#include "jobs/cli/interrupt.h"

namespace hivq::doctor {

namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr size_t most_output = 256 << 20;

/// A file descriptor that closes itself.
struct Open {
  explicit Open(int number) : fd(number) {}
  Open(const Open&) = delete;
  ~Open() {
    if (fd >= 0) close(fd);
  }
  int fd;
};

std::string all_of(int fd) {
  std::string text;
  char buffer[4096];
  off_t at = 0;
  for (ssize_t got = 0; text.size() < most_output && (got = pread(fd, buffer, sizeof buffer, at)) > 0; at += got) {
    text.append(buffer, static_cast<size_t>(got));
  }
  return text;
}

timeval time_of(std::chrono::milliseconds time) {
  const auto millis = std::max<int64_t>(1, time.count());
  return {static_cast<time_t>(millis / 1000), static_cast<suseconds_t>(millis % 1000 * 1000)};
}

/// A connection to host:port, whose every read and write is bounded too; −1.
int connect_to(const std::string& host, const std::string& port, std::chrono::milliseconds limit) {
  addrinfo wanted{}, *found = nullptr;
  wanted.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host.c_str(), port.c_str(), &wanted, &found) != 0) return -1;
  int connected = -1;
  for (const addrinfo* each = found; each != nullptr && connected < 0; each = each->ai_next) {
    const int fd = socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, each->ai_protocol);
    if (fd < 0) continue;
    const timeval time = time_of(limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);  // Linux: of connect() too
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    if (connect(fd, each->ai_addr, each->ai_addrlen) == 0) connected = fd;
    if (connected < 0) close(fd);
  }
  freeaddrinfo(found);
  return connected;
}

}  // namespace

Ran run_for(std::vector<std::string> command, std::chrono::milliseconds limit,
            std::map<std::string, std::string> environment) {
  // In memory: a folder for temporary files may be what is missing.
  const Open output(memfd_create("hivq-doctor", MFD_CLOEXEC));
  Ran ran;
  SpawnOptions options;
  options.command = std::move(command);
  options.environment = std::move(environment);
  options.output = fmt::format("/proc/self/fd/{}", output.fd);
  options.die_with_parent = true;
  const auto process = spawn(options);
  if (!process) {
    ran.problem = process.error().message;
    return ran;
  }
  ran.started = true;
  std::optional<Exit> exit;
  for (const auto end = SteadyClock::now() + limit; SteadyClock::now() < end && cli::interrupted() == 0;) {
    if ((exit = try_wait(*process))) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ran.in_time = exit.has_value();
  if (exit) ran.code = exit->code;
  if (!exit) stop(*process, std::chrono::milliseconds(500));
  ran.output = all_of(output.fd);
  return ran;
}

bool port_is_free(uint16_t port) {
  const Open fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int yes = 1;
  setsockopt(fd.fd, SOL_SOCKET, SO_REUSEADDR, &yes,
             sizeof yes);  // as a coordinator does: closed connections may linger
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return fd.fd >= 0 && bind(fd.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
         listen(fd.fd, 1) == 0;
}

std::optional<HttpAnswer> http_get(const std::string& url, std::chrono::milliseconds limit) {
  constexpr std::string_view scheme = "http://";
  if (!url.starts_with(scheme)) return std::nullopt;
  const size_t slash = std::min(url.find('/', scheme.size()), url.size());
  std::string host = url.substr(scheme.size(), slash - scheme.size());
  const size_t colon = host.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  const std::string port = host.substr(colon + 1), authority = host;
  host.resize(colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const Open connection(connect_to(host, port, limit));
  if (connection.fd < 0) return std::nullopt;
  const std::string question = fmt::format("GET {} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n",
                                           slash < url.size() ? url.substr(slash) : "/", authority);
  if (send(connection.fd, question.data(), question.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(question.size())) {
    return std::nullopt;
  }
  std::string text;
  char buffer[4096];
  const auto end = SteadyClock::now() + limit;
  ssize_t got = 0;
  while (text.size() < most_output && SteadyClock::now() < end &&
         (got = recv(connection.fd, buffer, sizeof buffer, 0)) > 0) {
    text.append(buffer, static_cast<size_t>(got));
  }
  const size_t body = text.find("\r\n\r\n");
  if (!text.starts_with("HTTP/1.") || body == std::string::npos || text.size() < 12) return std::nullopt;
  return HttpAnswer{std::atoi(text.c_str() + 9), text.substr(body + 4)};
}

}  // namespace hivq::doctor
