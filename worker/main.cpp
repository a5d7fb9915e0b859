// hivq-worker: one rank of a gang. `mpirun -np N hivq-worker --coordinator tcp://host:port`

#include <ATen/Parallel.h>
#include <mpi.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "common/ids.h"
#include "common/version.h"
#include "jobs/roots.h"
#include "worker/commands/commands.h"
#include "worker/commands/places.h"
#include "worker/gang/device.h"
#include "worker/gang/gang.h"
#include "worker/gang/leader.h"
#include "worker/gang/placement.h"
#include "worker/gang/signals.h"
#include "worker/gang/world.h"

namespace hivq {
namespace {

constexpr auto kGrace = std::chrono::seconds(8);  // from a signal to the end

struct Options {
  std::string coordinator;
  KeyOptions keys;
  std::optional<Credentials> credentials;
  std::string launch;
  std::vector<std::string> labels;  // KEY=VALUE
  std::vector<std::string> roots;   // empty: trials may read everywhere
  FeaturePlaces places;
  DeviceChoice device = DeviceChoice::automatic;
  PlacementOptions placement;
  int64_t patience = 600;
  int64_t timeout = kCollectiveTimeout.count();
  bool log_json = false;
};

Log log_of(const Options& options) { return options.log_json ? Log::json("worker") : Log("worker"); }

/// The last words of a rank.
void tell_failure(const Options& options, const std::string& what) {
  if (options.log_json) return log_of(options).error("{}", what);
  std::fprintf(stderr, "hivq-worker: %s\n", what.c_str());
}

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

/// The rank's failure is the gang's: tells people, tells the coordinator, and takes the other ranks along.
[[noreturn]] void abort_gang(const Options& options, const World& world, const std::string& gang, Leader* leader,
                             const std::string& what) {
  const std::string reason = fmt::format("rank {} on {} failed: {}", world.rank(), host_name(), what);
  tell_failure(options, reason);
  if (leader) {
    leader->end_now({1, reason});
  } else if (!gang.empty()) {
    // Rank 0 hears of it only as a signal from mpirun, so this rank takes over the gang's name to say why it ends.
    if (Result<Dealer> dealer = Dealer::connect(options.coordinator, gang, options.credentials))
      dealer->send(encode({0, Goodbye{gang, reason}}));
  }
  MPI_Abort(MPI_COMM_WORLD, 1);
  _exit(1);
}

Hello hello_of(const Options& options, const World& world, const Collective& collective, const std::string& gang) {
  Hello hello;
  hello.gang = gang;
  hello.host = host_name();
  hello.devices = describe_devices(collective);
  hello.launch = options.launch;
  hello.program = version;
  hello.ranks = static_cast<uint64_t>(world.size());
  hello.pid = static_cast<uint64_t>(getpid());
  for (const std::string& label : options.labels) {
    const size_t equals = label.find('=');
    hello.labels[label.substr(0, equals)] = label.substr(equals + 1);
  }
  return hello;
}

/// What is wrong with a label on the command line; empty: nothing.
std::string label_mistake(const std::string& label) {
  const size_t equals = label.find('=');
  const bool whole = equals != std::string::npos && equals > 0 && equals + 1 < label.size();
  return whole ? "" : "--label " + label + ": it must be KEY=VALUE, such as --label pool=a100";
}

/// From joining the other ranks to the gang's end. An Error is the gang's failure.
Result<Ending> run(const Options& options, const World& world, SignalWatch& signals, const Clock& clock, const Log& log,
                   std::string& gang, std::unique_ptr<Leader>& leader) {
  const RankPlacement placement = place_rank(world, options.placement);
  at::set_num_threads(placement.threads);
  Result<std::unique_ptr<Collective>> collective =
      make_collective(options.device, world, std::chrono::seconds(options.timeout));
  if (!collective) return Ending{1, collective.error().message};

  std::string name = world.rank() == 0 ? random_id() : "";
  if (Status shared = world.broadcast(name); !shared) return shared.error();
  Status started;
  if (world.rank() == 0) {
    LeaderOptions line{options.coordinator,
                       hello_of(options, world, **collective, name),
                       options.credentials,
                       1000 * options.patience,
                       {}};
    log.info("gang {} on {}: {}; rank 0: {}", name.substr(0, 8), line.hello.host, line.hello.devices, placement.text);
    Result<std::unique_ptr<Leader>> made = Leader::start(std::move(line), clock, log);
    if (made) leader = std::move(*made);
    if (!made) started = made.error();
  }
  const Result<Status> all_started = world.agree(started);
  if (!all_started) return all_started.error();
  if (!*all_started) return Ending{1, all_started->error().message};
  gang = name;
  if (leader) {
    signals.on_signal([&leader](const char* signal) {
      leader->end({0, fmt::format("it was told to end ({}; mpirun sends it too when another rank ends)", signal)});
    });
  }
  const Work work{[&](const DataSpec& data, const BackboneSpec& backbone, const FeatureProgress& progress) {
                    const Roots roots = options.roots.empty() ? Roots() : Roots(options.roots);
                    const Status allowed = within_roots(data, backbone, roots, Links::followed);
                    if (!allowed) return Result<FeatureSet>(allowed.error());
                    return load_features(data, backbone, options.places, progress);
                  },
                  run_trials};
  Result<Ending> ending = run_gang(world, **collective, leader.get(), work, log);
  signals.on_signal([](const char*) {});
  return ending;
}

int run_rank(const Options& options, int argc, char** argv) {
  SignalWatch signals(kGrace);  // before MPI and LibTorch start threads
  int provided = 0;
  if (MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS || provided < MPI_THREAD_FUNNELED) {
    tell_failure(options, "this MPI does not allow a program with threads (MPI_THREAD_FUNNELED)");
    return 1;
  }
  Result<World> world = World::join();
  if (!world) {
    tell_failure(options, world.error().message);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  const Log log = log_of(options);
  const SystemClock clock;
  std::string gang;
  std::unique_ptr<Leader> leader;
  int exit_code = 0;
  try {
    const Result<Ending> ending = run(options, *world, signals, clock, log, gang, leader);
    if (!ending) abort_gang(options, *world, gang, leader.get(), ending.error().message);
    exit_code = ending->exit_code;
    if (world->rank() == 0) {
      if (exit_code == 0) log.info("the gang ends: {}", ending->reason);
      if (exit_code != 0) tell_failure(options, ending->reason);
    }
  } catch (const std::exception& failure) {
    const std::string what = failure.what();  // LibTorch adds a stack trace below the first lines
    abort_gang(options, *world, gang, leader.get(), what.substr(0, what.find("\nException raised from")));
  }
  leader.reset();
  MPI_Finalize();
  return exit_code;
}

}  // namespace
}  // namespace hivq

int main(int argc, char** argv) {
  using hivq::DeviceChoice;
  std::string others;
  for (const hivq::Subcommand& each : hivq::subcommands()) {
    if (argc > 1 && std::string(argv[1]) == each.name) return hivq::run_subcommand(each, argc - 1, argv + 1);
    others += fmt::format("\n  hivq-worker {:10} {}", each.name, each.what);
  }
  hivq::Options options;
  options.places = hivq::default_places();

  CLI::App app{"One rank of a gang of hivq: trains the trials that a coordinator gives it."};
  app.set_version_flag("--version", std::string("hivq-worker ") + hivq::version);
  app.add_option("--coordinator", options.coordinator, "Address of the coordinator, tcp://host:port")->required();
  app.add_option("--key", options.keys.key,
                 "The gang's key, a file, where the coordinator asks for one (or HIVQ_KEY: a file or the key itself)")
      ->type_name("FILE");
  app.add_option("--coordinator-key", options.keys.coordinator_key,
                 "The coordinator's public key, where the key's file does not tell it (or HIVQ_COORDINATOR_KEY)")
      ->type_name("HEX");
  app.add_option("--launch", options.launch, "Name of the launch, where a coordinator started the gang");
  app.add_option("--label", options.labels,
                 "What jobs may ask for with gang.labels: --label pool=a100 (again for more)")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all()
      ->check(hivq::label_mistake);
  app.add_option(
         "--data-root", options.roots,
         "Folder in which trials may read, with all below it and what links lead to (again for more); everywhere "
         "where nothing is said")
      ->type_name("DIR")
      ->expected(1)
      ->take_all();
  hivq::add_places(app, options.places);
  app.add_option("--device", options.device, "What to train on; by default GPUs where every rank has one")
      ->transform(CLI::CheckedTransformer(std::map<std::string, DeviceChoice>{
          {"auto", DeviceChoice::automatic}, {"cpu", DeviceChoice::cpu}, {"cuda", DeviceChoice::cuda}}));
  app.add_option("--threads", options.placement.threads,
                 "Threads of each rank; by default its share of the host's cores")
      ->check(CLI::Range(1, 4096));
  app.add_option("--host-gangs", options.placement.host_gangs,
                 "Gangs that share a host, each with its part of the cores")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_flag("--bind,!--no-bind", options.placement.bind,
               "Keep each rank to cores that no other rank of this host computes on, where mpirun has not bound it");
  app.add_option("--patience", options.patience, "Seconds that an absent coordinator is waited for")
      ->check(CLI::Range(int64_t{1}, int64_t{31'536'000}))
      ->capture_default_str();
  app.add_option(
         "--timeout", options.timeout,
         "Seconds that a rank waits for the others in an operation, before the gang ends for a new one to go on")
      ->check(CLI::Range(int64_t{1}, int64_t{31'536'000}))
      ->capture_default_str();
  app.add_flag("--log-json", options.log_json, "Log lines as JSON objects: time, level, program, message")
      ->envname("HIVQ_LOG_JSON");
  app.footer(
      "Example:\n  hivq-coordinator --data D --listen tcp://127.0.0.1:4487 &\n"
      "  mpirun -np 2 hivq-worker --coordinator tcp://127.0.0.1:4487\n\nAlone, without a coordinator (--help after "
      "each):" +
      others);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& wrong) {
    // Every rank finds the same mistake; one is enough to tell.
    const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
    return rank && std::string(rank) != "0" ? wrong.get_exit_code() : app.exit(wrong);
  }
  auto credentials = hivq::said_credentials(options.keys);
  if (!credentials) {
    hivq::tell_failure(options, credentials.error().message);
    return 1;
  }
  options.credentials = std::move(*credentials);
  return hivq::run_rank(options, argc, argv);
}
