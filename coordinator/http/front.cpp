#include "coordinator/http/front.h"

#include <httplib.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <charconv>
#include <regex>
#include <thread>

#include "common/sha256.h"
#include "coordinator/http/api.h"
#include "coordinator/http/assets.h"
#include "coordinator/http/connection.h"

namespace hivq {

namespace {

using httplib::Request;
using httplib::Response;
using Handled = httplib::Server::HandlerResponse;

constexpr std::string_view kBearer = "Bearer ";
constexpr const char* kSession = "hivq_session";
constexpr double kGuesses = 60;

struct Address {
  std::string scheme, host;
  int port = 0;
};
Result<Address> parse_address(const std::string& address) {
  const size_t host = address.find("://") + 3, colon = address.rfind(':');
  Address parsed;
  if ((address.starts_with("http://") || address.starts_with("https://")) && colon != std::string::npos &&
      colon > host) {
    parsed.scheme = address.substr(0, host);
    parsed.host = address.substr(host, colon - host);
    const char *begin = address.data() + colon + 1, *end = address.data() + address.size();
    const auto [rest, failed] = std::from_chars(begin, end, parsed.port);
    if (failed == std::errc() && rest == end && begin != end && parsed.port >= 0 && parsed.port < 65536) return parsed;
  }
  return error("--http {}: it must be http://HOST:PORT or https://HOST:PORT, such as http://127.0.0.1:4488, or off",
               address);
}

/// `host:port` without the port.
std::string_view without_port(std::string_view host) {
  const size_t colon = host.rfind(':');
  return colon == std::string_view::npos || host.ends_with(']') ? host : host.substr(0, colon);
}

class HttpFront final : public Front {
 public:
  HttpFront(const FrontOptions& options, std::shared_ptr<TlsContext> tls, const Log& log)
      : options_(options),
        log_(log),
        tls_(tls != nullptr),
        pool_(options.coordinator, credentials(options.gate), ending_),
        server_(std::move(tls), limits(options), options.gate != nullptr, options.refused) {}

  ~HttpFront() override {
    ending_ = true;
    server_.stop();
    if (thread_.joinable()) thread_.join();
  }

  const std::string& address() const override { return address_; }

  Status start() {
    const auto wanted = parse_address(options_.listen);
    if (!wanted) return wanted.error();
    loopback_ = is_loopback(wanted->host) && options_.gate == nullptr;
    server_.new_task_queue = [threads = options_.threads] { return new httplib::ThreadPool(threads); };
    server_.set_keep_alive_max_count(100'000);
    server_.set_keep_alive_timeout(2);  // the server's end waits for idle connections
    server_.set_tcp_nodelay(true);
    // The library's own option would let two coordinators have one port.
    server_.set_socket_options([this](socket_t socket) {
      const int yes = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
      socket_ = socket;
    });
    server_.set_default_headers({{"X-Content-Type-Options", "nosniff"},
                                 {"X-Frame-Options", "DENY"},
                                 {"Referrer-Policy", "no-referrer"},
                                 {"Cross-Origin-Resource-Policy", "same-origin"},
                                 {"Cross-Origin-Opener-Policy", "same-origin"},
                                 {"Content-Security-Policy",
                                  "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
                                  "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"}});
    server_.set_pre_routing_handler([this](const Request& request, Response& response) {
      ConnectionServer::head_ended();
      // The library would cut any answer by the ranges that it has read, also beyond its end, under the status 200.
      // Checkpoints look at the header themselves; whoever else is asked for a part may answer with the whole.
      const_cast<Request&>(request).ranges.clear();
      // Without either header a request has no body (RFC 9112, section 6.3); the library would wait for its end.
      if (!request.has_header("Content-Length") && !request.has_header("Transfer-Encoding")) {
        const_cast<Request&>(request).headers.emplace("Content-Length", "0");
      }
      auto refused = refuse(request);
      if (!refused && options_.gate != nullptr) refused = authenticate(request, response);
      // A body that is not read would be taken for the next request.
      const bool has_body =
          request.get_header_value("Content-Length") != "0" || request.has_header("Transfer-Encoding");
      if (has_body && (refused || request.method == "GET")) response.set_header("Connection", "close");
      if (!refused) return Handled::Unhandled;
      put(*refused, response);
      if (refused->status == 405) response.set_header("Allow", allowed(request.path));
      return Handled::Handled;
    });
    server_.set_exception_handler([this](const Request& request, Response& response, std::exception_ptr thrown) {
      try {
        std::rethrow_exception(thrown);
      } catch (const std::exception& e) {
        log_.error("{} {} failed: {}", request.method, request.path, e.what());
      }
      put(problem(500, "this is a defect of hivq; the coordinator's log tells more"), response);
    });
    server_.set_error_handler([this](const Request& request, Response& response) { explain(request, response); });
    add_routes();

    int port = wanted->port;
    if (port == 0) {
      port = server_.bind_to_any_port(wanted->host);
    } else if (!server_.bind_to_port(wanted->host, port)) {
      port = -1;
    }
    if (port <= 0) {
      return error(
          "cannot listen on {}: the port is in use or the address is not this machine's; choose another with "
          "--http http://HOST:PORT, or --http off",
          options_.listen);
    }
    listen(socket_, SOMAXCONN);  // the library's 5 make a sixth that comes at once wait for a second
    address_ = fmt::format("{}{}:{}", wanted->scheme, wanted->host, port);
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    return {};
  }

 private:
  /// What is answered before the body is read. A page of another site must reach neither a coordinator on its reader's
  /// own machine by a name that it made point there (DNS rebinding), nor change anything (CSRF).
  std::optional<Reply> refuse(const Request& request) const {
    const std::string host = request.get_header_value("Host"), origin = request.get_header_value("Origin");
    if (loopback_ && !is_loopback(without_port(host))) {
      ConnectionServer::refuse("it asked for another host than localhost");
      return problem(403, fmt::format("this coordinator answers to localhost only, not to '{}'", host));
    }
    if (request.method != "GET" && request.method != "HEAD" && !origin.empty() && origin != "http://" + host &&
        origin != "https://" + host) {
      ConnectionServer::refuse("a page of another site asked for a change");
      return problem(403, "a page of another site cannot change anything here");
    }
    // The library would unpack it, to any size.
    const auto [encoding, encodings_end] = request.headers.equal_range("Content-Encoding");
    if (std::any_of(encoding, encodings_end, [](const auto& header) { return !is_identity(header.second); })) {
      ConnectionServer::refuse("its request is compressed");
      return problem(415, "a request is sent as it is, without Content-Encoding");
    }
    const std::string methods = allowed(request.path), method = request.method == "HEAD" ? "GET" : request.method;
    if (methods.empty()) {
      return problem(404, fmt::format("there is no {}; /api/v1/openapi.yaml describes what there is", request.path));
    }
    if (methods.find(method) == std::string::npos) return not_here(request.method, methods);
    return std::nullopt;
  }

  /// Names of encodings are written in any case (RFC 9110, section 8.4.1).
  static bool is_identity(const std::string& encoding) {
    constexpr std::string_view identity = "identity";
    return std::equal(encoding.begin(), encoding.end(), identity.begin(), identity.end(),
                      [](unsigned char a, char b) { return std::tolower(a) == b; });
  }

  static ConnectionLimits limits(const FrontOptions& options) {
    ConnectionLimits limits;
    limits.body = options.body_bytes;
    return limits;
  }

  static std::optional<Credentials> credentials(const Gate* gate) {
    if (gate == nullptr) return std::nullopt;
    return Credentials{gate->inner(), gate->own().public_key};
  }

  // ---- Who asks ----

  /// Pages and files that hold nothing of the store, and what tells whether the coordinator lives.
  bool is_open(const std::string& path) const {
    return path == "/" || path.starts_with("/assets/") || path == "/healthz" || path == "/readyz" ||
           path == "/api/v1/openapi.yaml" || (path == "/metrics" && options_.open_metrics);
  }

  /// A refusal; nothing where the request may go on, for the user of its token.
  std::optional<Reply> authenticate(const Request& request, Response& response) {
    ClientPool::speak_for("");
    const std::string bearer = request.get_header_value("Authorization"), cookie = session_cookie(request);
    const bool shown = bearer.starts_with(kBearer);
    const std::string& from = request.remote_addr;
    const Millis now = wall_clock();
    if (is_open(request.path)) {
      // The files of a page that somebody is signed in at may come over one connection.
      if (options_.gate->by_session(cookie, now)) ConnectionServer::prove();
      return std::nullopt;
    }
    const auto person =
        shown ? options_.gate->by_token(bearer.substr(kBearer.size())) : options_.gate->by_session(cookie, now);
    if (!person) {
      response.set_header("WWW-Authenticate", "Bearer realm=\"hivq\"");
      if (!shown && cookie.empty())
        return problem(401,
                       "this coordinator asks for a token: Authorization: Bearer hivq_… (hivq keys token prints it)");
      ConnectionServer::refuse("its token is not known");
      {
        const std::lock_guard lock(mutex_);
        if (!guesses_.allow(from, now)) return problem(429, "too many wrong tokens: wait a minute");
      }
      return problem(
          401, shown ? "this token is not known, or its key is revoked" : "this session has ended: sign in again");
    }
    if (person->role == Role::gang) {
      ConnectionServer::refuse(fmt::format("{} is a gang, and the API is for users", person->name));
      return problem(403, fmt::format("not allowed: {} is a gang; the API is for users", person->name));
    }
    const bool changes = request.method != "GET" && request.method != "HEAD",
               session = request.path.starts_with("/api/v1/session");
    // A browser adds its cookie by itself, and the page's origin too: of another page's wish it is not ours (CSRF).
    if (changes && !shown && request.get_header_value("Origin").empty()) {
      ConnectionServer::refuse("a session asked for a change without the header Origin");
      return problem(403, "a change by a session must say the header Origin");
    }
    if (changes && !session && person->role < Role::submitter && !reads(request.path)) {
      ConnectionServer::refuse(fmt::format("{} is a viewer, and asked for a change", person->name));
      return problem(403,
                     fmt::format("not allowed: {} is a viewer, and a change needs the role submitter", person->name));
    }
    ConnectionServer::prove();
    ClientPool::speak_for(person->name);
    return std::nullopt;
  }

  /// What is asked by POST and changes nothing.
  static bool reads(const std::string& path) {
    return path.ends_with("/validate") || path.ends_with("/estimate") || path.ends_with("/query");
  }

  static std::string session_cookie(const Request& request) {
    const std::string cookies = "; " + request.get_header_value("Cookie"), name = fmt::format("; {}=", kSession);
    const size_t begin = cookies.find(name);
    if (begin == std::string::npos) return "";
    const size_t value = begin + name.size();
    return cookies.substr(value, cookies.find(';', value) - value);
  }

  /// The token becomes a cookie: what a page's pictures and streams are asked with.
  void add_session() {
    const auto add = [&](const std::string& method, const std::string& path, auto answer) {
      patterns_.emplace_back(method, std::regex(path));
      auto handler = [answer](const Request& request, Response& response) {
        response.set_header("Cache-Control", "no-store");
        answer(request, response);
      };
      method == "GET" ? server_.Get(path, handler) : server_.Post(path, handler);
    };
    const auto tell = [this](const Request& request, Response& response) { put(session_reply(request), response); };
    add("GET", "/api/v1/session", tell);
    add("POST", "/api/v1/session", [this, tell](const Request& request, Response& response) {
      if (const auto person = asking(request); person && options_.gate != nullptr) {
        set_cookie(response, options_.gate->session_of(*person, wall_clock()), 12 * 3600);
      }
      tell(request, response);
    });
    add("POST", "/api/v1/session/end", [this](const Request&, Response& response) {
      set_cookie(response, "", 0);
      put(json_reply({{"name", ""}, {"role", ""}}), response);
    });
  }

  std::optional<Person> asking(const Request& request) const {
    if (options_.gate == nullptr) return Person{"", Role::admin};
    const std::string bearer = request.get_header_value("Authorization");
    return bearer.starts_with(kBearer) ? options_.gate->by_token(bearer.substr(kBearer.size()))
                                       : options_.gate->by_session(session_cookie(request), wall_clock());
  }

  Reply session_reply(const Request& request) const {
    const auto person = asking(request);
    if (!person) return problem(401, "nobody is signed in");
    return json_reply({{"name", person->name}, {"role", to_string(person->role)}});
  }

  void set_cookie(Response& response, const std::string& value, int seconds) const {
    response.set_header("Set-Cookie", fmt::format("{}={}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{}", kSession,
                                                  value, seconds, tls_ ? "; Secure" : ""));
  }

  static Reply not_here(const std::string& method, const std::string& allowed) {
    return problem(405, fmt::format("{} is not possible here; {} is", method, allowed));
  }

  /// Methods that the path knows: `GET, POST`; empty: there is no such path.
  std::string allowed(const std::string& path) const {
    std::string methods;
    for (const auto& [method, pattern] : patterns_) {
      if (!std::regex_match(path, pattern) || methods.find(method) != std::string::npos) continue;
      methods += (methods.empty() ? "" : ", ") + method;
    }
    return methods;
  }

  void add_routes() {
    for (Route& route : routes_of_api(pool_, ending_)) {
      const std::string path = "/api/v1" + route.path;
      patterns_.emplace_back(route.method, std::regex(path));
      auto handler = [route = std::move(route)](const Request& request, Response& response) {
        if (route.stream) return route.stream(request, response);
        const Reply reply = route.answer(request);
        if (reply.status == 403) ConnectionServer::refuse("the coordinator does not allow its wish");
        put(reply, response);
        response.set_header("Cache-Control", "no-store");
      };
      if (patterns_.back().first == "GET") {
        server_.Get(path, std::move(handler));
      } else {
        server_.Post(path, std::move(handler));
      }
    }
    const auto get = [&](const std::string& path, auto answer) {
      patterns_.emplace_back("GET", std::regex(path));
      server_.Get(path, [answer](const Request& request, Response& response) { answer(request, response); });
    };
    get("/healthz", [](const Request&, Response& response) { response.set_content("ok\n", "text/plain"); });
    get("/readyz", [this](const Request&, Response& response) {
      const auto answer = pool_.ask<GangList>(QueryGangs{}, std::chrono::seconds(2));
      put(answer && *answer ? Reply{200, "text/plain", "ok\n"} : unavailable(), response);
    });
    get("/metrics", [this](const Request&, Response& response) { put(prometheus_metrics(pool_), response); });
    add_session();
    get("/", [this](const Request& request, Response& response) { send_asset("index.html", request, response); });
    get("/api/v1/openapi\\.yaml",
        [this](const Request& request, Response& response) { send_asset("openapi.yaml", request, response); });
    get("/assets/([A-Za-z0-9_.-]+)",
        [this](const Request& request, Response& response) { send_asset(request.matches[1], request, response); });
  }

  /// The browser keeps it and asks whether it is still the same.
  void send_asset(const std::string& name, const Request& request, Response& response) {
    const Asset* asset = find_asset(name);
    if (asset == nullptr) return put(problem(404, fmt::format("there is no file {}", name)), response);
    const std::string tag = '"' + sha256_hex(asset->bytes).substr(0, 16) + '"';
    response.set_header("ETag", tag);
    response.set_header("Cache-Control", "no-cache");
    if (request.get_header_value("If-None-Match") == tag) {
      response.status = 304;
      return;
    }
    response.set_content(asset->bytes.data(), asset->bytes.size(), std::string(asset->type));
  }

  /// What the library refuses by itself.
  void explain(const Request& request, Response& response) const {
    if (!response.body.empty() || response.status == 304) return;
    response.set_header("Connection", "close");  // what is left of the request is not read
    if (ConnectionServer::too_large()) response.status = 413;
    if (response.status == 413) ConnectionServer::refuse("its request is too large");
    // The library does not go on to the path where it does not know the method, and calls that 400.
    const std::string methods = allowed(request.target.substr(0, request.target.find('?')));
    if (response.status == 400 && !methods.empty() && methods.find(request.method) == std::string::npos) {
      response.set_header("Allow", methods);
      return put(not_here(request.method, methods), response);
    }
    put(problem(response.status, response.status == 413
                                     ? fmt::format("a request is {} bytes at most, and the headers before it {}",
                                                   options_.body_bytes, limits(options_).head)
                                 : response.status == 416 ? "the header Range is none of bytes, such as bytes=0-1023"
                                                          : "the request cannot be read"),
        response);
  }

  const FrontOptions options_;
  const Log& log_;
  const bool tls_;
  std::atomic<bool> ending_ = false;
  std::mutex mutex_;                              // guards guesses_
  RateLimit guesses_{kGuesses / 60.0, kGuesses};  // of an address: wrong tokens a minute
  ClientPool pool_;
  ConnectionServer server_;
  std::vector<std::pair<std::string, std::regex>> patterns_;  // by method
  std::string address_;
  socket_t socket_ = INVALID_SOCKET;
  bool loopback_ = true;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<Front>> start_front(const FrontOptions& options, const Log& log) {
  std::shared_ptr<TlsContext> tls;
  if (options.listen.starts_with("https://")) {
    auto context = TlsContext::open(options.tls);
    if (!context) return context.error();
    tls = std::move(*context);
  }
  auto front = std::make_unique<HttpFront>(options, std::move(tls), log);
  if (Status started = front->start(); !started) return started.error();
  return std::unique_ptr<Front>(std::move(front));
}

}  // namespace hivq
