#include "coordinator/server.h"

#include <unistd.h>

#include <deque>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cluster/launcher.h"
#include "common/process.h"
#include "common/transport.h"
#include "coordinator/queries.h"
#include "coordinator/sql_service.h"
#include "coordinator/store.h"

namespace hivq {

namespace {

using std::chrono::milliseconds;

constexpr auto poll_time = milliseconds(50);
constexpr auto sql_poll_time = milliseconds(2);  // while an answer in SQL is awaited
constexpr Millis tick_time = 200;
constexpr size_t round_messages = 256;            // inputs of one commit …
constexpr size_t round_bytes = size_t{64} << 20;  // … and their size, about

std::string address_file(const std::string& data) { return data + "/coordinator.json"; }

/// The port of the last run in this folder; 0 where there was none.
int last_port(const std::string& data) {
  std::ifstream file(address_file(data));
  auto json = nlohmann::json::parse(file, nullptr, false);
  if (!json.is_object() || !json.contains("endpoint") || !json["endpoint"].is_string()) return 0;
  std::string endpoint = json["endpoint"];
  return std::atoi(endpoint.c_str() + endpoint.rfind(':') + 1);
}

/// Where the port is free to choose, gangs that train find a restarted coordinator only at its old port.
Result<Router> bind(const ServerOptions& options) {
  if (options.listen.ends_with(":0")) {
    if (int port = last_port(options.data); port != 0) {
      auto router = Router::bind(options.listen.substr(0, options.listen.size() - 1) + std::to_string(port));
      if (router) return router;
    }
  }
  return Router::bind(options.listen);
}

Status write_address(const std::string& data, const std::string& endpoint) {
  ProcessId self = process_of(getpid());
  nlohmann::json json{{"endpoint", endpoint}, {"pid", self.pid}, {"start_time", self.start_time}};
  std::string path = address_file(data), part = path + ".part";
  {
    std::ofstream file(part);
    file << json.dump() << '\n';
    if (!file.flush()) return error("cannot write {}: free space there, or choose another folder with --data", part);
  }
  std::error_code failed;
  std::filesystem::rename(part, path, failed);
  if (failed) return error("cannot write {}: {}", path, failed.message());
  return {};
}

class Server {
 public:
  Server(Store store, Router router, std::unique_ptr<Launcher> launcher, const Log& log)
      : store_(std::move(store)), router_(std::move(router)), launcher_(std::move(launcher)), log_(log) {}

  Status start(const CoreOptions& options) {
    auto snapshot = store_.snapshot();
    if (!snapshot) return snapshot.error();
    for (const auto& launch : snapshot->launches) {
      if (launch.pid != 0) {
        launcher_->adopt({launch.id, {static_cast<pid_t>(launch.pid), launch.start_time}});
      } else {
        inputs_.push_back(LaunchEnded{launch.id, "the coordinator ended while it was being started"});
      }
    }
    core_.emplace(options, std::move(*snapshot), clock_.now(), effects_);
    return finish_round();
  }

  Status run(const std::atomic<bool>& stop) {
    while (!stop) {
      collect();
      for (; !inputs_.empty(); inputs_.pop_front()) core_->step(inputs_.front(), clock_.now(), effects_);
      if (auto done = finish_round(); !done) return done;
    }
    return {};
  }

  /// The gangs that this coordinator launched end with it; those started by hand wait for its return.
  void end_gangs() {
    for (const auto& [id, gang] : core_->gangs()) {
      if (!gang.hello.launch.empty()) router_.send(id, encode({0, Leave{"the coordinator ends"}}));
    }
    launcher_->stop_all();
  }

 private:
  /// Gathers what has come in until now: at least until one message is there or the poll time is over.
  void collect() {
    size_t bytes = 0;
    auto timeout = !inputs_.empty() ? milliseconds(0) : sql_.busy() ? sql_poll_time : poll_time;
    for (size_t count = 0; count < round_messages && bytes < round_bytes; ++count) {
      auto incoming = router_.receive(timeout);
      if (!incoming) break;
      timeout = milliseconds(0);
      bytes += incoming->bytes.size();
      take(std::move(*incoming));
    }
    for (auto& exit : launcher_->poll()) inputs_.push_back(LaunchEnded{std::move(exit.launch), std::move(exit.reason)});
    if (clock_.now() >= next_tick_) {
      inputs_.push_back(Tick{});
      next_tick_ = clock_.now() + tick_time;
    }
  }

  void take(Router::Incoming incoming) {
    auto message = decode(incoming.bytes);
    if (!message) {
      log_.warning("a message that cannot be read was dropped: {}", message.error().message);
      router_.send(incoming.identity, encode({0, Failed{message.error().message}}));
    } else if (auto* question = std::get_if<QuerySql>(&message->body)) {
      sql_.ask({std::move(incoming.identity), message->id, std::move(*question)});
    } else if (is_query(message->body)) {
      questions_.push_back({std::move(incoming.identity), std::move(*message)});
    } else {
      inputs_.push_back(Received{std::move(incoming.identity), std::move(*message)});
    }
  }

  /// Commits the round, and then lets out what it decided.
  Status finish_round() {
    if (auto committed = store_.commit(effects_.writes); !committed) return committed;
    Effects effects = std::exchange(effects_, {});
    for (const auto& line : effects.log) log_.info("{}", line);
    for (const auto& send : effects.sends) router_.send(send.identity, encode(send.message));
    for (const auto& launch : effects.launches) {
      auto launched = launcher_->launch({launch.launch, launch.ranks});
      if (launched) {
        inputs_.push_back(LaunchStarted{launch.launch, launched->process.pid, launched->process.start_time});
      } else {
        inputs_.push_back(LaunchEnded{launch.launch, launched.error().message});
      }
    }
    for (const auto& launch : effects.stops) launcher_->stop(launch);
    for (auto& [peer, message] : sql_.take()) router_.send(peer, encode(message));
    for (auto& [identity, message] : std::exchange(questions_, {})) {
      router_.send(identity, encode({message.id, answer(message.body, store_, *core_)}));
    }
    return {};
  }

  SystemClock clock_;
  Store store_;
  SqlService sql_{store_};
  Router router_;
  std::unique_ptr<Launcher> launcher_;
  const Log& log_;
  std::optional<Core> core_;
  std::deque<Input> inputs_;
  std::vector<Received> questions_;  // of this round; answered from what it committed
  Effects effects_;
  Millis next_tick_ = 0;
};

}  // namespace

Status serve(const ServerOptions& given, const std::atomic<bool>& stop, const Log& log) {
  ServerOptions options = given;
  options.data = std::filesystem::absolute(given.data).lexically_normal().string();
  // The store first: its lock tells whether another coordinator has the folder.
  auto store = Store::open(options.data);
  if (!store) return store.error();
  auto router = bind(options);
  if (!router) return router.error();
  std::string endpoint = router->endpoint();
  auto launcher = make_mpirun_launcher({options.worker, endpoint, options.data});
  Server server(std::move(*store), std::move(*router), std::move(launcher), log);
  if (auto started = server.start(options.core); !started) return started;
  if (auto written = write_address(options.data, endpoint); !written) return written;
  log.info("listening on {}; data in {}", endpoint, options.data);
  auto ended = server.run(stop);
  server.end_gangs();
  if (ended) log.info("ended in order");
  return ended;
}

}  // namespace hivq
