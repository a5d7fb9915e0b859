#pragma once

// Messages over ZeroMQ: one Router (the coordinator) and many Dealers (gangs, clients). The only door to ZeroMQ.

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/keys.h"
#include "common/result.h"

namespace hivq {

/// Whom a Router lets in. The first two functions are called by a thread of its own.
struct Admission {
  KeyPair own;
  /// Whether a public key is known; `address` is the peer's.
  std::function<bool(const std::string& public_key, const std::string& address)> knows;
  /// A connection failed before it could say anything: no key, a wrong one, no hivq at all, too slow. `what`: a
  /// sentence.
  std::function<void(const std::string& address, const std::string& what)> refused;
  /// Whether the holder of `key` may take an identity from that of another, `holder`. Empty: nobody may.
  std::function<bool(const std::string& key, const std::string& holder)> outranks = {};
};

/// The coordinator's end. Not thread-safe.
class Router {
 public:
  struct Incoming {
    std::string identity;
    std::string bytes;
    std::string key = {};      // public, of the peer; empty without Admission
    std::string address = {};  // of its machine
  };

  /// Listens on `tcp://host:port`; port 0 takes a free one. With `admission` every connection is encrypted, and only
  /// known keys have one. Errors: the port is in use, the address is not of this machine.
  static Result<Router> bind(const std::string& endpoint, std::optional<Admission> admission = std::nullopt);

  /// The endpoint with the port that was taken.
  const std::string& endpoint() const;

  /// The next message, waiting at most `timeout`; nothing when none came.
  std::optional<Incoming> receive(std::chrono::milliseconds timeout);

  /// Hands a message to whoever spoke last under the identity. A peer that is not connected does not get it: the
  /// protocol resends. An identity belongs to the key that used it first, as long as that speaks once in ten minutes:
  /// what another one says under it is not received, unless it outranks the holder.
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
  /// With `credentials` the connection is encrypted, to the coordinator that has this key and to no other. Errors: the
  /// endpoint is no `tcp://host:port`.
  static Result<Dealer> connect(const std::string& endpoint, const std::string& identity,
                                const std::optional<Credentials>& credentials = std::nullopt);

  /// The next message, waiting at most `timeout` or until wake(); nothing when none came.
  std::optional<std::string> receive(std::chrono::milliseconds timeout);

  /// Queues a message; false when the queue is full because the other side has been away for long.
  bool send(const std::string& bytes);

  /// Why the coordinator that is there does not let us in: a sentence with the remedy. Empty: it does, or none is
  /// there.
  const std::string& trouble();

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
