#include "coordinator/core.h"

#include <gtest/gtest.h>

#include "tests/coordinator/harness.h"

namespace hivq {
namespace {

// ---- Submitting ----

TEST_F(CoreTest, ASubmissionIsStoredBeforeItIsAcknowledged) {
  JobId id = submit(3);
  EXPECT_EQ(id, 1u);
  EXPECT_EQ(job(id).trials, 3u);
  EXPECT_EQ(store_.rows(Family::trials).size(), 3u);
  EXPECT_EQ(trial({1, 2}).params, (std::map<std::string, std::string>{{"train.seed", "2"}}));
}

TEST_F(CoreTest, ASubmissionThatComesAgainIsTheSameJobAcrossARestartToo) {
  Submit again{"the key", "test.yaml", yaml(2)};
  from("client", again, 1);
  from("client", again, 2);
  restart();
  from("client", again, 3);
  EXPECT_EQ(store_.rows(Family::jobs).size(), 1u);
  auto answers = sent<Submitted>("client");
  ASSERT_EQ(answers.size(), 1u);  // since the restart
  EXPECT_EQ(answers[0].job, 1u);
  from("client", Submit{"another key", "test.yaml", yaml(1)});
  EXPECT_EQ(sent<Submitted>("client").at(0).job, 2u);
}

TEST_F(CoreTest, SubmissionsWithoutAKeyAreDifferentJobs) {
  for (int i = 0; i < 2; ++i) from("client", Submit{"", "test.yaml", yaml(1)});
  EXPECT_EQ(store_.rows(Family::jobs).size(), 2u);
}

TEST_F(CoreTest, AWrongSpecificationIsRefusedWithItsPlace) {
  from("client", Submit{"k", "mine.yaml", "name: x\ntrain:\n  batch_size: 0\n"}, 4);
  auto failed = sent<Failed>("client");
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_NE(failed[0].reason.find("mine.yaml:3"), std::string::npos) << failed[0].reason;
  EXPECT_TRUE(store_.rows(Family::jobs).empty());
}

TEST_F(CoreTest, AnEnormousSweepIsRefusedAtOnce) {
  std::string many =
      "name: x\nsweep:\n  search: random\n  trials: 1000000000000\n  parameters:\n    train.lr: {uniform: [0.1, "
      "0.2]}\n";
  from("client", Submit{"k", "mine.yaml", many}, 4);
  auto failed = sent<Failed>("client");
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_NE(failed[0].reason.find("mine.yaml"), std::string::npos) << failed[0].reason;
  EXPECT_TRUE(store_.rows(Family::trials).empty());
}

// ---- Leases ----

TEST_F(CoreTest, AWaitingTrialGoesToAnIdleGang) {
  join("g1");
  submit(2);
  auto pack = pack_of("g1");
  ASSERT_EQ(pack.size(), 1u);
  EXPECT_EQ(pack[0].lease.trial, (TrialId{1, 0}));
  EXPECT_TRUE(pack[0].checkpoint.chunks.empty());
  EXPECT_TRUE(parse_trial(pack[0].spec, "assigned")) << pack[0].spec;
  EXPECT_EQ(state({1, 0}), State::running);
  EXPECT_EQ(state({1, 1}), State::pending);
}

TEST_F(CoreTest, AGangThatHasNotSaidThatItIsIdleGetsNothing) {
  hello("g1");
  submit();
  EXPECT_TRUE(sent<Assign>("g1").empty());
  beat("g1");
  EXPECT_EQ(sent<Assign>("g1").size(), 1u);
}

TEST_F(CoreTest, AnAssignmentThatWasLostIsSentAgainWithTheSameLease) {
  join("g1");
  submit();
  Lease lease = lease_of("g1");
  beat("g1");
  EXPECT_EQ(lease_of("g1"), lease);
  beat("g1", lease);
  EXPECT_TRUE(sent<Assign>("g1").empty());
  EXPECT_EQ(trial({1, 0}).attempts, 1u);
}

TEST_F(CoreTest, ATrialRunsToItsEndAndTheGangGetsTheNext) {
  join("g1");
  submit(2);
  Lease lease = lease_of("g1");
  report("g1", lease, 1, {metrics(0, 0.5), metrics(10, 0.9), EndItem{false, "", {{"auroc", 0.9}}}});
  EXPECT_EQ(acknowledged("g1"), 3u);
  EXPECT_EQ(state({1, 0}), State::finished);
  EXPECT_EQ(trial({1, 0}).initial.at("auroc"), 0.5);
  EXPECT_EQ(trial({1, 0}).final.at("auroc"), 0.9);
  Lease next = lease_of("g1");
  EXPECT_EQ(next.trial, (TrialId{1, 1}));
  EXPECT_GT(next.epoch, lease.epoch);
}

TEST_F(CoreTest, TheLastEndEndsTheJobAndIsAcknowledged) {
  join("g1");
  submit();
  Lease lease = lease_of("g1");
  report("g1", lease, 1, {EndItem{}});
  EXPECT_EQ(acknowledged("g1"), 1u);
  EXPECT_EQ(job(1).state, State::finished);
  EXPECT_EQ(job(1).finished, 1u);
  EXPECT_TRUE(core_->all_jobs_ended());
  // The acknowledgement was lost: the end comes again, and the gang is set free.
  report("g1", lease, 1, {EndItem{}});
  EXPECT_EQ(sent<Refused>("g1").size(), 1u);
}

TEST_F(CoreTest, AnEndThatComesAgainWhileTheJobGoesOnIsAcknowledgedAgain) {
  join("g1");
  submit(2);
  Lease lease = lease_of("g1");
  report("g1", lease, 1, {EndItem{}});
  report("g1", lease, 1, {EndItem{}});
  beat("g1", lease);
  auto acks = sent<Ack>("g1");
  EXPECT_EQ(acks.size(), 3u);
  EXPECT_TRUE(sent<Refused>("g1").empty());
  EXPECT_EQ(core_->open_job(1)->finished, 1u);
}

TEST_F(CoreTest, AFailureKeepsItsReason) {
  join("g1");
  submit();
  report("g1", lease_of("g1"), 1, {EndItem{true, "the loss is not finite at step 3", {}}});
  EXPECT_EQ(state({1, 0}), State::failed);
  EXPECT_EQ(trial({1, 0}).reason, "the loss is not finite at step 3");
  EXPECT_EQ(job(1).state, State::failed);
}

// ---- The stream ----

TEST_F(CoreTest, ItemsAreStoredOnceAndInOrder) {
  join("g1");
  submit();
  Lease lease = lease_of("g1");
  report("g1", lease, 1, {metrics(1, 0.1), metrics(2, 0.2)});
  report("g1", lease, 2, {metrics(2, 0.2), metrics(3, 0.3)});  // overlaps
  EXPECT_EQ(acknowledged("g1"), 3u);
  size_t before = writes_;
  report("g1", lease, 1, {metrics(1, 0.1), metrics(2, 0.2)});  // again
  report("g1", lease, 9, {metrics(9, 0.9)});                   // a gap
  EXPECT_EQ(acknowledged("g1"), 3u);
  EXPECT_EQ(writes_, before);  // nothing written, nothing synced
  EXPECT_EQ(points(), 3u);
}

TEST_F(CoreTest, AReportWithAnOldEpochIsRefused) {
  join("g1");
  submit();
  Lease old = lease_of("g1");
  report("g1", old, 1, {metrics(1, 0.1)});
  pass(11'000);  // silent
  EXPECT_EQ(state({1, 0}), State::pending);
  join("g2");
  Lease fresh = lease_of("g2");
  report("g1", old, 2, {metrics(2, 0.2), EndItem{}});
  EXPECT_EQ(sent<Refused>("g1").size(), 1u);
  EXPECT_EQ(points(), 1u);
  EXPECT_EQ(state({1, 0}), State::running);
  report("g1", fresh, 1, {metrics(2, 0.2)});  // nor one with another gang's lease
  EXPECT_EQ(sent<Refused>("g1").size(), 1u);
  EXPECT_EQ(points(), 1u);
}

TEST_F(CoreTest, ALaterAttemptReplacesThePointsThatItRunsAgain) {
  join("g1");
  submit();
  auto items = checkpoint(1, {"weights"});
  items.insert(items.begin(), metrics(1, 0.1));
  items.push_back(metrics(2, 0.2));
  items.push_back(metrics(3, 0.3));
  report("g1", lease_of("g1"), 1, items);
  from("g1", Goodbye{"g1", "preempted"});
  join("g2");
  auto part = pack_of("g2").at(0);
  EXPECT_FALSE(part.warm);
  EXPECT_EQ(part.checkpoint.step, 1);
  EXPECT_EQ(points(), 3u);  // what was acknowledged stays until it is run again
  report("g2", part.lease, 1, {metrics(2, 0.25), metrics(3, 0.35), EndItem{}});
  EXPECT_EQ(points(), 3u);
  EXPECT_EQ(point({1, 0}, "auroc", 2), 0.25);
}

TEST_F(CoreTest, ItemsThatBreakTheProtocolEndTheLeaseWithAReason) {
  const std::vector<Item> wrong{MetricsItem{-1, {{"loss", 1.0}}}, MetricsItem{1, {{"", 1.0}}},
                                MetricsItem{1, {{std::string(300, 'x'), 1.0}}}, ChunkItem{sha256_hex("a"), "b"},
                                CheckpointItem{1, 1, {sha256_hex("never sent")}}};
  for (const auto& item : wrong) {
    join("g1");
    JobId id = submit(1, 0, 1);
    Lease lease = lease_of("g1");
    report("g1", lease, 1, {item});
    EXPECT_EQ(sent<Refused>("g1").size(), 1u);
    EXPECT_EQ(state({id, 0}), State::failed);
    EXPECT_NE(trial({id, 0}).reason.find("not valid"), std::string::npos) << trial({id, 0}).reason;
  }
  join("g1");
  JobId id = submit(1, 0, 1);
  Report garbage{"g1", lease_of("g1"), 1, {"\xc1 garbage"}};
  from("g1", garbage);
  EXPECT_EQ(state({id, 0}), State::failed);
  EXPECT_EQ(points(), 0u);
  EXPECT_TRUE(store_.rows(Family::blobs).empty());
}

// ---- Checkpoints ----

TEST_F(CoreTest, ChunksAreKeptWhileACheckpointNamesThem) {
  join("g1");
  submit(2);
  Lease lease = lease_of("g1");
  report("g1", lease, 1, checkpoint(1, {"shared", "one", "one"}));
  EXPECT_EQ(store_.rows(Family::blobs).size(), 2u);
  report("g1", lease, 5, checkpoint(2, {"shared", "two"}));
  EXPECT_EQ(store_.rows(Family::blobs).size(), 2u);
  EXPECT_FALSE(store_.rows(Family::blobs).contains(sha256_hex("one")));
  report("g1", lease, 8, {EndItem{}});
  Lease next = lease_of("g1");
  report("g1", next, 1, checkpoint(1, {"shared"}));
  EXPECT_EQ(store_.rows(Family::blobs).size(), 2u);
  restart();
  beat("g1", next);
  report("g1", next, 3, checkpoint(2, {"other"}));
  EXPECT_TRUE(store_.rows(Family::blobs).contains(sha256_hex("shared")));  // the ended trial still names it
  EXPECT_EQ(store_.rows(Family::blobs).size(), 3u);
}

TEST_F(CoreTest, ChunksOfACheckpointThatNeverBecameWholeAreDropped) {
  join("g1");
  submit();
  Lease lease = lease_of("g1");
  auto items = checkpoint(1, {"a", "b"});
  items.pop_back();
  report("g1", lease, 1, items);
  EXPECT_EQ(store_.rows(Family::blobs).size(), 2u);
  restart();
  EXPECT_EQ(store_.rows(Family::blobs).size(), 2u);
  from("g1", Goodbye{"g1", ""});
  EXPECT_TRUE(store_.rows(Family::blobs).empty());
  EXPECT_TRUE(store_.rows(Family::checkpoints).empty());
}

TEST_F(CoreTest, TheLastCheckpointOfAnEndedTrialStays) {
  join("g1");
  submit();
  auto items = checkpoint(4, {"weights"});
  items.push_back(EndItem{});
  report("g1", lease_of("g1"), 1, items);
  restart();
  EXPECT_EQ(kept({1, 0}), std::vector<int64_t>{4});
  EXPECT_TRUE(store_.rows(Family::blobs).contains(sha256_hex("weights")));
}

// ---- Gangs ----

TEST_F(CoreTest, ASilentGangIsLostAndItsTrialGoesOnElsewhere) {
  join("g1");
  join("g2");
  submit();
  Lease lease = lease_of("g1");
  for (int i = 0; i < 20; ++i) {
    pass(1000);
    beat("g2");
    if (i < 5) beat("g1", lease);
  }
  EXPECT_FALSE(core_->gangs().contains("g1"));
  EXPECT_EQ(lease_of("g2").trial, lease.trial);
  EXPECT_EQ(trial({1, 0}).attempts, 2u);
}

TEST_F(CoreTest, SilenceCountsOnlyWhileTheCoordinatorListened) {
  join("g1");
  submit();
  now_ += 60'000;  // a suspended machine, a slow disk
  input(Tick{});
  EXPECT_TRUE(core_->gangs().contains("g1"));
  pass(9000);
  EXPECT_TRUE(core_->gangs().contains("g1"));
  pass(2000);
  EXPECT_FALSE(core_->gangs().contains("g1"));
}

TEST_F(CoreTest, ATrialFailsWhenItHasLostTooManyGangs) {
  submit(1, 0, 3);
  for (int i = 1; i <= 3; ++i) {
    GangId gang = "g" + std::to_string(i);
    join(gang);
    from(gang, Goodbye{gang, "out of memory"});
    pass(20'000);  // until it is tried again
  }
  EXPECT_EQ(state({1, 0}), State::failed);
  EXPECT_EQ(trial({1, 0}).reason, "lost its gang 3 times; the last one: out of memory");
  EXPECT_EQ(job(1).state, State::failed);
}

TEST_F(CoreTest, AZombieIsRefusedAndBecomesAGangAgain) {
  join("g1");
  submit();
  Lease old = lease_of("g1");
  pass(11'000);
  join("g2");
  lease_of("g2");
  beat("g1", old);
  EXPECT_EQ(sent<HelloAgain>("g1").size(), 1u);
  hello("g1");
  beat("g1", old);
  auto refused = sent<Refused>("g1");
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].lease, old);
  beat("g1");
  submit();
  EXPECT_EQ(lease_of("g1").trial, (TrialId{2, 0}));
}

TEST_F(CoreTest, AHeartbeatAfterTheGoodbyeGivesNothing) {
  join("g1");
  from("g1", Goodbye{"g1", ""});
  beat("g1");
  submit();
  EXPECT_TRUE(sent<Assign>("g1").empty());
  EXPECT_EQ(sent<HelloAgain>("g1").size(), 1u);
}

TEST_F(CoreTest, AGangOfAnotherNameIsSentAway) {
  Hello wrong;
  wrong.gang = "another";
  from("g1", wrong);
  EXPECT_EQ(sent<Leave>("g1").size(), 1u);
  EXPECT_TRUE(core_->gangs().empty());
}

TEST_F(CoreTest, ANewStoreGivesNewerEpochsThanAGangHasSeen) {
  hello("g1", 2, "", 41);
  restart();
  beat("g1");
  submit();
  EXPECT_EQ(lease_of("g1").epoch, 42u);
  hello("g2", 2, "", UINT64_MAX);
  EXPECT_EQ(sent<Leave>("g2").size(), 1u);
}

TEST_F(CoreTest, HeartbeatsAreAnswered) {
  join("g1");
  EXPECT_EQ(sent<Heard>("g1").size(), 1u);
}

// ---- Restart ----

TEST_F(CoreTest, AfterARestartTheGangGoesOnWithItsLease) {
  join("g1");
  submit();
  Lease lease = lease_of("g1");
  report("g1", lease, 1, {metrics(1, 0.1)});
  restart();
  pass(25'000);  // it needs time to connect again
  beat("g1", lease);
  EXPECT_EQ(sent<Welcome>("g1").size(), 1u);  // send again what was on its way
  report("g1", lease, 2, {metrics(2, 0.2), EndItem{}});
  EXPECT_EQ(acknowledged("g1"), 3u);
  EXPECT_EQ(trial({1, 0}).attempts, 1u);
  EXPECT_EQ(job(1).state, State::finished);
}

TEST_F(CoreTest, AfterARestartAGangThatDoesNotComeBackIsLost) {
  join("g1");
  submit();
  restart();
  pass(29'000);
  EXPECT_EQ(state({1, 0}), State::running);
  pass(2000);
  EXPECT_EQ(state({1, 0}), State::pending);
}

TEST_F(CoreTest, AfterARestartCountsAndEpochsGoOn) {
  join("g1");
  submit(3);
  Lease first = lease_of("g1");
  report("g1", first, 1, {EndItem{}});
  Lease second = lease_of("g1");
  restart();
  EXPECT_EQ(core_->open_job(1)->finished, 1u);
  EXPECT_EQ(core_->running_trials(1), 1u);
  report("g1", second, 1, {EndItem{true, "bad", {}}});
  Lease third = lease_of("g1");
  EXPECT_GT(third.epoch, second.epoch);
  report("g1", third, 1, {EndItem{}});
  EXPECT_EQ(job(1).finished, 2u);
  EXPECT_EQ(job(1).failed, 1u);
  EXPECT_EQ(job(1).state, State::finished);
}

TEST_F(CoreTest, AJobOfAnotherVersionThatIsNotValidFailsAndTheOthersGoOn) {
  submit(2);
  submit(1);
  JobRow row = job(1);
  row.yaml = "name: x\nwarp: 9\n";
  Write write{Family::jobs, key_of(uint64_t{1}), pack(row)};
  store_.commit({&write, 1});
  restart();
  EXPECT_EQ(job(1).state, State::failed);
  EXPECT_EQ(job(1).failed, 2u);
  EXPECT_NE(job(1).reason.find("warp"), std::string::npos) << job(1).reason;
  EXPECT_EQ(state({1, 1}), State::failed);
  join("g1");
  EXPECT_EQ(lease_of("g1").trial, (TrialId{2, 0}));
}

// ---- Cancelling ----

TEST_F(CoreTest, CancellingEndsWhatRunsAndWhatWaits) {
  join("g1");
  submit(3);
  Lease lease = lease_of("g1");
  from("client", Cancel{1}, 5);
  EXPECT_EQ(sent<Cancelled>("client").at(0).trials, 3u);
  EXPECT_EQ(sent<Refused>("g1").at(0).lease, lease);
  EXPECT_EQ(job(1).state, State::cancelled);
  EXPECT_EQ(job(1).cancelled, 3u);
  report("g1", lease, 1, {metrics(1, 0.1)});
  EXPECT_EQ(sent<Refused>("g1").size(), 1u);
  from("client", Cancel{1}, 6);  // the answer was lost
  EXPECT_EQ(sent<Cancelled>("client").at(0).trials, 0u);
  beat("g1");
  submit();
  EXPECT_EQ(lease_of("g1").trial, (TrialId{2, 0}));
}

TEST_F(CoreTest, CancellingWhatIsNotThereIsASentence) {
  for (JobId id : {JobId{0}, JobId{9}, JobId{UINT64_MAX}}) {
    from("client", Cancel{id}, 5);
    EXPECT_NE(sent<Failed>("client").at(0).reason.find("there is no job"), std::string::npos);
  }
}

// ---- Launching ----

class Launching : public CoreTest {
 protected:
  void SetUp() override {
    Pool local;
    local.default_ranks = 2;
    options_.pools = {local};
    start();
  }
};

TEST_F(Launching, AGangIsLaunchedWhenATrialWaitsAndOnlyOnce) {
  pass(1000);
  EXPECT_TRUE(launches_.empty());
  submit(3);
  pass(1000);
  ASSERT_EQ(launches_.size(), 1u);
  EXPECT_EQ(launches_[0].ranks, 2u);
  input(LaunchStarted{launches_[0].launch, "pid:77:5"});
  join("g1", 2, launches_[0].launch);
  EXPECT_EQ(lease_of("g1").trial, (TrialId{1, 0}));
  pass(1000);
  EXPECT_EQ(launches_.size(), 1u);
  auto row = store_.row<LaunchRow>(Family::gangs, launch_key(launches_[0].launch));
  EXPECT_EQ(row.handle, "pid:77:5");
}

TEST_F(Launching, AGangOfTheSizeThatTheTrialNeeds) {
  submit(1, 4);
  EXPECT_EQ(launches_.at(0).ranks, 4u);
}

TEST_F(Launching, AnIdleGangOfAnotherSizeMakesRoom) {
  submit(1, 2);
  std::string first = launches_.at(0).launch;
  join("g1", 2, first);
  report("g1", lease_of("g1"), 1, {EndItem{}});
  submit(1, 4);
  EXPECT_EQ(stops_, std::vector<std::string>{first});
  EXPECT_EQ(sent<Leave>("g1").size(), 1u);
  beat("g1");  // on its way out it gets nothing
  EXPECT_TRUE(sent<Assign>("g1").empty());
  input(LaunchEnded{first, "signal 15"});
  pass(200);
  EXPECT_EQ(launches_.at(1).ranks, 4u);
}

TEST_F(Launching, NamesDifferAcrossRestarts) {
  submit();
  input(LaunchEnded{launches_.at(0).launch, "exit code 1"});
  restart();
  pass(2000);
  ASSERT_EQ(launches_.size(), 2u);
  EXPECT_NE(launches_[0].launch, launches_[1].launch);
}

TEST_F(Launching, TrialsFailWithTheReasonWhenNoGangCanBeStarted) {
  submit(2);
  for (int i = 0; i < 3; ++i) {
    input(LaunchEnded{launches_.back().launch, "mpirun ended with exit code 1: libcuda is missing"});
    pass(10'000);
  }
  EXPECT_EQ(launches_.size(), 3u);
  EXPECT_EQ(job(1).state, State::failed);
  EXPECT_NE(trial({1, 1}).reason.find("libcuda is missing"), std::string::npos);
}

TEST_F(Launching, AGangThatSaysHelloAndDiesWithoutWorkIsNotLaunchedForEver) {
  submit();
  for (int i = 0; i < 10 && !core_->all_jobs_ended(); ++i) {
    hello("g" + std::to_string(i), 2, launches_.back().launch);
    input(LaunchEnded{launches_.back().launch, "exit code 1"});
    pass(10'000);
  }
  EXPECT_EQ(state({1, 0}), State::failed);
}

TEST_F(Launching, AGangThatNeverSaysHelloIsStopped) {
  submit();
  pass(181'000);
  EXPECT_EQ(stops_, std::vector<std::string>{launches_.at(0).launch});
}

TEST_F(Launching, ALostGangOfOursIsStoppedAndMayNotComeBack) {
  submit();
  std::string launch = launches_.at(0).launch;
  join("g1", 2, launch);
  lease_of("g1");
  pass(11'000);
  EXPECT_EQ(stops_, std::vector<std::string>{launch});
  join("g1", 2, launch);
  EXPECT_EQ(sent<Leave>("g1").size(), 1u);
  EXPECT_TRUE(sent<Assign>("g1").empty());
  input(LaunchEnded{launch, "signal 9"});
  pass(200);
  EXPECT_EQ(launches_.size(), 2u);
}

TEST_F(CoreTest, ItSaysWhyATrialWaits) {
  submit(1, 4);
  EXPECT_NE(core_->waiting_reason(1).find("gang of 4 ranks; none is connected"), std::string::npos)
      << core_->waiting_reason(1);
  join("g1", 2);
  EXPECT_NE(core_->waiting_reason(1).find("the connected ones have 2"), std::string::npos) << core_->waiting_reason(1);
  join("g2", 4);
  EXPECT_EQ(core_->waiting_reason(1), "");
  EXPECT_EQ(core_->gang_of({1, 0})->hello.gang, "g2");
}

TEST_F(CoreTest, TheOldestEventsGo) {
  const auto numbers = [this] {
    std::vector<uint64_t> found;
    const Status read = store_.scan(Family::events, "", [&](std::string_view key, std::string_view) {
      found.push_back(number_at(key, 0));
      return true;
    });
    EXPECT_TRUE(read);
    return found;
  };
  for (int i = 0; i < 7; ++i) input(Noted{"something"});
  ASSERT_EQ(numbers(), (std::vector<uint64_t>{1, 2, 3, 4, 5, 6, 7}));
  options_.most_events = 4;  // of an earlier version there may be more than are kept
  restart();
  input(Noted{"something"});
  EXPECT_EQ(numbers(), (std::vector<uint64_t>{3, 4, 5, 6, 7, 8}));
  for (int i = 0; i < 4; ++i) input(Noted{"something"});
  EXPECT_EQ(numbers(), (std::vector<uint64_t>{9, 10, 11, 12}));
}

TEST_F(CoreTest, AMessageThatIsNotForTheCoordinatorIsAnswered) {
  from("stranger", Welcome{"x"}, 3);
  EXPECT_EQ(sent<Failed>("stranger").size(), 1u);
}

}  // namespace
}  // namespace hivq
