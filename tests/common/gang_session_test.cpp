#include "common/gang_session.h"

#include <gtest/gtest.h>

#include "common/sha256.h"

namespace hivq {
namespace {

const Lease lease{{1, 0}, 5};

class Session : public testing::Test {
 protected:
  static constexpr SessionOptions options{};

  void SetUp() override {
    receive(Welcome{"1"});
    session_.take_outgoing();
  }
  static Hello hello() {
    Hello hello;
    hello.gang = "0123456789abcdef";
    return hello;
  }
  static Assign assign(const std::vector<Lease>& leases, const Manifest& checkpoint = {}) {
    Assign assign;
    for (const Lease& each : leases) assign.parts.push_back({each, "spec", checkpoint, false});
    return assign;
  }
  void receive(Body body) { session_.receive({0, std::move(body)}, now_); }
  void tick(Millis later) {
    now_ += later;
    session_.tick(now_);
  }
  /// The bodies of one kind that are to be sent; the others are dropped.
  template <typename T>
  std::vector<T> sent() {
    std::vector<T> found;
    for (auto& message : session_.take_outgoing()) {
      if (auto* body = std::get_if<T>(&message.body)) found.push_back(*body);
    }
    return found;
  }
  /// The numbers of the items that are to be sent.
  std::vector<uint64_t> sent_items() {
    std::vector<uint64_t> numbers;
    for (const auto& report : sent<Report>()) {
      for (size_t i = 0; i < report.items.size(); ++i) numbers.push_back(report.first + i);
    }
    return numbers;
  }
  void begin() {
    receive(assign({lease}));
    ASSERT_EQ(session_.take_assignments().size(), 1u);
    session_.take_outgoing();
  }
  void report(int count) {
    for (int i = 0; i < count; ++i) session_.report(lease, MetricsItem{i, {{"loss", 1.0}}}, now_);
  }

  Millis now_ = 1'000'000;
  GangSession session_{hello(), options};
};

using Numbers = std::vector<uint64_t>;

TEST_F(Session, SaysHelloUntilItIsWelcome) {
  GangSession fresh(hello());
  auto hellos = [&] {
    size_t count = 0;
    for (const auto& message : fresh.take_outgoing()) count += std::holds_alternative<Hello>(message.body);
    return count;
  };
  EXPECT_EQ(hellos(), 1u);
  fresh.tick(1000);
  EXPECT_EQ(hellos(), 1u);
  fresh.receive({0, Welcome{"1"}}, 1500);
  fresh.tick(2000);
  EXPECT_EQ(hellos(), 0u);
  fresh.receive({0, HelloAgain{}}, 2500);
  EXPECT_EQ(hellos(), 1u);
}

TEST_F(Session, BeatsOnceASecondWithItsLeaseAndProgress) {
  begin();
  session_.set_progress(lease, 3, 10, "training");
  tick(1000);
  auto beats = sent<Heartbeat>();
  ASSERT_EQ(beats.size(), 1u);
  ASSERT_EQ(beats[0].trials.size(), 1u);
  EXPECT_EQ(beats[0].trials[0].lease, lease);
  EXPECT_EQ(beats[0].trials[0].step, 3);
  tick(500);
  EXPECT_TRUE(sent<Heartbeat>().empty());
  tick(500);
  EXPECT_EQ(sent<Heartbeat>().size(), 1u);
}

TEST_F(Session, HearsTheAnswersToItsHeartbeats) {
  tick(5000);
  receive(Heard{});
  EXPECT_EQ(session_.last_heard(), now_);
}

TEST_F(Session, SendsItemsInOrderAndOnce) {
  begin();
  report(3);
  tick(100);
  EXPECT_EQ(sent_items(), (Numbers{1, 2, 3}));
  report(1);
  tick(100);
  EXPECT_EQ(sent_items(), (Numbers{4}));
}

TEST_F(Session, SendsAgainFromTheFirstThatIsNotAcknowledgedMoreSlowlyEachTime) {
  begin();
  report(4);
  tick(100);
  sent_items();
  receive(Ack{lease, 2});
  tick(1900);
  EXPECT_EQ(sent_items(), Numbers{});
  tick(100);
  EXPECT_EQ(sent_items(), (Numbers{3, 4}));
  tick(2000);
  EXPECT_EQ(sent_items(), Numbers{});
  tick(2000);
  EXPECT_EQ(sent_items(), (Numbers{3, 4}));
  receive(Ack{lease, 3});  // progress: quick again
  tick(2000);
  EXPECT_EQ(sent_items(), (Numbers{4}));
}

TEST_F(Session, SendsAtOnceToACoordinatorThatHasComeBack) {
  begin();
  report(2);
  tick(100);
  sent_items();
  receive(Welcome{"1"});
  EXPECT_EQ(sent_items(), (Numbers{1, 2}));
}

TEST_F(Session, KeepsAtMostTheWindowOnItsWay) {
  begin();
  const std::string part(chunk_bytes, 'x');
  for (int i = 0; i < 10; ++i) session_.report(lease, ChunkItem{"hash", part}, now_);
  tick(100);
  EXPECT_EQ(sent_items(), (Numbers{1, 2, 3, 4}));  // 16 MiB
  tick(100);
  EXPECT_EQ(sent_items(), Numbers{});
  receive(Ack{lease, 1});
  EXPECT_EQ(sent_items(), (Numbers{5}));
  receive(Ack{lease, 1});  // again: nothing new
  EXPECT_EQ(sent_items(), Numbers{});
  tick(2000);  // all of the window again, and no more than it
  EXPECT_EQ(sent_items(), (Numbers{2, 3, 4, 5}));
  receive(Ack{lease, 5});
  EXPECT_EQ(sent_items(), (Numbers{6, 7, 8, 9}));
}

TEST_F(Session, IsFullWhenTheCoordinatorIsAwayForLong) {
  SessionOptions small;
  small.buffer_bytes = 1000;
  GangSession session(hello(), small);
  session.receive({0, assign({lease})}, now_);
  EXPECT_FALSE(session.full());
  session.report(lease, LogItem{std::string(2000, 'x')}, now_);
  EXPECT_TRUE(session.full());
  session.receive({0, Ack{lease, 1}}, now_);
  EXPECT_FALSE(session.full());
}

TEST_F(Session, IsFreeOnceTheEndIsAcknowledged) {
  begin();
  report(1);
  session_.report(lease, EndItem{}, now_);
  report(1);  // after the end: ignored
  tick(100);
  EXPECT_EQ(sent_items(), (Numbers{1, 2}));
  receive(Ack{lease, 1});
  EXPECT_TRUE(session_.busy());
  receive(Ack{lease, 2});
  EXPECT_FALSE(session_.busy());
  EXPECT_EQ(session_.refusal(), "");
}

TEST_F(Session, DropsATrialThatIsRefused) {
  begin();
  report(3);
  receive(Refused{{{1, 0}, 4}, "an older one"});
  EXPECT_TRUE(session_.holds(lease));
  receive(Refused{lease, "the job was cancelled"});
  EXPECT_FALSE(session_.holds(lease));
  EXPECT_EQ(session_.refusal(), "the job was cancelled");
  report(1);
  tick(100);
  EXPECT_EQ(sent_items(), Numbers{});
}

TEST_F(Session, TakesARefusalThatOvertakesItsAssignment) {
  receive(Refused{lease, "cancelled"});
  receive(assign({lease}));
  EXPECT_FALSE(session_.busy());
  receive(assign({{{2, 0}, 6}}));
  EXPECT_TRUE(session_.busy());
}

TEST_F(Session, TakesAnAssignmentOnce) {
  begin();
  receive(assign({lease}));
  EXPECT_TRUE(session_.take_assignments().empty());
  session_.report(lease, EndItem{}, now_);
  receive(Ack{lease, 1});
  receive(assign({lease}));  // late
  EXPECT_FALSE(session_.busy());
}

TEST_F(Session, ANewerLeaseEndsTheOneBefore) {
  begin();
  report(2);
  const Lease newer{{1, 1}, 9};
  receive(assign({newer}));
  EXPECT_FALSE(session_.holds(lease));
  EXPECT_TRUE(session_.holds(newer));
  EXPECT_NE(session_.refusal(), "");
  tick(100);
  EXPECT_EQ(sent_items(), Numbers{});  // nothing of the old stream under the new lease
}

TEST_F(Session, TellsANewStoreTheNewestEpochThatItHasSeen) {
  begin();
  receive(HelloAgain{});
  auto hellos = sent<Hello>();
  ASSERT_EQ(hellos.size(), 1u);
  EXPECT_EQ(hellos[0].epoch, lease.epoch);
}

class Fetching : public Session {
 protected:
  void SetUp() override {
    Session::SetUp();
    for (int i = 0; i < 6; ++i) parts_.push_back("part " + std::to_string(i));
    parts_.push_back(parts_[0]);  // the same bytes twice: one chunk
    manifest_.step = 12;
    for (const auto& part : parts_) {
      manifest_.size += part.size();
      manifest_.chunks.push_back(sha256_hex(part));
    }
  }
  std::vector<std::string> asked() {
    std::vector<std::string> hashes;
    for (const auto& fetch : sent<FetchChunk>()) hashes.push_back(fetch.hash);
    return hashes;
  }
  void give(size_t i) { receive(Chunk{manifest_.chunks[i], parts_[i], ""}); }

  std::vector<std::string> parts_;
  Manifest manifest_;
};

TEST_F(Fetching, AsksForEachChunkOnceAWindowAtATime) {
  receive(assign({lease}, manifest_));
  EXPECT_EQ(asked(), (std::vector<std::string>(manifest_.chunks.begin(), manifest_.chunks.begin() + 4)));
  for (size_t i : {3, 1, 0}) give(i);
  give(1);  // again
  EXPECT_TRUE(asked().empty());
  give(2);
  EXPECT_EQ(asked(), (std::vector<std::string>{manifest_.chunks[4], manifest_.chunks[5]}));
  give(5);
  EXPECT_TRUE(session_.take_assignments().empty());
  give(4);
  auto assignments = session_.take_assignments();
  ASSERT_EQ(assignments.size(), 1u);
  EXPECT_EQ(assignments[0].checkpoint_step, 12);
  std::string all;
  for (const auto& part : parts_) all += part;
  EXPECT_EQ(assignments[0].checkpoint, all);
}

TEST_F(Fetching, AsksAgainForWhatDidNotArriveOrArrivedDamaged) {
  receive(assign({lease}, manifest_));
  asked();
  give(0);
  receive(Chunk{manifest_.chunks[1], "other bytes", ""});
  tick(2000);
  auto hashes = asked();
  EXPECT_EQ(hashes, (std::vector<std::string>(manifest_.chunks.begin() + 1, manifest_.chunks.begin() + 5)));
}

TEST_F(Fetching, AChunkThatIsLostOnDiskFailsTheTrialWithTheReason) {
  receive(assign({lease}, manifest_));
  receive(Chunk{manifest_.chunks[1], "", "it is damaged on disk"});
  EXPECT_TRUE(session_.take_assignments().empty());
  tick(100);
  auto reports = sent<Report>();
  ASSERT_EQ(reports.size(), 1u);
  auto end = std::get<EndItem>(unpack_item(reports[0].items.at(0)).value());
  EXPECT_TRUE(end.failed);
  EXPECT_NE(end.reason.find("it is damaged on disk"), std::string::npos) << end.reason;
}

TEST_F(Fetching, ACheckpointOfTheWrongSizeFailsTheTrial) {
  manifest_.size += 1;
  receive(assign({lease}, manifest_));
  for (size_t i = 0; i < 6; ++i) give(i);
  EXPECT_TRUE(session_.take_assignments().empty());
  tick(100);
  ASSERT_EQ(sent<Report>().size(), 1u);
}

// ---- Packs ----

const Lease beside{{1, 1}, 5};

class Pack : public Session {
 protected:
  void SetUp() override {
    Session::SetUp();
    receive(assign({lease, beside}));
    ASSERT_EQ(session_.take_assignments().size(), 2u);
    session_.take_outgoing();
  }
  void report(const Lease& of, int count) {
    for (int i = 0; i < count; ++i) session_.report(of, MetricsItem{i, {{"loss", 1.0}}}, now_);
  }
  /// The numbers of the items that are to be sent, by trial.
  std::map<TrialId, Numbers> sent_by_trial() {
    std::map<TrialId, Numbers> numbers;
    for (const auto& report : sent<Report>()) {
      for (size_t i = 0; i < report.items.size(); ++i) numbers[report.lease.trial].push_back(report.first + i);
    }
    return numbers;
  }
};

TEST_F(Pack, EachTrialHasAStreamOfItsOwn) {
  report(lease, 2);
  report(beside, 3);
  tick(100);
  EXPECT_EQ(sent_by_trial(), (std::map<TrialId, Numbers>{{{1, 0}, {1, 2}}, {{1, 1}, {1, 2, 3}}}));
  receive(Ack{beside, 3});
  tick(2000);  // only what is not acknowledged comes again
  EXPECT_EQ(sent_by_trial(), (std::map<TrialId, Numbers>{{{1, 0}, {1, 2}}}));
}

TEST_F(Pack, AStreamWhoseReportWasLostIsSentAgainWhileTheOtherGoesOn) {
  report(lease, 1);
  report(beside, 1);
  tick(100);
  sent_by_trial();
  for (int i = 1; i < 19; ++i) {  // the other makes progress all the time
    receive(Ack{beside, static_cast<uint64_t>(i)});
    report(beside, 1);
    tick(100);
    EXPECT_FALSE(sent_by_trial().contains({1, 0}));
  }
  tick(100);
  EXPECT_EQ(sent_by_trial()[lease.trial], (Numbers{1}));
}

TEST_F(Pack, HeartbeatsNameEveryLeaseWithItsProgress) {
  session_.set_progress(beside, 7, 9, "training");
  tick(1000);
  auto beats = sent<Heartbeat>();
  ASSERT_EQ(beats.size(), 1u);
  ASSERT_EQ(beats[0].trials.size(), 2u);
  EXPECT_EQ(beats[0].trials[0].lease, lease);
  EXPECT_EQ(beats[0].trials[0].step, 0);
  EXPECT_EQ(beats[0].trials[1].lease, beside);
  EXPECT_EQ(beats[0].trials[1].step, 7);
}

TEST_F(Pack, OneWindowAndOneBufferServeAllStreamsInTurns) {
  const std::string part(chunk_bytes, 'x');
  for (int i = 0; i < 4; ++i) {
    session_.report(lease, ChunkItem{"hash", part}, now_);
    session_.report(beside, ChunkItem{"hash", part}, now_);
  }
  tick(100);
  EXPECT_EQ(sent_by_trial(), (std::map<TrialId, Numbers>{{{1, 0}, {1, 2}}, {{1, 1}, {1, 2}}}));  // 16 MiB
  receive(Ack{lease, 2});
  EXPECT_EQ(sent_by_trial(), (std::map<TrialId, Numbers>{{{1, 0}, {3}}, {{1, 1}, {3}}}));
  SessionOptions small;
  small.buffer_bytes = 3000;
  GangSession session(hello(), small);
  session.receive({0, assign({lease, beside})}, now_);
  session.report(lease, LogItem{std::string(2000, 'x')}, now_);
  EXPECT_FALSE(session.full());
  session.report(beside, LogItem{std::string(2000, 'x')}, now_);
  EXPECT_TRUE(session.full());
  session.receive({0, Refused{beside, "cancelled"}}, now_);
  EXPECT_FALSE(session.full());
}

TEST_F(Pack, ARefusedTrialEndsAloneAndGivesItsPlaceInTheWindowBack) {
  const std::string part(chunk_bytes, 'x');
  for (int i = 0; i < 4; ++i) session_.report(beside, ChunkItem{"hash", part}, now_);
  tick(100);
  sent_by_trial();
  session_.report(lease, LogItem{std::string(128 << 10, 'x')}, now_);
  tick(100);
  EXPECT_TRUE(sent_by_trial().empty());  // the window has room for 64 KiB more
  receive(Refused{beside, "the lease has ended"});
  EXPECT_FALSE(session_.holds(beside));
  EXPECT_TRUE(session_.holds(lease));
  tick(100);
  EXPECT_EQ(sent_by_trial(), (std::map<TrialId, Numbers>{{{1, 0}, {1}}}));
}

TEST_F(Pack, IsFreeOnceAllEndsAreAcknowledged) {
  session_.report(lease, EndItem{}, now_);
  session_.report(beside, EndItem{}, now_);
  tick(100);
  receive(Ack{lease, 1});
  EXPECT_FALSE(session_.holds(lease));
  EXPECT_TRUE(session_.busy());
  receive(Ack{beside, 1});
  EXPECT_FALSE(session_.busy());
}

TEST_F(Pack, ANewerOneEndsAllOfTheOneBefore) {
  const Lease newer{{2, 0}, 6};
  receive(assign({newer}));
  EXPECT_FALSE(session_.holds(lease));
  EXPECT_FALSE(session_.holds(beside));
  EXPECT_TRUE(session_.holds(newer));
}

TEST_F(Session, APartThatIsRefusedBeforeThePackArrivesIsLeftOut) {
  receive(Refused{lease, "cancelled"});
  receive(assign({lease, beside}));
  EXPECT_FALSE(session_.holds(lease));
  auto assignments = session_.take_assignments();
  ASSERT_EQ(assignments.size(), 1u);
  EXPECT_EQ(assignments[0].lease, beside);
}

TEST_F(Session, AnOlderPackThanARefusedLeaseIsNotBegun) {
  receive(Refused{{{2, 0}, 6}, "cancelled"});
  receive(assign({lease}));
  EXPECT_FALSE(session_.busy());
}

TEST_F(Fetching, AChunkThatSeveralPartsShareIsFetchedOnceAndThePackComesWhole) {
  Manifest other{9, parts_[0].size(), {sha256_hex(parts_[0])}};
  Assign pack = assign({lease}, manifest_);
  pack.parts.push_back({beside, "spec", other, true});
  receive(pack);
  std::vector<std::string> all = asked();
  for (size_t i : {0, 1, 2, 3}) give(i);
  for (const auto& hash : asked()) all.push_back(hash);
  EXPECT_EQ(all, (std::vector<std::string>(manifest_.chunks.begin(), manifest_.chunks.begin() + 6)));
  EXPECT_TRUE(session_.take_assignments().empty());
  for (size_t i : {4, 5}) give(i);
  auto assignments = session_.take_assignments();
  ASSERT_EQ(assignments.size(), 2u);
  EXPECT_FALSE(assignments[0].warm);
  EXPECT_TRUE(assignments[1].warm);
  EXPECT_EQ(assignments[1].checkpoint, parts_[0]);
  EXPECT_EQ(assignments[1].checkpoint_step, 9);
}

TEST_F(Fetching, APartThatIsRefusedMeanwhileDropsOut) {
  Assign pack = assign({lease}, manifest_);
  pack.parts.push_back({beside, "spec", {}, false});
  receive(pack);
  receive(Refused{lease, "cancelled"});
  auto assignments = session_.take_assignments();
  ASSERT_EQ(assignments.size(), 1u);
  EXPECT_EQ(assignments[0].lease, beside);
}

TEST_F(Fetching, AChunkThatIsLostFailsOnlyTheTrialsThatNeedIt) {
  Assign pack = assign({lease}, manifest_);
  pack.parts.push_back({beside, "spec", {}, false});
  receive(pack);
  receive(Chunk{manifest_.chunks[1], "", "it is damaged on disk"});
  tick(100);
  auto reports = sent<Report>();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].lease, lease);
  for (size_t i : {0, 2, 3}) give(i);
  auto assignments = session_.take_assignments();
  ASSERT_EQ(assignments.size(), 1u);
  EXPECT_EQ(assignments[0].lease, beside);
}

// ---- Yielding ----

TEST_F(Pack, IsAskedBackAsAWholeAndEachYieldEndsItsStream) {
  EXPECT_FALSE(session_.yields(lease));
  receive(Yield{lease.epoch});
  EXPECT_TRUE(session_.yields(lease));
  EXPECT_TRUE(session_.yields(beside));
  session_.report(lease, YieldItem{}, now_);
  report(lease, 1);  // after its end: ignored
  tick(100);
  EXPECT_EQ(sent_by_trial(), (std::map<TrialId, Numbers>{{{1, 0}, {1}}}));
  receive(Ack{lease, 1});
  EXPECT_FALSE(session_.holds(lease));
  EXPECT_TRUE(session_.holds(beside));
  const Lease newer{{1, 0}, 6};
  receive(assign({newer}));
  EXPECT_FALSE(session_.yields(newer));
}

TEST_F(Fetching, APackThatHasNotBegunIsGivenBackAtOnce) {
  receive(assign({lease}, manifest_));
  asked();
  receive(Yield{lease.epoch});
  tick(100);
  auto reports = sent<Report>();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<YieldItem>(unpack_item(reports[0].items.at(0)).value()));
  for (size_t i = 0; i < 6; ++i) give(i);
  EXPECT_TRUE(session_.take_assignments().empty());
}

TEST_F(Session, AnAssignmentThatIsOvertakenByItsYieldIsGivenBack) {
  receive(Yield{lease.epoch});
  receive(assign({lease}));
  EXPECT_TRUE(session_.take_assignments().empty());
  tick(100);
  EXPECT_EQ(sent_items(), (Numbers{1}));
}

TEST_F(Session, SplitsACheckpointIntoChunksWithTheirHashes) {
  begin();
  std::string bytes(chunk_bytes, 'a');
  bytes += "tail";
  session_.report_checkpoint(lease, 8, bytes, now_);
  tick(100);
  std::vector<Item> items;
  for (const auto& report : sent<Report>()) {
    for (const auto& packed : report.items) items.push_back(unpack_item(packed).value());
  }
  ASSERT_EQ(items.size(), 3u);
  EXPECT_EQ(std::get<ChunkItem>(items[1]).bytes, "tail");
  auto manifest = std::get<CheckpointItem>(items[2]);
  EXPECT_EQ(manifest.step, 8);
  EXPECT_EQ(manifest.size, bytes.size());
  EXPECT_EQ(manifest.chunks, (std::vector<std::string>{sha256_hex(std::string(chunk_bytes, 'a')), sha256_hex("tail")}));
}

TEST_F(Session, CutsALogLineThatNoMessageCouldCarry) {
  begin();
  session_.report(lease, LogItem{std::string(100 << 20, 'x')}, now_);
  tick(100);
  auto reports = sent<Report>();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(std::get<LogItem>(unpack_item(reports[0].items[0]).value()).text.size(), size_t{64 << 10});
}

TEST_F(Session, IsSilentAfterItsGoodbye) {
  begin();
  report(1);
  session_.goodbye("it ends");
  auto goodbyes = sent<Goodbye>();
  ASSERT_EQ(goodbyes.size(), 1u);
  EXPECT_EQ(goodbyes[0].reason, "it ends");
  receive(HelloAgain{});
  tick(5000);
  EXPECT_TRUE(session_.take_outgoing().empty());
}

TEST_F(Session, IsToldToLeave) {
  EXPECT_FALSE(session_.leaving());
  receive(Leave{"no use"});
  EXPECT_TRUE(session_.leaving());
}

TEST_F(Session, PicturesGoOnlyToACoordinatorThatKnowsThem) {
  const auto reported = [&] {
    std::vector<bool> pictures;
    for (const auto& report : sent<Report>()) {
      for (const auto& bytes : report.items) {
        pictures.push_back(std::holds_alternative<PictureItem>(*unpack_item(bytes)));
      }
    }
    return pictures;
  };
  begin();
  session_.report(lease, PictureItem{}, now_);
  session_.report(lease, LogItem{"done"}, now_);
  tick(1);
  EXPECT_EQ(reported(), std::vector<bool>{false}) << "an older coordinator would refuse the lease";
  receive(Ack{lease, 1});
  receive(Welcome{"2", 0, true});
  session_.report(lease, PictureItem{}, now_);
  tick(1);
  EXPECT_EQ(reported(), std::vector<bool>{true});
}

}  // namespace
}  // namespace hivq
