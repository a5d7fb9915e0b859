// hivq-coordinator: schedules jobs over gangs and keeps everything in one RocksDB.

#include <signal.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "common/process.h"
#include "common/version.h"
#include "coordinator/server.h"

namespace {

std::atomic<bool> stop = false;
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

void on_signal(int) { stop = true; }

void end_on_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

}  // namespace

int main(int argc, char** argv) {
  hivq::ServerOptions options;
  options.worker = hivq::program_folder() + "/hivq-worker";

  CLI::App app{"The coordinator of hivq: schedules jobs over gangs and keeps everything in one RocksDB."};
  app.set_version_flag("--version", std::string("hivq-coordinator ") + hivq::version);
  app.add_option("--data", options.data, "Folder of the store; made where absent")->capture_default_str();
  app.add_option("--listen", options.listen, "Address for gangs and clients; port 0 takes a free one")
      ->capture_default_str();
  app.add_option("--local-gangs", options.core.local_gangs, "Gangs that it may start on this machine with mpirun")
      ->capture_default_str();
  app.add_option("--local-ranks", options.core.local_ranks, "Ranks of such a gang, where the job does not say")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  app.footer(
      "Example:\n  hivq-coordinator --data /srv/hivq --listen tcp://0.0.0.0:4487\n"
      "  mpirun -np 2 hivq-worker --coordinator tcp://HOST:4487");
  CLI11_PARSE(app, argc, argv);

  hivq::Log log("coordinator");
  if (options.core.local_gangs > 0 && !std::filesystem::exists(options.worker)) {
    log.error("{} is missing: build it (make), or start gangs by hand and leave --local-gangs out", options.worker);
    return 1;
  }
  end_on_signals();
  auto ended = hivq::serve(options, stop, log);
  if (!ended) log.error("{}", ended.error().message);
  return ended ? 0 : 1;
}
