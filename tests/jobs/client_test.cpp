#include "jobs/client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/jobs/fake_coordinator.h"

namespace hivq {
namespace {

using namespace std::chrono_literals;

Client connect(const std::string& endpoint, ClientOptions options = {}) {
  auto client = Client::connect(endpoint, std::move(options));
  EXPECT_TRUE(bool(client));
  return std::move(*client);
}

TEST(Client, ReturnsTheAnswer) {
  FakeCoordinator coordinator([](Router& router, const auto& peer, const Message& question) {
    const auto& submit = std::get<Submit>(question.body);
    reply(router, peer, question.id, Submitted{submit.key == "k" ? 7u : 0u});
  });
  Client client = connect(coordinator.endpoint());
  auto answer = client.ask<Submitted>(Submit{"k", "a.yaml", "name: a"});
  ASSERT_TRUE(bool(answer)) << answer.error().message;
  EXPECT_EQ(answer->job, 7u);
}

TEST(Client, SendsAgainWhenTheAnswerIsLostAndKeepsTheRequestsId) {
  std::atomic<int> questions{0};
  std::atomic<uint64_t> first_id{0};
  FakeCoordinator coordinator([&](Router& router, const auto& peer, const Message& question) {
    if (questions++ == 0) {
      first_id = question.id;
      return;  // lost
    }
    EXPECT_EQ(question.id, first_id);
    reply(router, peer, question.id, Submitted{1});
  });
  Client client = connect(coordinator.endpoint(), {50ms, 5s});
  auto answer = client.ask<Submitted>(Submit{"k", "", ""});
  ASSERT_TRUE(bool(answer)) << answer.error().message;
  EXPECT_GE(questions, 2);
}

TEST(Client, IgnoresTheLateAnswerToAnEarlierQuestion) {
  std::atomic<uint64_t> unanswered{0};
  FakeCoordinator coordinator([&](Router& router, const auto& peer, const Message& question) {
    if (std::holds_alternative<ListJobs>(question.body)) {
      unanswered = question.id;
      return;
    }
    reply(router, peer, unanswered, JobList{});  // too late
    reply(router, peer, question.id, GangList{{GangView{"g", "h", "", "", "", 2, {}, true}}});
    reply(router, peer, question.id, GangList{});  // repeated
  });
  Client client = connect(coordinator.endpoint());
  EXPECT_FALSE(client.try_ask<JobList>(ListJobs{}, 100ms).has_value());
  ASSERT_NE(unanswered, 0u);
  for (int i = 0; i < 2; ++i) {
    auto answer = client.ask<GangList>(QueryGangs{});
    ASSERT_TRUE(bool(answer)) << answer.error().message;
    ASSERT_EQ(answer->gangs.size(), 1u);
  }
}

TEST(Client, HandsOnTheCoordinatorsSentence) {
  FakeCoordinator coordinator([](Router& router, const auto& peer, const Message& question) {
    reply(router, peer, question.id, Failed{"there is no job 9; `hivq list` shows them"});
  });
  Client client = connect(coordinator.endpoint());
  auto answer = client.ask<JobDetail>(ShowJob{9});
  ASSERT_FALSE(bool(answer));
  EXPECT_EQ(answer.error().message, "there is no job 9; `hivq list` shows them");
}

TEST(Client, SaysThatNobodyAnswersAtTheDeadline) {
  std::string endpoint;
  {
    auto router = Router::bind("tcp://127.0.0.1:0");
    endpoint = router->endpoint();
  }
  Client client = connect(endpoint, {50ms, 200ms});
  auto begin = std::chrono::steady_clock::now();
  auto answer = client.ask<JobList>(ListJobs{});
  auto took = std::chrono::steady_clock::now() - begin;
  ASSERT_FALSE(bool(answer));
  EXPECT_NE(answer.error().message.find("no coordinator answers at " + endpoint), std::string::npos);
  EXPECT_NE(answer.error().message.find("hivq-coordinator"), std::string::npos);
  EXPECT_GE(took, 200ms);
  EXPECT_LT(took, 2s);
}

TEST(Client, GivesUpAtOnceWhenInterrupted) {
  FakeCoordinator coordinator([](Router&, const auto&, const Message&) {});
  std::atomic<bool> stop{false};
  Client client = connect(coordinator.endpoint(), {1s, 20s, [&] { return stop.load(); }});
  std::thread interrupt([&] {
    std::this_thread::sleep_for(100ms);
    stop = true;
  });
  auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(client.try_ask<JobList>(ListJobs{}, 20s).has_value());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
  interrupt.join();
}

TEST(Client, NamesAnAnswerOfTheWrongKind) {
  FakeCoordinator coordinator([](Router& router, const auto& peer, const Message& question) {
    reply(router, peer, question.id, Submitted{1});
  });
  Client client = connect(coordinator.endpoint());
  auto answer = client.ask<JobList>(ListJobs{});
  ASSERT_FALSE(bool(answer));
  EXPECT_NE(answer.error().message.find("'submitted'"), std::string::npos) << answer.error().message;
}

TEST(Client, SaysThatAnAnswerCannotBeRead) {
  FakeCoordinator coordinator(
      [](Router& router, const auto& peer, const Message&) { router.send(peer, "\xc1 no msgpack"); });
  Client client = connect(coordinator.endpoint());
  auto answer = client.ask<JobList>(ListJobs{});
  ASSERT_FALSE(bool(answer));
  EXPECT_NE(answer.error().message.find("cannot be read"), std::string::npos) << answer.error().message;
}

TEST(Client, FindsACoordinatorThatComesLater) {
  std::string endpoint;
  {
    auto router = Router::bind("tcp://127.0.0.1:0");
    endpoint = router->endpoint();
  }
  Client client = connect(endpoint, {100ms, 10s});
  std::thread later([&] {
    std::this_thread::sleep_for(300ms);
    auto router = Router::bind(endpoint);
    ASSERT_TRUE(bool(router)) << router.error().message;
    auto incoming = router->receive(5s);
    ASSERT_TRUE(incoming.has_value());
    reply(*router, incoming->identity, decode(incoming->bytes)->id, JobList{});
    std::this_thread::sleep_for(100ms);
  });
  auto answer = client.ask<JobList>(ListJobs{});
  EXPECT_TRUE(bool(answer));
  later.join();
}

TEST(Client, RefusesAnEndpointThatIsNone) {
  auto client = Client::connect("localhost");
  ASSERT_FALSE(bool(client));
  EXPECT_NE(client.error().message.find("tcp://HOST:PORT"), std::string::npos);
}

}  // namespace
}  // namespace hivq
