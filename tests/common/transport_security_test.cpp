// Who gets in: with admission, a Router hears known keys alone.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#include "common/transport.h"

namespace hivq {
namespace {

using namespace std::chrono_literals;

int port_of(const std::string& endpoint) { return std::stoi(endpoint.substr(endpoint.rfind(':') + 1)); }

int tcp_to(int port) {
  const int file = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(file, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return file;
}

/// Passes one connection on, and keeps what the client said.
class Recorder {
 public:
  explicit Recorder(int port) : port_(port), listening_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listening_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    getsockname(listening_, reinterpret_cast<sockaddr*>(&address), &size);
    own_port_ = ntohs(address.sin_port);
    listen(listening_, 1);
    thread_ = std::thread([this] { run(); });
  }
  ~Recorder() { stop(); }

  std::string endpoint() const { return fmt::format("tcp://127.0.0.1:{}", own_port_); }
  /// What the client said in all, in the order of its writes.
  std::string stop() {
    end_ = true;
    if (thread_.joinable()) thread_.join();
    if (listening_ >= 0) close(std::exchange(listening_, -1));
    return said_;
  }

 private:
  void run() {
    pollfd waiting{listening_, POLLIN, 0};
    while (!end_ && poll(&waiting, 1, 20) <= 0) continue;
    if (end_) return;
    const int client = accept(listening_, nullptr, nullptr), server = tcp_to(port_);
    pollfd both[] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
    char bytes[4096];
    while (!end_) {
      if (poll(both, 2, 20) <= 0) continue;
      for (int from : {0, 1}) {
        if (both[from].revents == 0) continue;
        const ssize_t count = read(both[from].fd, bytes, sizeof bytes);
        if (count <= 0) continue;
        if (from == 0) said_.append(bytes, static_cast<size_t>(count));
        (void)!write(both[1 - from].fd, bytes, static_cast<size_t>(count));
      }
    }
    close(client);
    close(server);
  }

  int port_, own_port_ = 0, listening_;
  std::atomic<bool> end_ = false;
  std::string said_;
  std::thread thread_;
};

class Security : public ::testing::Test {
 protected:
  void SetUp() override {
    Admission admission{own_,
                        [this](const std::string& key, const std::string& address) {
                          const std::lock_guard lock(mutex_);
                          asked_from_.insert(address);
                          return known_.contains(key);
                        },
                        [this](const std::string& address, const std::string& what) {
                          const std::lock_guard lock(mutex_);
                          refused_.push_back(address + ": " + what);
                        },
                        [this](const std::string&, const std::string&) { return outranks_; }};
    auto bound = Router::bind("tcp://127.0.0.1:0", std::move(admission));
    ASSERT_TRUE(bound) << bound.error().message;
    router_ = std::make_unique<Router>(std::move(*bound));
    known_.insert(alice_.public_key);
  }

  Dealer dealer(const KeyPair& key, const std::string& identity = "peer", const std::string& coordinator = "") {
    const Credentials credentials{key, coordinator.empty() ? own_.public_key : coordinator};
    return std::move(Dealer::connect(router_->endpoint(), identity, credentials).value());
  }

  /// The next message, within a while; its answer is sent.
  std::optional<Router::Incoming> next(std::chrono::milliseconds limit = 3000ms) {
    for (const auto end = std::chrono::steady_clock::now() + limit; std::chrono::steady_clock::now() < end;) {
      if (auto incoming = router_->receive(50ms)) {
        router_->send(incoming->identity, "re: " + incoming->bytes);
        return incoming;
      }
    }
    return std::nullopt;
  }

  /// Nothing is heard of a peer, and why is told within a while.
  std::string refusal_of(Dealer& peer) {
    EXPECT_TRUE(peer.send("let me in"));
    for (int i = 0; i < 100; ++i) {
      EXPECT_FALSE(router_->receive(20ms));
      EXPECT_FALSE(peer.receive(20ms));
      if (!peer.trouble().empty()) return peer.trouble();
    }
    return "";
  }

  bool told(const std::string& what) {
    for (int i = 0; i < 300; ++i) {
      {
        const std::lock_guard lock(mutex_);
        for (const auto& line : refused_) {
          if (line.find(what) != std::string::npos) return true;
        }
      }
      router_->receive(20ms);
    }
    return false;
  }

  const KeyPair own_ = new_key_pair(), alice_ = new_key_pair(), mallory_ = new_key_pair();
  std::mutex mutex_;
  std::set<std::string> known_, asked_from_;
  std::vector<std::string> refused_;
  bool outranks_ = false;
  std::unique_ptr<Router> router_;
};

TEST_F(Security, AKnownKeyIsHeardAndNamed) {
  Dealer peer = dealer(alice_);
  peer.send("hello");
  const auto incoming = next();
  ASSERT_TRUE(incoming);
  EXPECT_EQ(incoming->key, alice_.public_key);
  EXPECT_EQ(incoming->identity, "peer");
  EXPECT_EQ(peer.receive(3000ms), "re: hello");
  EXPECT_EQ(peer.trouble(), "");
  EXPECT_TRUE(asked_from_.contains("127.0.0.1"));
}

TEST_F(Security, ASignalLeavesTheDoorOpen) {
  struct sigaction action {
  }, before{};
  action.sa_handler = [](int) {};  // without SA_RESTART: a thread that waits is woken
  sigaction(SIGUSR1, &action, &before);
  sigset_t signal, mask;
  sigemptyset(&signal);
  sigaddset(&signal, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &signal, &mask);  // so that the signal goes to the thread that lets peers in
  kill(getpid(), SIGUSR1);
  std::this_thread::sleep_for(50ms);
  sigset_t pending;
  sigpending(&pending);
  EXPECT_FALSE(sigismember(&pending, SIGUSR1)) << "no thread took it";
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  sigaction(SIGUSR1, &before, nullptr);
  Dealer peer = dealer(alice_);
  peer.send("hello");
  EXPECT_TRUE(next());
}

TEST_F(Security, AnUnknownKeyIsNotHeardAndBothSidesAreTold) {
  Dealer peer = dealer(mallory_);
  EXPECT_NE(refusal_of(peer).find("does not know this key"), std::string::npos) << peer.trouble();
  EXPECT_TRUE(told("its key is not known"));
}

TEST_F(Security, AKeyThatIsAddedLaterGetsInByItself) {
  Dealer peer = dealer(mallory_);
  EXPECT_FALSE(refusal_of(peer).empty());
  {
    const std::lock_guard lock(mutex_);
    known_.insert(mallory_.public_key);
  }
  std::optional<Router::Incoming> incoming;
  for (int i = 0; i < 40 && !incoming; ++i) {
    peer.send("again");
    peer.receive(100ms);
    incoming = next(100ms);
  }
  ASSERT_TRUE(incoming);
  EXPECT_EQ(peer.receive(3000ms), "re: again");
  EXPECT_EQ(peer.trouble(), "");
}

TEST_F(Security, APeerWithoutAKeyIsNotHeard) {
  Dealer peer = std::move(Dealer::connect(router_->endpoint(), "peer").value());
  EXPECT_NE(refusal_of(peer).find("it asks for a key"), std::string::npos) << peer.trouble();
  EXPECT_TRUE(told("it has no key"));
}

TEST_F(Security, APeerThatTakesItForAnotherCoordinatorIsNotHeard) {
  Dealer peer = dealer(alice_, "peer", mallory_.public_key);
  EXPECT_NE(refusal_of(peer).find("another key than coordinator_key says"), std::string::npos) << peer.trouble();
  EXPECT_TRUE(told("takes this coordinator for another one"));
}

TEST_F(Security, APeerWithAKeyDoesNotTalkToACoordinatorWithout) {
  Router open = std::move(Router::bind("tcp://127.0.0.1:0").value());
  Dealer peer = std::move(Dealer::connect(open.endpoint(), "peer", Credentials{alice_, own_.public_key}).value());
  peer.send("secret");
  for (int i = 0; i < 300 && peer.trouble().empty(); ++i) {
    EXPECT_FALSE(open.receive(10ms));
    peer.receive(10ms);
  }
  EXPECT_NE(peer.trouble().find("it asks for no key"), std::string::npos) << peer.trouble();
}

TEST_F(Security, GarbageASilentConnectionAndAPortScanAreToldAndHarmNobody) {
  const int port = port_of(router_->endpoint());
  close(tcp_to(port));  // a port scan
  EXPECT_TRUE(told(": it has no key, said nothing"));
  const int http = tcp_to(port), silent = tcp_to(port);
  (void)!write(http, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
  Dealer peer = dealer(alice_);
  peer.send("hello");
  EXPECT_TRUE(next());
  char byte = 0;
  pollfd closed{silent, POLLIN, 0};
  for (int i = 0; i < 400; ++i) {  // what it says first itself is read; then it ends the connection
    router_->receive(20ms);
    if (poll(&closed, 1, 0) > 0 && read(silent, &byte, 1) <= 0) break;
  }
  EXPECT_LE(read(silent, &byte, 1), 0) << "a connection that says nothing stays open";
  close(http);
  close(silent);
}

TEST_F(Security, AnIdentityStaysWithItsKeyUnlessTheOtherOutranksIt) {
  known_.insert(mallory_.public_key);
  Dealer alice = dealer(alice_, "gang"), mallory = dealer(mallory_, "gang");
  mallory.send("mine");
  ASSERT_TRUE(next());
  alice.send("mine");
  EXPECT_FALSE(next(500ms));
  outranks_ = true;
  alice.send("mine");
  auto incoming = next();
  ASSERT_TRUE(incoming);
  EXPECT_EQ(incoming->key, alice_.public_key);
  outranks_ = false;
  mallory.send("mine again");
  EXPECT_FALSE(next(500ms));
}

TEST_F(Security, WhatWasRecordedIsOfNoUseAgain) {
  std::string said;
  {
    Recorder recorder(port_of(router_->endpoint()));
    Dealer peer = std::move(Dealer::connect(recorder.endpoint(), "peer", Credentials{alice_, own_.public_key}).value());
    peer.send("pay 100");
    ASSERT_TRUE(next());
    EXPECT_EQ(peer.receive(3000ms), "re: pay 100");
    said = recorder.stop();
  }
  EXPECT_GT(said.size(), 500u);
  EXPECT_EQ(said.find("pay 100"), std::string::npos) << "it went in the clear";
  const int again = tcp_to(port_of(router_->endpoint()));
  ASSERT_EQ(write(again, said.data(), said.size()), static_cast<ssize_t>(said.size()));
  EXPECT_FALSE(next(1000ms)) << "a recorded message was heard again";
  EXPECT_TRUE(told(": "));  // without an address where the connection had ended before anyone could ask
  close(again);
}

TEST_F(Security, AnIdentityBelongsToTheKeyThatUsedItFirst) {
  {
    const std::lock_guard lock(mutex_);
    known_.insert(mallory_.public_key);
  }
  Dealer gang = dealer(alice_, "gang");
  gang.send("hello");
  ASSERT_TRUE(next());
  EXPECT_EQ(gang.receive(3000ms), "re: hello");
  Dealer thief = dealer(mallory_, "gang");
  thief.send("I am the gang");
  EXPECT_FALSE(next(500ms)) << "another key spoke under the name";
  router_->send("gang", "a trial");
  EXPECT_EQ(gang.receive(3000ms), "a trial");
  EXPECT_FALSE(thief.receive(100ms)) << "another key heard what was the gang's";
  gang.send("still here");
  EXPECT_TRUE(next());
}

}  // namespace
}  // namespace hivq
