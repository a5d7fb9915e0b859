#include "common/transport.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <thread>

namespace hivq {
namespace {

using namespace std::chrono_literals;

Router bind_anywhere() { return std::move(Router::bind("tcp://127.0.0.1:0").value()); }

/// Sends until the answer is there: what goes to a peer that is away may be lost.
std::optional<std::string> ask(Dealer& dealer, Router& router, const std::string& question) {
  for (int i = 0; i < 100; ++i) {
    dealer.send(question);
    if (auto incoming = router.receive(100ms)) {
      router.send(incoming->identity, "re: " + incoming->bytes);
      if (auto answer = dealer.receive(1000ms)) return answer;
    }
  }
  return std::nullopt;
}

TEST(Transport, CarriesAQuestionAndItsAnswer) {
  Router router = bind_anywhere();
  EXPECT_TRUE(router.endpoint().starts_with("tcp://127.0.0.1:")) << router.endpoint();
  EXPECT_FALSE(router.endpoint().ends_with(":0"));
  Dealer dealer = std::move(Dealer::connect(router.endpoint(), "0123456789abcdef").value());
  std::string bytes("\0 any bytes \xff", 13);
  ASSERT_TRUE(dealer.send(bytes));
  auto incoming = router.receive(5000ms);
  ASSERT_TRUE(incoming);
  EXPECT_EQ(incoming->identity, "0123456789abcdef");
  EXPECT_EQ(incoming->bytes, bytes);
  router.send(incoming->identity, "answer");
  EXPECT_EQ(dealer.receive(5000ms), "answer");
}

TEST(Transport, NothingComesAfterTheTimeout) {
  Router router = bind_anywhere();
  EXPECT_FALSE(router.receive(0ms));
  EXPECT_FALSE(router.receive(20ms));
  router.send("nobody", "to a peer that is not there");
}

TEST(Transport, ADealerFindsARouterThatComesBackAtTheSamePort) {
  auto router = std::make_unique<Router>(bind_anywhere());
  std::string endpoint = router->endpoint();
  Dealer dealer = std::move(Dealer::connect(endpoint, "gang").value());
  EXPECT_EQ(ask(dealer, *router, "first"), "re: first");
  router.reset();
  dealer.send("while it is away");
  std::this_thread::sleep_for(200ms);
  router = std::make_unique<Router>(std::move(Router::bind(endpoint).value()));
  auto answer = ask(dealer, *router, "second");
  ASSERT_TRUE(answer);
  EXPECT_TRUE(*answer == "re: second" || *answer == "re: while it is away") << *answer;
}

TEST(Transport, ANewConnectionTakesItsNameOver) {
  Router router = bind_anywhere();
  auto old = std::make_unique<Dealer>(std::move(Dealer::connect(router.endpoint(), "gang").value()));
  EXPECT_EQ(ask(*old, router, "old"), "re: old");
  Dealer fresh = std::move(Dealer::connect(router.endpoint(), "gang").value());
  EXPECT_EQ(ask(fresh, router, "fresh"), "re: fresh");
}

TEST(Transport, APortInUseIsASentence) {
  Router router = bind_anywhere();
  auto second = Router::bind(router.endpoint());
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("is in use"), std::string::npos) << second.error().message;
  EXPECT_NE(second.error().message.find("--listen"), std::string::npos);
}

TEST(Transport, AnAddressThatIsNotOursIsASentence) {
  auto foreign = Router::bind("tcp://192.0.2.1:4487");  // TEST-NET-1
  ASSERT_FALSE(foreign);
  EXPECT_NE(foreign.error().message.find("not an address of this machine"), std::string::npos)
      << foreign.error().message;
  for (const char* wrong : {"", "127.0.0.1:99", "tcp://127.0.0.1", "tcp://127.0.0.1:notaport"}) {
    EXPECT_FALSE(Router::bind(wrong)) << wrong;
    auto dealer = Dealer::connect(wrong, "x");
    ASSERT_FALSE(dealer) << wrong;
    EXPECT_NE(dealer.error().message.find("tcp://HOST:PORT"), std::string::npos);
  }
}

TEST(Transport, WakeEndsAReceiveThatWaits) {
  Router router = bind_anywhere();
  Dealer dealer = std::move(Dealer::connect(router.endpoint(), "gang").value());
  auto begin = std::chrono::steady_clock::now();
  std::thread waker([&] {
    std::this_thread::sleep_for(50ms);
    dealer.wake();
  });
  EXPECT_FALSE(dealer.receive(20s));
  waker.join();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST(Transport, ASendToARouterThatIsAwayEndsAtTheQueueAndDoesNotBlock) {
  Dealer dealer = std::move(Dealer::connect("tcp://127.0.0.1:9", "gang").value());  // nobody listens there
  int sent = 0;
  while (sent < 10'000 && dealer.send("x")) ++sent;
  EXPECT_LT(sent, 10'000);
}

TEST(Transport, APeerThatSpeaksAnotherProtocolDoesNoHarm) {
  Router router = bind_anywhere();
  int port = std::stoi(router.endpoint().substr(router.endpoint().rfind(':') + 1));
  int stranger = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  ASSERT_EQ(connect(stranger, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  std::string http = "GET / HTTP/1.1\r\nHost: x\r\n\r\n" + std::string(100'000, '\xff');
  ASSERT_GT(send(stranger, http.data(), http.size(), MSG_NOSIGNAL), 0);
  Dealer dealer = std::move(Dealer::connect(router.endpoint(), "gang").value());
  EXPECT_EQ(ask(dealer, router, "still there?"), "re: still there?");
  close(stranger);
}

TEST(Transport, AMessageAboveTheLimitIsNotTaken) {
  Router router = bind_anywhere();
  Dealer dealer = std::move(Dealer::connect(router.endpoint(), "gang").value());
  dealer.send(std::string(65 << 20, 'x'));
  EXPECT_FALSE(router.receive(500ms));
  Dealer other = std::move(Dealer::connect(router.endpoint(), "other").value());
  EXPECT_EQ(ask(other, router, "small"), "re: small");
}

}  // namespace
}  // namespace hivq
