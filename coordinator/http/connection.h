#pragma once

// One HTTP connection over TCP or TLS, with limits that the HTTP library does not have: a request must arrive within a
// time that grows with what has come, and has so many bytes at most; peers that have not shown a token get so many
// connections only, and one answer on each.

#include <httplib.h>

#include <chrono>
#include <functional>
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
  std::chrono::seconds write{30};  // for a piece of an answer to be taken; without a token for all of it, as a request
  size_t head = 64 << 10;          // bytes of a request before its headers have ended
  size_t body = 8 << 20;           // bytes of its body …
  size_t framing = 64 << 10;       // … and of what stands around its chunks
  size_t unproven = 64;            // connections without a token yet, in all …
  size_t unproven_of_one = 16;     // … and of one address
};

/// The HTTP library's server on such connections. `tls`: nullptr for plain HTTP.
class ConnectionServer final : public httplib::Server {
 public:
  /// Somebody at an address was turned away. From any thread.
  using Refused = std::function<void(const std::string& address, const std::string& why)>;
  /// `count_unproven`: false where everybody is let in. `refused` may be empty.
  ConnectionServer(std::shared_ptr<TlsContext> tls, ConnectionLimits limits, bool count_unproven, Refused refused);

  // Of the request that the calling thread answers:

  /// Its headers have been read; its body may come.
  static void head_ended();
  /// It came with a token: its connection does not count as unproven any more.
  static void prove();
  /// It is turned away, which is told once a request. `why` in words of ours: nothing that the peer has said.
  static void refuse(const std::string& why);
  /// Whether reading it ended because it has too many bytes.
  static bool too_large();

 private:
  class Connection;
  static thread_local Connection* answered_;  // the library tells its handlers nothing of the connection
  bool process_and_close_socket(socket_t socket) override;
  bool admit(const std::string& address);
  void release(const std::string& address);

  const std::shared_ptr<TlsContext> tls_;
  const ConnectionLimits limits_;
  const bool count_unproven_;
  const Refused refused_;
  std::mutex mutex_;                        // guards what follows
  std::map<std::string, size_t> unproven_;  // by address
  size_t unproven_in_all_ = 0;
};

}  // namespace hivq
