#pragma once

// Handshakes of ZeroMQ connections: who is let in, and why one failed. Part of transport.h.

#include <map>
#include <memory>
#include <string>
#include <thread>

#include "common/transport.h"

namespace hivq {

/// Answers, in a thread of its own, ZeroMQ's question whether a key may connect (ZAP, RFC 27), and tells of connections
/// that failed. To be made before the socket is bound, and to go before it does.
class Door {
 public:
  Door(void* context, void* socket, Admission admission);
  Door(const Door&) = delete;
  ~Door();

 private:
  void run();
  void answer_question();
  void take_event();

  void* socket_;
  Admission admission_;
  void* questions_;
  void* events_;
  int end_;                               // eventfd
  std::map<int, std::string> addresses_;  // of connections under way, by their file descriptor
  std::string failed_;                    // what the connection that is closed next failed of
  std::thread thread_;
};

/// What became of a client's attempts to connect.
class HandshakeWatch {
 public:
  HandshakeWatch(void* context, void* socket, bool with_key);
  HandshakeWatch(const HandshakeWatch&) = delete;
  ~HandshakeWatch();

  /// Why the last ones failed; empty: they did not, or nobody is there.
  const std::string& trouble();
  /// ZeroMQ has given up connecting, as it does after some failures; told once.
  bool gave_up();

 private:
  void take_events();

  void* socket_;
  bool with_key_;
  void* events_;
  std::string trouble_;
  int unexplained_ = 0;  // failures in a row without a reason
  bool gave_up_ = false;
};

}  // namespace hivq
