// hivq-coordinator: schedules jobs over gangs and keeps everything in one RocksDB.

#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>

#include "common/process.h"
#include "common/version.h"
#include "coordinator/maintenance.h"
#include "coordinator/server.h"

namespace {

std::atomic<bool> stop = false;
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

/// The first signal ends in order; one that comes later, and not together with the first, ends at once.
void on_signal(int signal_number) {
  static timespec first{};
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (stop && now.tv_sec > first.tv_sec + 1) _exit(128 + signal_number);
  if (!stop) first = now;
  stop = true;
}

void end_on_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

/// A descriptor a connection, and strangers hold some too: as many as may be, within reason.
void allow_descriptors() {
  constexpr rlim_t enough = 65'536;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= enough) return;
  limit.rlim_cur = std::min(limit.rlim_max, enough);
  setrlimit(RLIMIT_NOFILE, &limit);
}

/// The commands that look after a store; what was chosen.
struct Maintenance {
  std::string data = ".hivq", folder;
  hivq::Elsewhere elsewhere;
  uint64_t number = 0, keep = 0;
  bool list = false;
  std::function<hivq::Result<bool>()> chosen;
};

hivq::Result<bool> whole(hivq::Status status) {
  if (!status) return status.error();
  return true;
}

void add_maintenance(CLI::App& app, Maintenance& line) {
  auto add = [&](const std::string& name, const std::string& what, const std::string& example,
                 std::function<hivq::Result<bool>()> command) {
    CLI::App* sub = app.add_subcommand(name, what);
    sub->footer("Example:\n  " + example + "\n");
    sub->callback([&line, command = std::move(command)] { line.chosen = command; });
    sub->add_option("--data", line.data, "Folder of the store")->type_name("DIR")->capture_default_str();
    return sub;
  };
  auto* sub = add("backup", "Copy the store, while its coordinator goes on or without one; only what is new is copied",
                  "hivq-coordinator backup /mnt/backups/hivq --data /srv/hivq",
                  [&] { return whole(hivq::make_backup(line.data, line.folder, line.keep, line.elsewhere)); });
  sub->add_option("folder", line.folder, "Where the backups lie, on the coordinator's machine")->required();
  sub->add_option("--keep", line.keep, "Then erase the oldest there, but for so many; all stay where it is left out")
      ->check(CLI::PositiveNumber);
  sub->add_option("--coordinator", line.elsewhere.coordinator, "Address of a coordinator on another machine")
      ->type_name("tcp://HOST:PORT");
  sub->add_option("--key", line.elsewhere.keys.key, "An operator's key (or HIVQ_KEY)")->type_name("FILE");
  sub->add_option("--coordinator-key", line.elsewhere.keys.coordinator_key, "Its public key (or HIVQ_COORDINATOR_KEY)")
      ->type_name("HEX");
  sub = add("restore", "Put a backup into a folder without a store",
            "hivq-coordinator restore /mnt/backups/hivq --list\n"
            "  hivq-coordinator restore /mnt/backups/hivq --data /srv/hivq-2",
            [&] {
              return whole(line.list ? hivq::list_backups(line.folder)
                                     : hivq::restore_backup(line.folder, line.data, line.number));
            });
  sub->add_option("folder", line.folder, "Where the backups lie")->required();
  sub->add_option("--number", line.number, "Which backup; the newest where it is left out");
  sub->add_flag("--list", line.list, "Only show which there are");
  add("compact", "Rewrite the store without what was erased; its coordinator must not run",
      "hivq-coordinator compact --data /srv/hivq", [&] { return whole(hivq::compact_store(line.data)); });
  add("verify", "Read everything, check every checksum and whether all belongs together; exit code 1 where not",
      "hivq-coordinator verify --data /srv/hivq", [&] { return hivq::verify_store(line.data); });
}

/// What the command line says of who is let in.
struct Doors {
  bool secure = false, insecure = false, plain_http = false;
  std::vector<std::string> roots;
  hivq::GateOptions gate;
  std::vector<std::string> allow;  // ROLE=FILE
};

void add_doors(CLI::App& app, Doors& doors, hivq::ServerOptions& options) {
  const char* group = "Who is let in";
  app.add_option("--keys", doors.gate.keys,
                 "Folder of the keys that it knows (hivq keys); DATA/keys where nothing is said")
      ->type_name("DIR")
      ->group(group);
  auto* secure = app.add_flag("--secure", doors.secure, "Let known keys alone in on this machine's own addresses too")
                     ->group(group);
  app.add_flag("--insecure", doors.insecure, "Let everyone in, from other machines too, without encryption")
      ->excludes(secure)
      ->group(group);
  app.add_option("--coordinator-secret", doors.gate.own_secret,
                 "Its own key; KEYS/coordinator.json where nothing is said")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--allow", doors.allow, "A key whose holder has a role, beside those of the folder (again for more)")
      ->type_name("ROLE=FILE")
      ->expected(1)
      ->take_all()
      ->group(group);
  auto* certificate = app.add_option("--tls-cert", options.tls.certificate,
                                     "Certificate of an https address, PEM; one of its own where nothing is said")
                          ->type_name("FILE")
                          ->group(group);
  auto* key =
      app.add_option("--tls-key", options.tls.key, "The certificate's key, PEM")->type_name("FILE")->group(group);
  certificate->needs(key);
  key->needs(certificate);
  app.add_flag("--http-plain", doors.plain_http,
               "Allow http:// off this machine, with tokens in the clear: where TLS ends before it (an ingress)")
      ->group(group);
  app.add_option(
         "--data-root", doors.roots,
         "Folder in which trials may read, with all below it (again for more). Where keys are asked for, none but "
         "these; otherwise everywhere where nothing is said")
      ->type_name("DIR")
      ->expected(1)
      ->take_all()
      ->group(group);
  app.add_flag("--open-metrics", options.open_metrics, "Let /metrics be read without a token")->group(group);
}

/// Keys are asked for unless nobody but this machine can reach it. Errors: options that do not go together.
hivq::Status close_doors(Doors& doors, hivq::ServerOptions& options) {
  const bool http_here = options.http.empty() || options.http == "off" || hivq::is_loopback(options.http);
  const bool here = hivq::is_loopback(options.listen) && http_here;
  for (std::string& root : doors.roots) root = std::filesystem::absolute(root).lexically_normal().string();
  if (!doors.roots.empty()) options.core.roots = doors.roots;
  for (const std::string& each : doors.allow) {
    const size_t equals = each.find('=');
    auto role = hivq::parse_role(each.substr(0, equals));
    if (!role || equals == std::string::npos) {
      return hivq::error("--allow {}: it must be ROLE=FILE; {}", each,
                         role ? "the file is missing" : role.error().message);
    }
    doors.gate.allow.emplace_back(*role, each.substr(equals + 1));
  }
  if (doors.insecure || (here && !doors.secure)) {
    if (!doors.insecure && (!doors.allow.empty() || !doors.gate.own_secret.empty())) {
      return hivq::error(
          "--allow and --coordinator-secret have no effect on this machine's own addresses without --secure");
    }
    return {};
  }
  if (!http_here && options.http.starts_with("http://") && !doors.plain_http) {
    return hivq::error(
        "--http {} would send tokens in the clear: use https://, or --http-plain where TLS ends before it",
        options.http);
  }
  options.gate = doors.gate;
  options.core.roots = doors.roots;
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  hivq::ServerOptions options;
  options.worker = hivq::program_folder() + "/hivq-worker";

  hivq::Millis garbage_seconds = options.garbage_grace / 1000;
  uint64_t reserve_megabytes = options.reserve_bytes >> 20, input_megabytes = options.core.input_bytes >> 20;
  CLI::App app{"The coordinator of hivq: schedules jobs over gangs and keeps everything in one RocksDB."};
  app.set_version_flag("--version", std::string("hivq-coordinator ") + hivq::version);
  app.add_option("--data", options.data, "Folder of the store; made where absent")->capture_default_str();
  app.add_option("--listen", options.listen, "Address for gangs and clients; port 0 takes a free one")
      ->capture_default_str();
  app.add_option("--http", options.http,
                 "Address of the dashboard and the REST API, or off; http://127.0.0.1:4488 where nothing is said, a "
                 "free port where --listen takes one")
      ->type_name("ADDRESS");
  app.add_option("--local-gangs", options.local_gangs, "Gangs that it may start on this machine with mpirun")
      ->capture_default_str();
  app.add_option("--local-ranks", options.local_ranks, "Ranks of such a gang, where the job does not say")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  std::string policy, pools;
  app.add_option("--pools", pools, "YAML file of pools whose gangs it starts and ends itself (cluster/README.md)")
      ->type_name("FILE");
  app.add_option(
         "--advertise", options.advertise,
         "Address for gangs on other machines: that of --listen, or with 0.0.0.0 this host's name, where nothing "
         "is said")
      ->type_name("tcp://HOST:PORT");
  app.add_option("--policy", policy, "YAML file of weights, quotas and priority limits of projects and users")
      ->type_name("FILE");
  app.add_option("--keep-garbage", garbage_seconds, "Seconds that a checkpoint's chunks stay after it was dropped")
      ->capture_default_str()
      ->check(CLI::Range(0, 1'000'000));
  app.add_option("--reserve", reserve_megabytes, "Megabytes of the disk below which new jobs are refused")
      ->capture_default_str();
  app.add_option("--input-memory", input_megabytes, "Megabytes that all gangs together may have on their way to it")
      ->capture_default_str()
      ->check(CLI::Range(16, 1'000'000));
  Doors doors;
  add_doors(app, doors, options);
  app.add_flag("--log-json", options.log_json,
               "Log lines as JSON objects: time, level, program, message; those of gangs that it starts, too");
  Maintenance maintenance;
  add_maintenance(app, maintenance);
  app.require_subcommand(0, 1);
  app.footer(
      "Example:\n  hivq-coordinator --data /srv/hivq --listen tcp://0.0.0.0:4487\n"
      "  mpirun -np 2 hivq-worker --coordinator tcp://HOST:4487");
  CLI11_PARSE(app, argc, argv);
  if (maintenance.chosen) {
    auto whole_store = maintenance.chosen();
    if (!whole_store) fmt::print(stderr, "hivq-coordinator: {}\n", whole_store.error().message);
    return whole_store && *whole_store ? 0 : 1;
  }
  options.garbage_grace = garbage_seconds * 1000;
  options.reserve_bytes = reserve_megabytes << 20;
  options.core.input_bytes = input_megabytes << 20;

  hivq::Log log = options.log_json ? hivq::Log::json("coordinator") : hivq::Log("coordinator");
  if (auto closed = close_doors(doors, options); !closed) {
    log.error("{}", closed.error().message);
    return 1;
  }
  if (!policy.empty()) {
    auto read = hivq::read_policy(policy);
    if (!read) {
      log.error("{}", read.error().message);
      return 1;
    }
    options.core.policy = std::move(*read);
  }
  if (!pools.empty()) {
    auto read = hivq::read_pools(pools);
    if (!read) {
      log.error("{}", read.error().message);
      return 1;
    }
    options.pools = std::move(*read);
  }
  if (options.local_gangs > 0 && !std::filesystem::exists(options.worker)) {
    log.error("{} is missing: build it (make), or start gangs by hand and leave --local-gangs out", options.worker);
    return 1;
  }
  end_on_signals();
  allow_descriptors();
  auto ended = hivq::serve(options, stop, log);
  if (!ended) log.error("{}", ended.error().message);
  return ended ? 0 : 1;
}
