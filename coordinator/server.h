#pragma once

// The shell around the core: sockets and processes become inputs, the writes of one round are committed at once, and
// only then do answers, assignments and launches go out (durable before acknowledged).

#include <atomic>
#include <optional>
#include <string>

#include "common/log.h"
#include "common/result.h"
#include "coordinator/core.h"
#include "coordinator/gate.h"
#include "coordinator/http/front.h"

namespace hivq {

struct ServerOptions {
  std::string data = ".hivq";  // folder of the store, the gangs' logs and the feature cache
  std::string listen =
      "tcp://127.0.0.1:4487";  // port 0: the one of the last run where it is free, otherwise any free one
  std::string worker;          // path of hivq-worker, for the gangs that the coordinator launches
  // Address of the dashboard and the REST API (http/front.h), or `off`. Empty: port 4488 of this machine alone, or,
  // with port 0 above, one as there.
  std::string http;
  TlsFiles tls;               // of an https address
  bool open_metrics = false;  // /metrics asks for no token
  /// Who is let in; nothing: everyone.
  std::optional<GateOptions> gate;
  std::vector<PoolSpec> pools;  // beside the pool `local` …
  uint64_t local_gangs = 0;     // … which has at most so many gangs on this machine …
  uint64_t local_ranks = 1;     // … of so many ranks where the job does not say
  std::string advertise;  // endpoint for gangs on other machines; empty: `listen`, or this host's name for 0.0.0.0
  CoreOptions core;       // its pools are those above
  Millis garbage_grace = 300'000;               // that chunks are kept after their last use, and after being read
  uint64_t reserve_bytes = uint64_t{64} << 20;  // of the disk: with less free, new jobs are refused
  bool log_json = false;                        // the gangs that it starts log JSON lines
  Millis farewell = 5'000;                      // for the local gangs to give their trials back at the end
};

/// Runs the coordinator until `stop` is set; then its own gangs give their trials back, with a checkpoint of the step
/// they are at, and end, and it returns. Once ready it writes `data`/coordinator.json {endpoint, pid, start_time,
/// http}. Where the disk is full it waits for space: it answers questions, refuses what is new, and acknowledges
/// nothing. Errors: the port is in use, the folder cannot be written or is used by another coordinator, the data is
/// damaged, the disk fails. Nothing that was acknowledged is lost by an error.
Status serve(const ServerOptions& options, const std::atomic<bool>& stop, const Log& log);

/// The endpoint of the coordinator that serves the folder now; nothing where none does.
std::optional<std::string> running_endpoint(const std::string& data);

}  // namespace hivq
