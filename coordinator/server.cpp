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
#include "coordinator/door_log.h"
#include "coordinator/garbage.h"
#include "coordinator/gate.h"
#include "coordinator/http/front.h"
#include "coordinator/queries.h"
#include "coordinator/snapshot.h"
#include "coordinator/sql_service.h"
#include "coordinator/store.h"
#include "coordinator/store_readers.h"
#include "coordinator/watchers.h"
#include "jobs/client.h"

namespace hivq {

namespace {

using std::chrono::milliseconds;

constexpr auto poll_time = milliseconds(50);
constexpr auto answer_poll_time = milliseconds(1);  // while a thread is about to answer
constexpr Millis tick_time = 200;
constexpr Millis retry_time = 1000;     // between two looks whether a full disk has space
constexpr Millis cleaning_time = 5000;  // between two looks for garbage
constexpr Millis keys_time = 1000;      // between two looks whether the keys have changed
constexpr double requests_a_second = 2000, requests_at_once = 20'000;  // of a user
constexpr size_t round_messages = 256;                                 // inputs of one commit …
constexpr size_t round_bytes = size_t{64} << 20;                       // … and their size, about

/// The number behind the last colon; 0 where there is none.
int port_of(const std::string& address) {
  const size_t colon = address.rfind(':');
  return colon == std::string::npos ? 0 : std::atoi(address.c_str() + colon + 1);
}

/// Where the port is free to choose, gangs that train find a restarted coordinator only at its old port.
Result<Router> open_router(const ServerOptions& options, const std::optional<Admission>& admission) {
  if (options.listen.ends_with(":0")) {
    const auto last = read_coordinator_file(options.data);
    if (const int port = last ? port_of(last->endpoint) : 0; port != 0) {
      auto router = Router::bind(options.listen.substr(0, options.listen.size() - 1) + std::to_string(port), admission);
      if (router) return router;
    }
  }
  return Router::bind(options.listen, admission);
}

/// Nothing where there is to be none. As the coordinator's, a free port stays the same over restarts where it can.
Result<std::unique_ptr<Front>> open_front(const ServerOptions& options, const std::string& endpoint, const Gate* gate,
                                          DoorLog& door, const Log& log) {
  if (options.http == "off") return std::unique_ptr<Front>();
  FrontOptions wanted;
  wanted.tls = options.tls;
  wanted.gate = gate;
  wanted.refused = [&door](const std::string& address, const std::string& why) { door.note(address, why); };
  wanted.open_metrics = options.open_metrics;
  const size_t host = std::string_view("tcp://").size(), colon = endpoint.rfind(':');
  const std::string bound = endpoint.substr(host, colon - host);
  wanted.coordinator = bound == "0.0.0.0" || bound == "*" ? "tcp://127.0.0.1" + endpoint.substr(colon) : endpoint;
  if (!options.http.empty()) wanted.listen = options.http;
  if (wanted.listen.starts_with("https://") && wanted.tls.certificate.empty()) {
    auto made = own_certificate(gate != nullptr ? gate->keys() : options.data);
    if (!made) return made.error();
    wanted.tls = *made;
    if (auto print = fingerprint(made->certificate))
      log.info("its own certificate {} has the SHA-256 fingerprint {}", made->certificate, *print);
  }
  const bool any = options.http.empty() && options.listen.ends_with(":0");
  if (!any) return start_front(wanted, log);
  const auto last = read_coordinator_file(options.data);
  wanted.listen = fmt::format("http://127.0.0.1:{}", last ? port_of(last->http) : 0);
  auto front = start_front(wanted, log);
  if (front) return front;
  wanted.listen = "http://127.0.0.1:0";
  return start_front(wanted, log);
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
  /// `gate`: nullptr lets everyone in. `door`: whom it turned away, and the HTTP side.
  Server(const ServerOptions& options, Store store, Router router, std::unique_ptr<Launcher> launcher, Gate* gate,
         DoorLog& door, const Log& log)
      : options_(options),
        store_(std::move(store)),
        router_(std::move(router)),
        launcher_(std::move(launcher)),
        gate_(gate),
        door_(door),
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
    watch_the_door(now);
    low_ = store_.free_bytes() < options_.reserve_bytes;
  }

  void take(Router::Incoming incoming) {
    auto message = decode(incoming.bytes);
    const Millis now = clock_.now();
    if (!message) {
      log_.warning("a message that cannot be read was dropped: {}", message.error().message);
      return tell(incoming.identity, 0, Failed{message.error().message});
    }
    if (gate_ != nullptr && !let_in(incoming, *message, now)) return;
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

  // ---- Who may ----

  /// Whether the message may go on; its sender is answered if not. A wish becomes its sender's.
  bool let_in(const Router::Incoming& incoming, Message& message, Millis now) {
    const std::optional<Person> person = sender(incoming);
    if (!person) {
      refuse(incoming, message.id, "not allowed: this key is not known any more");
      return false;
    }
    if (person->role != Role::gang && !limit_.allow(person->name, now)) {
      tell(incoming.identity, message.id, Failed{"too many requests: wait a moment, then ask again"});
      return false;
    }
    Status allowed = may_send(*person, message.body);
    if (const auto job = job_of(message.body); allowed && job && person->role != Role::admin) {
      const auto owner = owner_of(*job);
      if (owner) allowed = may_change(*person, *job, *owner);  // of no such job the core tells
    }
    if (!allowed) {
      refuse(incoming, message.id, allowed.error().message);
      return false;
    }
    // Whose share a job takes is not for its sender to say, but for an operator.
    const auto put_name = [&](std::string& user) {
      if (person->role != Role::admin || user.empty()) user = person->name;
    };
    if (auto* wish = std::get_if<Submit>(&message.body)) put_name(wish->user);
    if (auto* question = std::get_if<EstimateJob>(&message.body)) put_name(question->user);
    const bool stored = !full_ && !(low_ && std::holds_alternative<Submit>(message.body));
    if (const std::string what = audit_text(message.body); !what.empty() && stored) {
      inputs_.push_back(
          Noted{fmt::format("{} ({}) from {}: {}", person->name, to_string(person->role), incoming.address, what)});
    }
    return true;
  }

  /// Of the HTTP side's own questions: a viewer.
  std::optional<Person> sender(const Router::Incoming& incoming) const {
    if (incoming.key != gate_->inner().public_key) return gate_->by_key(incoming.key);
    const size_t mark = incoming.identity.find(behalf_mark);
    if (mark == std::string::npos) return Person{"http", Role::viewer};
    return gate_->by_name(incoming.identity.substr(mark + 1));
  }

  void refuse(const Router::Incoming& incoming, uint64_t id, const std::string& why) {
    door_.note(incoming.address, why);
    tell(incoming.identity, id, Failed{why});
  }

  std::optional<std::string> owner_of(JobId job) const {
    if (const JobRow* open = core_->open_job(job)) return open->user;
    auto stored = read_job(store_, job);
    return stored && *stored ? std::optional((*stored)->user) : std::nullopt;
  }

  /// Keys that have changed and peers that were turned away, for the log and the events.
  void watch_the_door(Millis now) {
    if (gate_ != nullptr && now >= next_keys_) {
      next_keys_ = now + keys_time;
      gate_->refresh();
      for (std::string& change : gate_->take_changes()) inputs_.push_back(Noted{std::move(change)});
    }
    for (std::string& line : door_.take(now)) {
      if (full_) {
        log_.warning("{}", line);
      } else {
        inputs_.push_back(Noted{std::move(line)});
      }
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
    backup_.result = std::async(std::launch::async, [this, wish] { return store_.backup(wish.folder, wish.keep); });
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
  Gate* gate_;  // nullptr: everyone may do everything
  DoorLog& door_;
  const Log& log_;
  RateLimit limit_{requests_a_second, requests_at_once};  // of a user
  std::optional<Core> core_;
  std::deque<Input> inputs_;
  std::vector<Received> questions_;  // of this round; answered from what it committed
  Effects effects_;
  ChunkReaders readers_;
  Watchers watchers_;
  BackupUnderWay backup_;
  bool full_ = false;  // effects_ wait to be committed
  bool low_ = false;   // little space is left
  Millis next_tick_ = 0, next_try_ = 0, next_cleaning_ = 0, next_keys_ = 0;
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
  DoorLog door;
  std::unique_ptr<Gate> gate;
  std::optional<Admission> admission;
  if (options.gate) {
    if (options.gate->keys.empty()) options.gate->keys = options.data + "/keys";
    auto opened = Gate::open(*options.gate);
    if (!opened) return opened.error();
    gate = std::move(*opened);
    admission = Admission{gate->own(),
                          [&gate](const std::string& key, const std::string&) {
                            return key == gate->inner().public_key || gate->by_key(key).has_value();
                          },
                          [&door](const std::string& address, const std::string& what) { door.note(address, what); },
                          [&gate](const std::string& key, const std::string& holder) {
                            const auto is_gang = [&](const std::string& one) {
                              const auto person = gate->by_key(one);
                              return person && person->role == Role::gang;
                            };
                            return is_gang(key) && !is_gang(holder);
                          }};
  }
  auto router = open_router(options, admission);
  if (!router) return router.error();
  std::string endpoint = router->endpoint();
  const std::vector<PoolSpec> pools = all_pools(options);
  LauncherOptions launching{options.worker, endpoint, advertised(options, endpoint), options.data};
  launching.roots = options.core.roots;
  if (options.log_json) launching.environment[log_json_variable] = "1";
  if (gate) {
    auto key = read_key(gang_key_path(gate->keys()));
    if (key) launching.environment["HIVQ_KEY"] = key->key.secret;
    if (!key) log.warning("gangs that it starts have no key: {}", key.error().message);
    launching.environment["HIVQ_COORDINATOR_KEY"] = gate->own().public_key;
  }
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
  Server server(options, std::move(*store), std::move(*router), std::move(*launcher), gate.get(), door, log);
  if (auto started = server.start(); !started) return started;
  auto front = open_front(options, endpoint, gate.get(), door, log);
  if (!front) return front.error();
  const std::string http = *front ? (*front)->address() : "";
  const std::string keys = gate ? std::filesystem::absolute(gate->keys()).lexically_normal().string() : "";
  if (auto written = write_coordinator_file(options.data, {endpoint, process_of(getpid()), http, keys}); !written) {
    return written;
  }
  log.info("listening on {}; data in {}", endpoint, options.data);
  if (gate) log.info("only known keys get in: hivq keys list --keys {} shows them", keys);
  if (!gate) log.info("without keys: whoever reaches its addresses may do everything");
  if (!http.empty()) log.info("dashboard at {}", http);
  auto ended = server.run(stop);
  front->reset();
  const auto left = server.end();
  if (ended) ended = left;
  if (ended) log.info("ended in order");
  return ended;
}

}  // namespace hivq
