#pragma once

// The shell around the core: sockets and processes become inputs, the writes of one round are committed at once, and
// only then do answers, assignments and launches go out (durable before acknowledged).

#include <atomic>
#include <string>

#include "common/log.h"
#include "common/result.h"
#include "coordinator/core.h"

namespace hivq {

struct ServerOptions {
  std::string data = ".hivq";  // folder of the store, the gangs' logs and the feature cache
  std::string listen =
      "tcp://127.0.0.1:4487";  // port 0: the one of the last run where it is free, otherwise any free one
  std::string worker;          // path of hivq-worker, for the gangs that the coordinator launches
  CoreOptions core;
};

/// Runs the coordinator until `stop` is set; then ends its own gangs and returns. Once ready it writes
/// `data`/coordinator.json {endpoint, pid, start_time}. Errors: the port is in use, the folder cannot be written or is
/// used by another coordinator, the data is damaged, the disk is full. Nothing that was acknowledged is lost by an
/// error.
Status serve(const ServerOptions& options, const std::atomic<bool>& stop, const Log& log);

}  // namespace hivq
