#include "coordinator/server.h"

#include <unistd.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <future>

#include "cluster/launcher.h"
#include "common/coordinator_file.h"
#include "common/process.h"
#include "common/transport.h"
#include "coordinator/garbage.h"
#include "coordinator/http/front.h"
#include "coordinator/queries.h"
#include "coordinator/snapshot.h"
#include "coordinator/sql_service.h"
#include "coordinator/store.h"
#include "coordinator/store_readers.h"
#include "coordinator/watchers.h"

namespace hivq {

namespace {

using std::chrono::milliseconds;

constexpr auto poll_time = milliseconds(50);
constexpr auto answer_poll_time = milliseconds(1);  // while a thread is about to answer
constexpr Millis tick_time = 200;
constexpr Millis retry_time = 1000;               // between two looks whether a full disk has space
constexpr Millis cleaning_time = 5000;            // between two looks for garbage
constexpr size_t round_messages = 256;            // inputs of one commit …
constexpr size_t round_bytes = size_t{64} << 20;  // … and their size, about

/// The number behind the last colon; 0 where there is none.
int port_of(const std::string& address) {
  const size_t colon = address.rfind(':');
  return colon == std::string::npos ? 0 : std::atoi(address.c_str() + colon + 1);
}

/// Where the port is free to choose, gangs that train find a restarted coordinator only at its old port.
Result<Router> bind(const ServerOptions& options) {
  if (options.listen.ends_with(":0")) {
    const auto last = read_coordinator_file(options.data);
    if (const int port = last ? port_of(last->endpoint) : 0; port != 0) {
      auto router = Router::bind(options.listen.substr(0, options.listen.size() - 1) + std::to_string(port));
      if (router) return router;
    }
  }
  return Router::bind(options.listen);
}

/// Nothing where there is to be none. As the coordinator's, a free port stays the same over restarts where it can.
Result<std::unique_ptr<Front>> open_front(const ServerOptions& options, const std::string& endpoint, const Log& log) {
  if (options.http == "off") return std::unique_ptr<Front>();
  FrontOptions wanted;
  const size_t host = std::string_view("tcp://").size(), colon = endpoint.rfind(':');
  const std::string bound = endpoint.substr(host, colon - host);
  wanted.coordinator = bound == "0.0.0.0" || bound == "*" ? "tcp://127.0.0.1" + endpoint.substr(colon) : endpoint;
  if (!options.http.empty()) wanted.listen = options.http;
  const bool any = options.http.empty() && options.listen.ends_with(":0");
  if (!any) return start_front(wanted, log);
  const auto last = read_coordinator_file(options.data);
  wanted.listen = fmt::format("http://127.0.0.1:{}", last ? port_of(last->http) : 0);
  auto front = start_front(wanted, log);
  if (front) return front;
  wanted.listen = "http://127.0.0.1:0";
  return start_front(wanted, log);
}

std::string type_of(const Body& body) {
  return std::visit([](const auto& alternative) { return std::string(std::decay_t<decltype(alternative)>::type); },
                    body);
}

Input input_of(LaunchEvent event) {
  if (auto* started = std::get_if<LaunchHandle>(&event)) return LaunchStarted{started->launch, started->handle};
  if (auto* waits = std::get_if<LaunchProgress>(&event)) return LaunchWaits{waits->launch, waits->queued, waits->text};
  const auto& exit = std::get<LaunchExit>(event);
  return LaunchEnded{exit.launch, exit.reason, exit.blameless};
}

/// Those of the options, and `local`.
std::vector<PoolSpec> all_pools(const ServerOptions& options) {
  std::vector<PoolSpec> pools = options.pools;
  const auto is_local = [](const PoolSpec& spec) { return spec.pool.name == Pool().name; };
  if (std::any_of(pools.begin(), pools.end(), is_local)) return pools;
  PoolSpec local;
  local.pool.maximum = options.local_gangs;
  local.pool.default_ranks = options.local_ranks;
  pools.insert(pools.begin(), std::move(local));
  return pools;
}

/// Where gangs on other machines find the coordinator.
std::string advertised(const ServerOptions& options, const std::string& endpoint) {
  if (!options.advertise.empty()) return options.advertise;
  const size_t host = std::string_view("tcp://").size(), colon = endpoint.rfind(':');
  const std::string bound = endpoint.substr(host, colon - host);
  if (bound != "0.0.0.0" && bound != "*" && bound != "[::]") return endpoint;
  char name[256] = "localhost";
  gethostname(name, sizeof name - 1);
  return fmt::format("tcp://{}{}", name, endpoint.substr(colon));
}

/// What a client asks the core to change; each has an answer.
bool is_wish(const Body& body) {
  return std::holds_alternative<Submit>(body) || std::holds_alternative<Cancel>(body) ||
         std::holds_alternative<SetPaused>(body) || std::holds_alternative<SetPriority>(body) ||
         std::holds_alternative<SetDrained>(body) || std::holds_alternative<Pin>(body) ||
         std::holds_alternative<AttachFigure>(body) || std::holds_alternative<AskTrial>(body) ||
         std::holds_alternative<SuggestValue>(body) || std::holds_alternative<ReportTrial>(body) ||
         std::holds_alternative<EndTrial>(body);
}

class Server {
 public:
  Server(const ServerOptions& options, Store store, Router router, std::unique_ptr<Launcher> launcher, const Log& log)
      : options_(options),
        store_(std::move(store)),
        router_(std::move(router)),
        launcher_(std::move(launcher)),
        log_(log),
        readers_(options.garbage_grace),
        watchers_(static_cast<uint64_t>(clock_.now())) {}

  Status start() {
    auto snapshot = store_.snapshot();
    if (!snapshot) return snapshot.error();
    for (const auto& launch : snapshot->launches) {
      launcher_->adopt({launch.id, launch.handle, launch.ranks, launch.pool});
    }
    CoreOptions with_store = options_.core;
    with_store.ended_job = [this](JobId job) { return read_ended_job(store_, job); };
    with_store.ended_trial = [this](const TrialId& trial) { return read_ended_trial(store_, trial); };
    core_.emplace(
        with_store, std::move(*snapshot), [this](const TrialId& trial) { return read_checkpoints(store_, trial); },
        clock_.now(), effects_);
    return finish_round();
  }

  Status run(const std::atomic<bool>& stop) {
    while (!stop) {
      if (auto done = round(); !done) return done;
    }
    return {};
  }

  /// The gangs that this coordinator launched give their trials back, where there is time, and end with it; those
  /// started by hand wait for its return.
  Status end() {
    inputs_.push_back(Closing{});
    const Millis until = clock_.now() + options_.farewell;
    Status done = round();
    while (done && core_->local_gangs_busy() && clock_.now() < until) done = round();
    for (const auto& [id, gang] : core_->gangs()) {
      if (core_->ends_with_us(gang)) router_.send(id, encode({0, Leave{"the coordinator ends"}}));
    }
    launcher_->close();
    if (backup_.under_way()) backup_.wait();
    answer_backup();
    return done;
  }

 private:
  Status round() {
    collect();
    if (full_) return try_again();
    for (; !inputs_.empty(); inputs_.pop_front()) core_->step(inputs_.front(), clock_.now(), effects_);
    return finish_round();
  }

  /// Gathers what has come in until now: at least until one message is there or the poll time is over. What is beyond
  /// a round's size stays in the sockets, whose senders have only so much credit.
  void collect() {
    size_t bytes = 0;
    const bool ready = !inputs_.empty() && !full_;
    auto timeout = ready ? milliseconds(0) : sql_.busy() || reading_.busy() ? answer_poll_time : poll_time;
    for (size_t count = 0; count < round_messages && bytes < round_bytes; ++count) {
      auto incoming = router_.receive(timeout);
      if (!incoming) break;
      timeout = milliseconds(0);
      bytes += incoming->bytes.size();
      take(std::move(*incoming));
    }
    for (LaunchEvent& event : launcher_->poll()) inputs_.push_back(input_of(std::move(event)));
    answer_backup();
    const Millis now = clock_.now();
    if (now < next_tick_) return;
    if (!full_) inputs_.push_back(Tick{});
    next_tick_ = now + tick_time;
    low_ = store_.free_bytes() < options_.reserve_bytes;
  }

  void take(Router::Incoming incoming) {
    auto message = decode(incoming.bytes);
    const Millis now = clock_.now();
    if (!message) {
      log_.warning("a message that cannot be read was dropped: {}", message.error().message);
      return tell(incoming.identity, 0, Failed{message.error().message});
    }
    const Body& body = message->body;
    if (auto* chunk = std::get_if<FetchChunk>(&body)) readers_.read(chunk->hash, now);
    if (auto* question = std::get_if<QuerySql>(&message->body)) {
      sql_.ask({std::move(incoming.identity), message->id, std::move(*question)});
    } else if (is_query(body)) {
      questions_.push_back({std::move(incoming.identity), std::move(*message)});
    } else if (auto* watch = std::get_if<Watch>(&body)) {
      watchers_.add(incoming.identity, message->id, *watch, now);
    } else if (auto* backup = std::get_if<Backup>(&body)) {
      start_backup(incoming.identity, message->id, *backup);
    } else if (full_) {
      turn_away(incoming.identity, *message);
    } else if (low_ && std::holds_alternative<Submit>(body)) {
      tell(incoming.identity, message->id,
           Failed{fmt::format("the disk of {} is almost full: free space there, then submit the job again; what runs "
                              "goes on",
                              options_.data)});
    } else {
      if (auto* beat = std::get_if<Heartbeat>(&body)) watchers_.note(*beat);
      inputs_.push_back(Received{std::move(incoming.identity), std::move(*message)});
    }
  }

  /// While the disk is full: gangs keep what they have to report and send it again, clients hear why.
  void turn_away(const std::string& peer, const Message& message) {
    if (std::holds_alternative<Heartbeat>(message.body)) return tell(peer, 0, Heard{1});
    if (!is_wish(message.body)) return;
    tell(peer, message.id,
         Failed{fmt::format("the disk of {} is full, so '{}' cannot be kept: free space there and try again; nothing "
                            "that was acknowledged is lost, and the coordinator goes on by itself",
                            options_.data, type_of(message.body))});
  }

  /// The round that could not be committed is committed once there is space; until then the core stands still.
  Status try_again() {
    answer_questions();
    if (clock_.now() < next_try_) return {};
    next_try_ = clock_.now() + retry_time;
    if (!store_.resume()) return {};
    full_ = false;
    auto done = finish_round();
    if (done && !full_) log_.info("there is space on the disk again: going on");
    return done;
  }

  /// Commits the round, and then lets out what it decided.
  Status finish_round() {
    if (auto committed = store_.commit(effects_.writes); !committed) {
      if (!store_.full()) return committed;
      log_.error("{}; waiting for space", committed.error().message);
      full_ = true;
      next_try_ = clock_.now() + retry_time;
      return {};
    }
    watchers_.note(effects_.writes);
    Effects effects = std::exchange(effects_, {});
    for (const auto& line : effects.log) log_.info("{}", line);
    for (const auto& send : effects.sends) router_.send(send.identity, encode(send.message));
    for (const auto& launch : effects.launches) {
      launcher_->launch({launch.launch, launch.ranks, launch.pool});
    }
    for (const auto& launch : effects.stops) launcher_->stop(launch);
    answer_questions();
    return clean_up();
  }

  void answer_questions() {
    for (auto& [peer, message] : sql_.take()) router_.send(peer, encode(message));
    for (auto& answered : reading_.take()) router_.send(answered.peer, answered.bytes);
    for (auto& [identity, message] : std::exchange(questions_, {})) {
      if (reads_store_alone(message.body)) {
        reading_.ask(std::move(identity), std::move(message));
        continue;
      }
      Body said = answer(message.body, store_, *core_);
      // Its chunks stay while they are fetched.
      if (auto* found = std::get_if<TrialCheckpoint>(&said)) readers_.begin(found->manifest.chunks, clock_.now());
      tell(identity, message.id, std::move(said));
    }
    for (auto& [identity, id, changed] : watchers_.due(clock_.now())) tell(identity, id, changed);
  }

  /// Garbage goes between two rounds.
  Status clean_up() {
    const Millis now = clock_.now();
    if (now < next_cleaning_) return {};
    next_cleaning_ = now + cleaning_time;
    readers_.forget(now);
    auto writes = collect_garbage(store_, readers_, now, options_.garbage_grace);
    if (!writes) return writes.error();
    auto done = store_.commit(*writes);
    if (done || !store_.full()) return done;
    full_ = true;  // the garbage is looked for again later; the round itself is whole
    return {};
  }

  // ---- Backup: copied by a thread of its own, while rounds go on ----

  void start_backup(const std::string& peer, uint64_t id, const Backup& wish) {
    if (wish.folder.empty() || wish.folder.front() != '/') {
      return tell(peer, id, Failed{"a backup's folder must be an absolute path on the coordinator's machine"});
    }
    if (backup_.under_way() && (backup_.folder != wish.folder)) {
      return tell(peer, id, Failed{fmt::format("a backup into {} is under way; wait for it", backup_.folder)});
    }
    backup_.askers[peer] = id;
    if (backup_.under_way()) return;
    log_.info("a backup into {} begins", wish.folder);
    backup_.folder = wish.folder;
    backup_.result = std::async(std::launch::async, [this, folder = wish.folder] { return store_.backup(folder); });
  }

  void answer_backup() {
    if (!backup_.under_way() || backup_.result.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return;
    auto done = backup_.result.get();
    log_.info("{}", done ? fmt::format("backup {} in {}: {} bytes", done->number, backup_.folder, done->bytes)
                         : done.error().message);
    for (const auto& [peer, id] : std::exchange(backup_.askers, {})) {
      tell(peer, id, done ? Body(BackedUp{done->number, done->bytes}) : Body(Failed{done.error().message}));
    }
  }

  void tell(const std::string& peer, uint64_t id, Body body) { router_.send(peer, encode({id, std::move(body)})); }

  struct BackupUnderWay {
    std::string folder;
    std::map<std::string, uint64_t> askers;  // their last request
    std::future<Result<Store::BackupInfo>> result;
    bool under_way() const { return result.valid(); }
    void wait() const { result.wait(); }
  };

  SystemClock clock_;
  const ServerOptions& options_;
  Store store_;
  SqlService sql_{store_};
  StoreReaders reading_{store_};
  Router router_;
  std::unique_ptr<Launcher> launcher_;
  const Log& log_;
  std::optional<Core> core_;
  std::deque<Input> inputs_;
  std::vector<Received> questions_;  // of this round; answered from what it committed
  Effects effects_;
  ChunkReaders readers_;
  Watchers watchers_;
  BackupUnderWay backup_;
  bool full_ = false;  // effects_ wait to be committed
  bool low_ = false;   // little space is left
  Millis next_tick_ = 0, next_try_ = 0, next_cleaning_ = 0;
};

}  // namespace

std::optional<std::string> running_endpoint(const std::string& data) {
  auto file = live_coordinator(data);
  return file ? std::optional(std::move(file->endpoint)) : std::nullopt;
}

Status serve(const ServerOptions& given, const std::atomic<bool>& stop, const Log& log) {
  ServerOptions options = given;
  options.data = std::filesystem::absolute(given.data).lexically_normal().string();
  // The store first: its lock tells whether another coordinator has the folder.
  auto store = Store::open(options.data);
  if (!store) return store.error();
  auto router = bind(options);
  if (!router) return router.error();
  std::string endpoint = router->endpoint();
  const std::vector<PoolSpec> pools = all_pools(options);
  const LauncherOptions launching{options.worker, endpoint, advertised(options, endpoint), options.data};
  auto launcher = make_launcher(pools, launching, log);
  if (!launcher) return launcher.error();
  for (const PoolSpec& spec : pools) {
    options.core.pools.push_back(spec.pool);
    const bool elsewhere = !std::holds_alternative<MpirunPool>(spec.engine);
    if (elsewhere && (launching.advertise.find("//127.") != std::string::npos ||
                      launching.advertise.find("//localhost") != std::string::npos)) {
      log.warning(
          "gangs of pool {} are told to connect to {}, which is another machine's own address there: use "
          "--listen tcp://0.0.0.0:4487, or --advertise",
          spec.pool.name, launching.advertise);
    }
  }
  Server server(options, std::move(*store), std::move(*router), std::move(*launcher), log);
  if (auto started = server.start(); !started) return started;
  auto front = open_front(options, endpoint, log);
  if (!front) return front.error();
  const std::string http = *front ? (*front)->address() : "";
  if (auto written = write_coordinator_file(options.data, {endpoint, process_of(getpid()), http}); !written) {
    return written;
  }
  log.info("listening on {}; data in {}", endpoint, options.data);
  if (!http.empty()) log.info("dashboard at {}", http);
  auto ended = server.run(stop);
  front->reset();
  const auto left = server.end();
  if (ended) ended = left;
  if (ended) log.info("ended in order");
  return ended;
}

}  // namespace hivq
