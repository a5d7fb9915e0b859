#pragma once

// The coordinator's HTTP side: the REST API below /api/v1, the dashboard at /, /metrics for Prometheus, /healthz and
// /readyz. It is a client of the coordinator's own protocol, on threads of its own: the coordinator knows nothing of
// it.

#include <memory>
#include <string>

#include "common/log.h"
#include "common/result.h"

namespace hivq {

struct FrontOptions {
  std::string listen = "http://127.0.0.1:4488";  // port 0 takes a free one
  std::string coordinator;                       // endpoint to ask
  size_t threads = 128;                          // connections that are answered at once
  size_t body_bytes = 8 << 20;                   // of a request at most
};

class Front {
 public:
  virtual ~Front() = default;                      // what is under way ends
  virtual const std::string& address() const = 0;  // with the port
};

/// Errors: no `http://HOST:PORT`, the port is in use.
Result<std::unique_ptr<Front>> start_front(const FrontOptions& options, const Log& log);

}  // namespace hivq
