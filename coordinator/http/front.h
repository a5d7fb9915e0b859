#pragma once

// The coordinator's HTTP side: the REST API below /api/v1, the dashboard at /, /metrics for Prometheus, /healthz and
// /readyz. It is a client of the coordinator's own protocol, on threads of its own: the coordinator knows nothing of
// it.

#include <functional>
#include <memory>
#include <string>

#include "common/log.h"
#include "common/result.h"
#include "coordinator/gate.h"
#include "coordinator/http/tls.h"

namespace hivq {

struct FrontOptions {
  std::string listen = "http://127.0.0.1:4488";  // or https://…; port 0 takes a free one
  TlsFiles tls;                                  // of https
  std::string coordinator;                       // endpoint to ask
  size_t threads = 128;                          // connections that are answered at once
  size_t body_bytes = 8 << 20;                   // of a request's body at most
  const Gate* gate = nullptr;                    // nullptr: everyone may do everything
  bool open_metrics = false;                     // /metrics asks for no token
  /// Somebody at an address was turned away, for a reason that holds nothing of what it said. From any thread.
  std::function<void(const std::string& address, const std::string& why)> refused = {};
};

class Front {
 public:
  virtual ~Front() = default;                      // what is under way ends
  virtual const std::string& address() const = 0;  // with the port
};

/// Errors: no `http://HOST:PORT`, the port is in use, the certificate cannot be read.
Result<std::unique_ptr<Front>> start_front(const FrontOptions& options, const Log& log);

}  // namespace hivq
