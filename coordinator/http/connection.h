#pragma once

// One HTTP connection over TCP or TLS, with limits that the HTTP library does not have: a request must arrive within a
// time that grows with what has come, and peers that have not shown a token get so many connections only.

#include <httplib.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "common/log.h"
#include "coordinator/http/tls.h"

namespace hivq {

struct ConnectionLimits {
  std::chrono::seconds request{10};  // for a request to arrive, its body's bytes at `least_rate` not counted
  size_t least_rate = 64 << 10;      // bytes a second of a body
  std::chrono::seconds write{30};    // for a piece of an answer to be taken
  size_t unproven = 64;              // connections without a token yet, in all …
  size_t unproven_of_one = 16;       // … and of one address
};

/// The HTTP library's server on such connections. `tls`: nullptr for plain HTTP.
class ConnectionServer final : public httplib::Server {
 public:
  ConnectionServer(std::shared_ptr<TlsContext> tls, ConnectionLimits limits, bool count_unproven);

  /// The request that the calling thread answers came with a token: its connection does not count as unproven any more.
  static void prove();

 private:
  class Connection;
  bool process_and_close_socket(socket_t socket) override;
  bool admit(const std::string& address);
  void release(const std::string& address);

  const std::shared_ptr<TlsContext> tls_;
  const ConnectionLimits limits_;
  const bool count_unproven_;
  std::mutex mutex_;                        // guards what follows
  std::map<std::string, size_t> unproven_;  // by address
  size_t unproven_in_all_ = 0;
};

}  // namespace hivq
