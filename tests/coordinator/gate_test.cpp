#include "coordinator/gate.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "common/coordinator_file.h"
#include "coordinator/door_log.h"
#include "coordinator/server.h"
#include "jobs/client.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class GateTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
  std::unique_ptr<Gate> open() { return std::move(Gate::open({folder_ + "/keys", "", {}}).value()); }

  const std::string folder_ = fs::temp_directory_path().string() + "/hivq_gate_" + std::to_string(getpid());
};

TEST_F(GateTest, AKeyThatIsAddedIsKnownAtOnceAndARevokedOneSoon) {
  auto gate = open();
  const auto alice = add_key(folder_ + "/keys", "alice", Role::viewer).value();
  ASSERT_TRUE(gate->by_key(alice.key.public_key));
  EXPECT_EQ(gate->by_key(alice.key.public_key)->name, "alice");
  EXPECT_EQ(gate->by_token(http_token(alice.key.secret))->role, Role::viewer);
  EXPECT_EQ(gate->take_changes(), std::vector<std::string>{"the key of alice (viewer) was added"});
  ASSERT_TRUE(revoke_key(folder_ + "/keys", "alice"));
  gate->refresh();
  EXPECT_FALSE(gate->by_key(alice.key.public_key));
  EXPECT_FALSE(gate->by_token(http_token(alice.key.secret)));
  EXPECT_EQ(gate->take_changes(), std::vector<std::string>{"the key of alice (viewer) was revoked"});
}

TEST_F(GateTest, AListThatBecomesWrongChangesNothingAndIsToldOnce) {
  auto gate = open();
  const auto alice = add_key(folder_ + "/keys", "alice", Role::viewer).value();
  ASSERT_TRUE(gate->by_key(alice.key.public_key));
  gate->take_changes();
  std::ofstream(allowed_path(folder_ + "/keys")) << "not JSON at all";
  gate->refresh();
  gate->refresh();
  EXPECT_TRUE(gate->by_key(alice.key.public_key));
  const auto told = gate->take_changes();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(told[0].find("stays as it was"), std::string::npos);
}

TEST_F(GateTest, FilesOfKeysGiveARoleTooAndWhatTheListRevokesStaysSo) {
  const KeyPair gang = new_key_pair(), admin = new_key_pair();
  std::ofstream(folder_ + "/pool") << gang.secret;
  ASSERT_TRUE(write_key(folder_ + "/admin", {"ada", "operator", "", "", admin}));
  const GateOptions options{
      folder_ + "/keys", "", {{Role::gang, folder_ + "/pool"}, {Role::admin, folder_ + "/admin"}}};
  auto gate = std::move(Gate::open(options).value());
  EXPECT_EQ(gate->by_key(gang.public_key)->name, "pool");
  EXPECT_EQ(gate->by_key(gang.public_key)->role, Role::gang);
  EXPECT_EQ(gate->by_key(admin.public_key)->name, "ada");
  ASSERT_TRUE(add_key(folder_ + "/keys", "adas-own", Role::viewer, admin.public_key));
  ASSERT_TRUE(revoke_key(folder_ + "/keys", "adas-own"));
  gate->refresh();
  EXPECT_FALSE(gate->by_key(admin.public_key));
  const auto missing = Gate::open({folder_ + "/keys", "", {{Role::gang, folder_ + "/none"}}});
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("cannot be read"), std::string::npos);
}

TEST_F(GateTest, AKeyWhoseFileIsGoneIsNotKnownAndTheOthersAreReadAgain) {
  const KeyPair gang = new_key_pair();
  std::ofstream(folder_ + "/pool") << gang.secret;
  auto gate = std::move(Gate::open({folder_ + "/keys", "", {{Role::gang, folder_ + "/pool"}}}).value());
  const auto alice = add_key(folder_ + "/keys", "alice", Role::viewer).value();
  ASSERT_TRUE(gate->by_key(alice.key.public_key));
  ASSERT_TRUE(gate->by_key(gang.public_key));
  gate->take_changes();
  fs::remove(folder_ + "/pool");
  ASSERT_TRUE(revoke_key(folder_ + "/keys", "alice"));
  gate->refresh();
  gate->refresh();
  EXPECT_FALSE(gate->by_key(gang.public_key));
  EXPECT_FALSE(gate->by_key(alice.key.public_key));
  std::string told;
  for (const auto& change : gate->take_changes()) told += change + "\n";
  EXPECT_NE(told.find("a key is left out: "), told.npos) << told;
  EXPECT_EQ(told.find("left out"), told.rfind("left out")) << "told twice";
  std::ofstream(folder_ + "/pool") << gang.secret;
  EXPECT_TRUE(gate->by_key(gang.public_key)) << "it is there again";
}

TEST_F(GateTest, ItsOwnKeyMayBeElsewhere) {
  const KeyPair own = new_key_pair();
  std::ofstream(folder_ + "/own") << own.secret << '\n';
  auto gate = std::move(Gate::open({folder_ + "/keys", folder_ + "/own", {}}).value());
  EXPECT_EQ(gate->own().public_key, own.public_key);
  EXPECT_FALSE(fs::exists(own_key_path(folder_ + "/keys")));
  EXPECT_EQ(read_key(gang_key_path(folder_ + "/keys"))->coordinator_key, own.public_key);
}

TEST_F(GateTest, ASessionLastsHalfADayAndNoLongerThanItsKey) {
  auto gate = open();
  const auto alice = add_key(folder_ + "/keys", "a.li.ce", Role::submitter).value();
  const Person person = *gate->by_key(alice.key.public_key);
  const Millis now = 1'000'000'000'000;
  const std::string session = gate->session_of(person, now);
  EXPECT_EQ(gate->by_session(session, now + 11 * 3'600'000)->name, "a.li.ce");
  EXPECT_FALSE(gate->by_session(session, now + 13 * 3'600'000));
  for (const std::string& forged :
       {session + "0", "b" + session, std::string("x.9999999999999.0"), std::string("."), std::string()}) {
    EXPECT_FALSE(gate->by_session(forged, now)) << forged;
  }
  ASSERT_TRUE(revoke_key(folder_ + "/keys", "a.li.ce"));
  gate->refresh();
  EXPECT_FALSE(gate->by_session(session, now));
}

TEST_F(GateTest, EachRoleSendsWhatIsIts) {
  const Person viewer{"v", Role::viewer}, submitter{"s", Role::submitter}, admin{"o", Role::admin},
      gang{"g", Role::gang};
  for (const Body& read : {Body(ListJobs{}), Body(ShowJob{}), Body(QuerySql{}), Body(Watch{}), Body(FetchChunk{}),
                           Body(EstimateJob{}), Body(FindStudy{}), Body(FetchPicture{})}) {
    EXPECT_TRUE(may_send(viewer, read));
    EXPECT_TRUE(may_send(submitter, read));
    EXPECT_TRUE(may_send(admin, read));
  }
  for (const Body& wish :
       {Body(Submit{}), Body(Cancel{}), Body(SetPaused{}), Body(SetPriority{}), Body(Pin{}), Body(AttachFigure{}),
        Body(AskTrial{}), Body(SuggestValue{}), Body(ReportTrial{}), Body(EndTrial{})}) {
    EXPECT_FALSE(may_send(viewer, wish));
    EXPECT_TRUE(may_send(submitter, wish));
    EXPECT_FALSE(may_send(gang, wish));
  }
  for (const Body& wish : {Body(SetDrained{}), Body(Backup{})}) {
    EXPECT_FALSE(may_send(submitter, wish));
    EXPECT_TRUE(may_send(admin, wish));
    EXPECT_FALSE(may_send(gang, wish));
  }
  for (const Body& body : {Body(Hello{}), Body(Heartbeat{}), Body(Report{}), Body(Goodbye{})}) {
    EXPECT_TRUE(may_send(gang, body));
    EXPECT_FALSE(may_send(admin, body)) << "an operator is no gang: what a gang reports is believed";
  }
  EXPECT_FALSE(may_send(gang, ListJobs{}));
}

TEST_F(GateTest, WhatASenderSaysIsOneShortLineOfTheAudit) {
  Submit wish;
  wish.file = "a\nforged line" + std::string(10'000, 'x');
  wish.user = "ada";
  const std::string text = audit_text(wish);
  EXPECT_EQ(text.find('\n'), text.npos);
  EXPECT_LT(text.size(), 300u) << text;
  EXPECT_TRUE(text.ends_with("… for ada")) << text;
}

TEST_F(GateTest, AJobIsItsOwnersAndAnOperators) {
  EXPECT_TRUE(may_change({"ada", Role::submitter}, 7, "ada"));
  EXPECT_FALSE(may_change({"bob", Role::submitter}, 7, "ada"));
  EXPECT_TRUE(may_change({"root", Role::admin}, 7, "ada"));
  EXPECT_EQ(job_of(Cancel{7}), JobId(7));
  EXPECT_EQ(job_of(Pin{{8, 1}, -1, true}), JobId(8));
  EXPECT_FALSE(job_of(ListJobs{}));
}

TEST(RateLimit, LetsABurstThroughAndThenTheRate) {
  RateLimit limit(10, 5);
  int now_allowed = 0;
  for (int i = 0; i < 100; ++i) now_allowed += limit.allow("a", 1000);
  EXPECT_EQ(now_allowed, 5);
  EXPECT_TRUE(limit.allow("b", 1000));
  EXPECT_TRUE(limit.allow("a", 1100));
  EXPECT_FALSE(limit.allow("a", 1100));
}

TEST(DoorLog, AStormIsALineNowAndThen) {
  DoorLog door;
  for (int i = 0; i < 1000; ++i) door.note("10.0.0.1", "its key is not known");
  door.note("", "it left");
  auto lines = door.take(1000);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], "refused a peer that has left: it left");
  EXPECT_EQ(lines[1], "refused 10.0.0.1, 1000 times: its key is not known");
  door.note("10.0.0.1", "its key is not known");
  EXPECT_TRUE(door.take(2000).empty());
  EXPECT_EQ(door.take(70'000).size(), 1u);
  for (int i = 0; i < 5000; ++i) door.note(std::to_string(i), "x");
  EXPECT_LE(door.take(80'000).size(), 1001u);
}

TEST(DoorLog, WhatAStrangerSaidIsShortAndSteersNoTerminal) {
  DoorLog door;
  door.note("10.0.0.1", "it said \x1b[2J\nrefused 10.0.0.2: " + std::string(100'000, 'x'));
  const auto lines = door.take(1000);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_LT(lines[0].size(), 300u);
  for (const unsigned char c : lines[0]) EXPECT_TRUE(c >= 0x20 && c != 0x7f) << int{c};
}

// ---- With the server ----

class GuardedServer : public GateTest {
 protected:
  void SetUp() override {
    GateTest::SetUp();
    options_.data = folder_ + "/data";
    options_.listen = "tcp://127.0.0.1:0";
    options_.http = "off";
    options_.gate = GateOptions{};
    thread_ = std::thread([this] { ended_ = serve(options_, stop_, log_); });
    for (int i = 0; i < 1000 && !running_endpoint(options_.data); ++i) std::this_thread::sleep_for(10ms);
    ASSERT_TRUE(running_endpoint(options_.data));
  }
  void TearDown() override {
    stop_ = true;
    thread_.join();
    EXPECT_TRUE(ended_);
    GateTest::TearDown();
  }

  std::string keys() const { return options_.data + "/keys"; }
  std::string endpoint() const { return running_endpoint(options_.data).value(); }
  Credentials credentials(const KeyPair& key) const { return {key, coordinators_public_key(keys()).value()}; }
  Client client(const std::string& name, Role role) {
    ClientOptions options;
    options.credentials = credentials(add_key(keys(), name, role).value().key);
    return std::move(Client::connect(endpoint(), options).value());
  }
  static Submit job(const std::string& key, const std::string& user = "") {
    return Submit{key, "x.yaml", "name: x\nsweep: {parameters: {train.seed: [1, 2]}}\n", user};
  }

  ServerOptions options_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
  Status ended_;
  Log log_{"coordinator"};
};

TEST_F(GuardedServer, RolesAndOwnersDecide) {
  Client ada = client("ada", Role::submitter), bob = client("bob", Role::submitter),
         viewer = client("eve", Role::viewer), admin = client("root", Role::admin), gang = client("rack", Role::gang);
  EXPECT_EQ(ada.ask<Submitted>(job("a", "bob")).value().job, 1u);
  EXPECT_EQ(viewer.ask<JobDetail>(ShowJob{1}).value().job.user, "ada");
  EXPECT_NE(viewer.ask<Submitted>(job("b")).error().message.find("eve is a viewer"), std::string::npos);
  EXPECT_NE(bob.ask<Cancelled>(Cancel{1}).error().message.find("belongs to ada"), std::string::npos);
  EXPECT_NE(bob.ask<PausedSet>(SetPaused{"k", 1, true}).error().message.find("belongs to ada"), std::string::npos);
  EXPECT_NE(gang.ask<JobList>(ListJobs{}).error().message.find("rack is a gang"), std::string::npos);
  EXPECT_TRUE(ada.ask<PausedSet>(SetPaused{"k", 1, true}));
  EXPECT_TRUE(admin.ask<Cancelled>(Cancel{1}));
  // The job has ended: it is its owner's all the same.
  EXPECT_NE(bob.ask<Pinned>(Pin{{1, 0}, -1, true}).error().message.find("belongs to ada"), std::string::npos);
  EXPECT_EQ(bob.ask<Pinned>(Pin{{9, 0}, -1, true}).error().message.find("not allowed"), std::string::npos);
}

TEST_F(GuardedServer, ARevokedKeysConnectionIsHeardNoMore) {
  Client ada = client("ada", Role::submitter);
  ASSERT_TRUE(ada.ask<JobList>(ListJobs{}));
  ASSERT_TRUE(revoke_key(keys(), "ada"));
  bool refused = false;
  for (int i = 0; i < 50 && !refused; ++i) {
    refused = !ada.ask<JobList>(ListJobs{});
    std::this_thread::sleep_for(100ms);
  }
  EXPECT_TRUE(refused);
}

TEST_F(GuardedServer, NobodySpeaksForAnotherExceptTheCoordinatorItself) {
  add_key(keys(), "root", Role::admin).value();
  ClientOptions options;
  options.credentials = credentials(add_key(keys(), "eve", Role::viewer).value().key);
  options.behalf = "root";
  Client eve = std::move(Client::connect(endpoint(), options).value());
  EXPECT_NE(eve.ask<Submitted>(job("a")).error().message.find("eve is a viewer"), std::string::npos);
}

TEST_F(GuardedServer, AGangWithAKeyIsWelcomeAndOneWithAUsersIsNot) {
  const auto hello = encode({0, Hello{"0123456789abcdef", "node", "1 CPU rank", "", "0", 1, 1}});
  const auto said = [&](const KeyPair& key, const std::string& name) {
    Dealer dealer = std::move(Dealer::connect(endpoint(), name, credentials(key)).value());
    dealer.send(hello);
    const auto answer = dealer.receive(5000ms);
    return answer ? decode(*answer).value().body : Body(Leave{});
  };
  EXPECT_TRUE(
      std::holds_alternative<Failed>(said(add_key(keys(), "root", Role::admin).value().key, "fedcba9876543210")));
  EXPECT_TRUE(std::holds_alternative<Welcome>(said(read_key(gang_key_path(keys())).value().key, "0123456789abcdef")));
}

TEST_F(GuardedServer, WhoDidWhatAndWhoWasRefusedIsAmongTheEvents) {
  Client ada = client("ada", Role::submitter), eve = client("eve", Role::viewer);
  ASSERT_TRUE(ada.ask<Submitted>(job("a")));
  ASSERT_FALSE(eve.ask<Cancelled>(Cancel{1}));
  std::string all;
  for (int i = 0; i < 50 && all.find("refused") == all.npos; ++i) {
    std::this_thread::sleep_for(100ms);
    all.clear();
    const auto answer = ada.ask<SqlAnswer>(QuerySql{random_id(), "SELECT text FROM events", 0}).value();
    for (const auto& row : answer.rows) all += std::get<std::string>(row[0]) + '\n';
  }
  EXPECT_NE(all.find("the key of ada (submitter) was added"), std::string::npos) << all;
  EXPECT_NE(all.find("ada (submitter) from 127.0.0.1: submit x.yaml for ada"), std::string::npos) << all;
  EXPECT_NE(all.find("refused 127.0.0.1: not allowed: eve is a viewer, and 'cancel' needs the role submitter"),
            std::string::npos)
      << all;
}

}  // namespace
}  // namespace hivq
