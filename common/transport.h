#pragma once

// Messages over ZeroMQ: one Router (the coordinator) and many Dealers (gangs, clients). The only door to ZeroMQ.

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "common/result.h"

namespace hivq {

/// The coordinator's end. Not thread-safe.
class Router {
 public:
  struct Incoming {
    std::string identity;
    std::string bytes;
  };

  /// Listens on `tcp://host:port`; port 0 takes a free one. Errors: the port is in use, the address is not of this
  /// machine.
  static Result<Router> bind(const std::string& endpoint);

  /// The endpoint with the port that was taken.
  const std::string& endpoint() const;

  /// The next message, waiting at most `timeout`; nothing when none came.
  std::optional<Incoming> receive(std::chrono::milliseconds timeout);

  /// Hands a message to the peer. A peer that is not connected does not get it: the protocol resends.
  void send(const std::string& identity, const std::string& bytes);

  Router(Router&&) noexcept;
  Router& operator=(Router&&) noexcept;
  ~Router();

 private:
  struct State;
  explicit Router(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// A gang's or a client's end. Connects in the background and again after every loss. Not thread-safe except wake().
class Dealer {
 public:
  /// Errors: the endpoint is no `tcp://host:port`.
  static Result<Dealer> connect(const std::string& endpoint, const std::string& identity);

  /// The next message, waiting at most `timeout` or until wake(); nothing when none came.
  std::optional<std::string> receive(std::chrono::milliseconds timeout);

  /// Queues a message; false when the queue is full because the other side has been away for long.
  bool send(const std::string& bytes);

  /// Ends a receive() that waits in another thread.
  void wake();

  Dealer(Dealer&&) noexcept;
  Dealer& operator=(Dealer&&) noexcept;
  ~Dealer();

 private:
  struct State;
  explicit Dealer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hivq
