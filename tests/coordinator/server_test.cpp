// The coordinator's shell with its sockets and its store, in a thread.

#include "coordinator/server.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "common/process.h"
#include "common/sha256.h"
#include "coordinator/store.h"
#include "jobs/client.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class ServerTest : public testing::Test {
 protected:
  std::string folder_ = fs::temp_directory_path().string() + "/hivq_server_" + std::to_string(getpid());
  ServerOptions options_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
  Status ended_;
  Log log_{"coordinator"};

  void SetUp() override {
    fs::create_directories(folder_);
    options_.data = folder_ + "/data";
    options_.listen = "tcp://127.0.0.1:0";
    options_.reserve_bytes = 0;
  }
  void TearDown() override {
    stop();
    umount2(options_.data.c_str(), MNT_DETACH);
    fs::remove_all(folder_);
  }
  void start() {
    stop_ = false;
    fs::remove(options_.data + "/coordinator.json");
    thread_ = std::thread([this] { ended_ = serve(options_, stop_, log_); });
    for (int i = 0; i < 1000 && !running_endpoint(options_.data); ++i) std::this_thread::sleep_for(10ms);
    ASSERT_TRUE(running_endpoint(options_.data));
  }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  std::string endpoint() const { return running_endpoint(options_.data).value(); }
  Client client() const { return std::move(Client::connect(endpoint()).value()); }
  static Submit job(const std::string& key) {
    return Submit{key, "x.yaml", "name: x\nsweep: {parameters: {train.seed: [1, 2]}}\n"};
  }
};

TEST_F(ServerTest, WhatWasAcknowledgedIsThereAfterAnEndInOrder) {
  start();
  EXPECT_EQ(client().ask<Submitted>(job("a")).value().job, 1u);
  stop();
  EXPECT_TRUE(ended_);
  start();
  EXPECT_EQ(client().ask<JobList>(ListJobs{}).value().jobs.size(), 1u);
  EXPECT_EQ(client().ask<Submitted>(job("a")).value().job, 1u);
  EXPECT_EQ(client().ask<Submitted>(job("b")).value().job, 2u);
}

TEST_F(ServerTest, AWatcherHearsOfAChangeAtOnceAndOfNoneAfterItsWait) {
  start();
  auto asking = client();
  ASSERT_TRUE(asking.ask<Submitted>(job("a")));
  const auto version = asking.ask<Changed>(Watch{1, 0, 5000}).value().version;
  auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(asking.ask<Changed>(Watch{1, version, 300}).value().changed);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 300ms);
  std::thread other([&] {
    std::this_thread::sleep_for(200ms);
    EXPECT_TRUE(client().ask<Cancelled>(Cancel{1}));
  });
  begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(asking.ask<Changed>(Watch{1, version, 5000}).value().changed);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 4s);
  other.join();
}

TEST_F(ServerTest, ABackupIsMadeWhileItRuns) {
  start();
  auto asking = client();
  ASSERT_TRUE(asking.ask<Submitted>(job("a")));
  auto done = asking.ask<BackedUp>(Backup{folder_ + "/backups"});
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_GT(done->bytes, 0u);
  EXPECT_FALSE(asking.ask<BackedUp>(Backup{"relative"}));
  ASSERT_TRUE(Store::restore(folder_ + "/backups", folder_ + "/restored", done->number));
  EXPECT_EQ(Store::open(folder_ + "/restored")->snapshot().value().jobs.size(), 1u);
}

TEST_F(ServerTest, WithLittleSpaceLeftNewJobsAreRefusedAndTheRestGoesOn) {
  options_.reserve_bytes = uint64_t{1} << 60;
  start();
  std::this_thread::sleep_for(300ms);
  auto refused = client().ask<Submitted>(job("a"));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("is almost full"), std::string::npos) << refused.error().message;
  EXPECT_TRUE(client().ask<JobList>(ListJobs{}));
}

/// A gang by hand: what it sends and what it hears.
struct Gang {
  explicit Gang(const std::string& endpoint, const std::string& name = "0123456789abcdef")
      : id(name), dealer(std::move(Dealer::connect(endpoint, name).value())) {
    Hello hello;
    hello.gang = id;
    hello.ranks = 2;
    say(hello);
    say(Heartbeat{id, {}});
  }
  void say(Body body) { dealer.send(encode({0, std::move(body)})); }
  template <typename T>
  std::optional<T> hear(std::chrono::milliseconds limit = 5s) {
    for (auto end = std::chrono::steady_clock::now() + limit; std::chrono::steady_clock::now() < end;) {
      auto bytes = dealer.receive(100ms);
      if (!bytes) continue;
      auto message = decode(*bytes);
      if (message && std::holds_alternative<T>(message->body)) return std::get<T>(message->body);
    }
    return std::nullopt;
  }
  std::string id;
  Dealer dealer;
};

std::string noise(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (auto& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

TEST_F(ServerTest, AFullDiskRefusesWhatIsNewAndGoesOnOnceThereIsSpace) {
  fs::create_directories(options_.data);
  if (mount("none", options_.data.c_str(), "tmpfs", 0, "size=24m") != 0) GTEST_SKIP() << "this user may not mount a tmpfs";
  start();
  ASSERT_TRUE(client().ask<Submitted>(job("a")));
  Gang gang(endpoint());
  auto assign = gang.hear<Assign>();
  ASSERT_TRUE(assign);
  const Lease lease = assign->parts.at(0).lease;
  // Chunks until one is not acknowledged any more.
  uint64_t number = 0, acknowledged = 0;
  const auto chunk = [&](uint64_t i) {
    const std::string bytes = noise(1 << 20, static_cast<uint32_t>(i));
    return pack_item(ChunkItem{sha256_hex(bytes), bytes});
  };
  while (number < 100) {
    gang.say(Report{gang.id, lease, ++number, {chunk(number)}});
    auto ack = gang.hear<Ack>(3s);
    if (!ack) break;
    acknowledged = ack->last;
  }
  ASSERT_LT(number, 100u);
  ASSERT_GT(acknowledged, 5u);
  // The coordinator lives, answers, and says why it takes nothing.
  EXPECT_EQ(client().ask<JobList>(ListJobs{}).value().jobs.size(), 1u);
  auto refused = client().ask<Submitted>(job("b"));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("is full"), std::string::npos) << refused.error().message;
  gang.say(Heartbeat{gang.id, {{lease, 1, 2, ""}}});
  EXPECT_TRUE(gang.hear<Heard>());
  ASSERT_EQ(mount("none", options_.data.c_str(), "tmpfs", MS_REMOUNT, "size=200m"), 0);
  // The gang sends again what was not acknowledged, as it does anyway.
  std::optional<Ack> ack;
  for (int i = 0; i < 20 && (!ack || ack->last < number); ++i) {
    gang.say(Heartbeat{gang.id, {{lease, 1, 2, ""}}});
    gang.say(Report{gang.id, lease, number, {chunk(number)}});
    ack = gang.hear<Ack>(1s);
  }
  ASSERT_TRUE(ack);
  EXPECT_EQ(ack->last, number);
  EXPECT_EQ(client().ask<Submitted>(job("b")).value().job, 2u);
  stop();
  EXPECT_TRUE(ended_);
  auto store = Store::open(options_.data);
  ASSERT_TRUE(store);
  for (uint64_t i = 1; i <= number; ++i) {
    EXPECT_TRUE(store->get(Family::blobs, sha256_hex(noise(1 << 20, static_cast<uint32_t>(i)))).value()) << i;
  }
}

/// The most memory that a process has had so far.
uint64_t peak_bytes(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10) << 10;
  }
  return 0;
}

// Sixteen peers pour out messages of 4 MiB as fast as the sockets take them; others are heard all the same.
TEST_F(ServerTest, AFloodDoesNotFillTheMemory) {
  SpawnOptions spawning;
  spawning.command = {HIVQ_BIN_DIR "/hivq-coordinator", "--data", options_.data, "--listen", options_.listen};
  spawning.output = folder_ + "/log";
  const auto process = spawn(spawning).value();
  for (int i = 0; i < 1000 && !running_endpoint(options_.data); ++i) std::this_thread::sleep_for(10ms);
  ASSERT_TRUE(running_endpoint(options_.data));
  std::vector<std::thread> peers;
  std::atomic<bool> enough{false};
  std::atomic<uint64_t> sent{0};
  for (int i = 0; i < 16; ++i) {
    peers.emplace_back([&, i] {
      auto dealer = std::move(Dealer::connect(endpoint(), fmt::format("flood-{}", i)).value());
      const std::string bytes = encode({0, Report{"flood", {{1, 0}, 1}, 1, {std::string(4 << 20, 'x')}}});
      while (!enough) {
        if (dealer.send(bytes)) {
          sent += bytes.size();
        } else {
          std::this_thread::sleep_for(1ms);
        }
        while (dealer.receive(0ms)) {
        }
      }
    });
  }
  bool answered = true;
  uint64_t asked = 0;
  for (auto end = std::chrono::steady_clock::now() + 4s; std::chrono::steady_clock::now() < end; ++asked) {
    const auto said = client().try_ask<JobList>(ListJobs{}, 120s);  // the machine may be busy with more than this
    answered &= said && *said;
    std::this_thread::sleep_for(20ms);
  }
  const uint64_t peak = peak_bytes(process.pid);
  enough = true;
  for (auto& peer : peers) peer.join();
  hivq::stop(process, 20s);
  fmt::print("{} MB poured out, {} questions answered meanwhile, {} MB of memory at most\n", sent / 1000000, asked,
             peak / 1000000);
  EXPECT_TRUE(answered);
  EXPECT_GT(sent, uint64_t{200} << 20);
  EXPECT_GT(peak, 0u);
  // 16 messages of each peer that are not read yet, what is being read of each, and a round.
  EXPECT_LT(peak, 16 * 18 * (uint64_t{4} << 20) + (uint64_t{300} << 20));
}

TEST_F(ServerTest, ATooLargeMessageIsNotTaken) {
  start();
  auto dealer = std::move(Dealer::connect(endpoint(), "large").value());
  dealer.send(encode({1, Submit{"k", "x.yaml", std::string(64 << 20, 'x')}}));
  EXPECT_FALSE(dealer.receive(1s));
  EXPECT_TRUE(client().ask<JobList>(ListJobs{}));
}

TEST_F(ServerTest, AGangThatIsGivenLittleCreditIsToldSo) {
  options_.core.input_bytes = 1 << 20;
  start();
  Gang one(endpoint(), "0000000000000001"), two(endpoint(), "0000000000000002");
  ASSERT_TRUE(two.hear<Welcome>());
  one.say(Heartbeat{one.id, {}});
  std::optional<Heard> heard;
  for (int i = 0; i < 10 && (!heard || heard->credit != 512 << 10); ++i) {
    one.say(Heartbeat{one.id, {}});
    heard = one.hear<Heard>();
  }
  ASSERT_TRUE(heard);
  EXPECT_EQ(heard->credit, 512u << 10);
}

}  // namespace
}  // namespace hivq
