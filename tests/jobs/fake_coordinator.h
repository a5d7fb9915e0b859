#pragma once

// A coordinator for tests of its clients: a thread with a Router.

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "common/messages.h"
#include "common/transport.h"

namespace hivq {

/// Hands each question to `react`, which may answer, keep silent, or answer something else.
class FakeCoordinator {
 public:
  using React = std::function<void(Router&, const std::string& peer, const Message&)>;

  explicit FakeCoordinator(React react) : react_(std::move(react)) {
    auto router = Router::bind("tcp://127.0.0.1:0");
    check(bool(router), "bind");
    endpoint_ = router->endpoint();
    thread_ = std::thread([this, router = std::move(*router)]() mutable {
      while (!stop_) {
        auto incoming = router.receive(std::chrono::milliseconds(20));
        if (!incoming) continue;
        auto message = decode(incoming->bytes);
        if (message) react_(router, incoming->identity, *message);
      }
    });
  }
  ~FakeCoordinator() {
    stop_ = true;
    thread_.join();
  }
  const std::string& endpoint() const { return endpoint_; }

 private:
  React react_;
  std::string endpoint_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

inline void reply(Router& router, const std::string& peer, uint64_t id, Body body) {
  router.send(peer, encode({id, std::move(body)}));
}

}  // namespace hivq
