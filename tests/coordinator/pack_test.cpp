// Packs of trials, jobs that are paused, and trials that start from others.

#include <gtest/gtest.h>

#include "tests/coordinator/harness.h"

namespace hivq {
namespace {

using Leases = std::vector<Lease>;

class Packs : public CoreTest {
 protected:
  Leases leases_of(const GangId& gang) {
    Leases leases;
    for (const auto& part : pack_of(gang)) leases.push_back(part.lease);
    return leases;
  }
  std::string refusal() {
    auto failed = sent<Failed>("client");
    return failed.empty() ? "" : failed.back().reason;
  }
  PausedSet set_paused(JobId job, bool paused, const std::string& key = "") {
    from("client", SetPaused{key, job, paused}, 8);
    auto answers = sent<PausedSet>("client");
    EXPECT_EQ(answers.size(), 1u);
    return answers.empty() ? PausedSet{} : answers[0];
  }
};

// ---- Packs ----

TEST_F(Packs, TrialsOfOneShapeAreLeasedTogetherWithOneEpoch) {
  join("g1");
  submit_fused(5, 3);
  auto leases = leases_of("g1");
  ASSERT_EQ(leases.size(), 3u);
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(leases[i].trial, (TrialId{1, i}));
    EXPECT_EQ(leases[i].epoch, leases[0].epoch);
    EXPECT_EQ(state({1, i}), State::running);
  }
  EXPECT_EQ(state({1, 3}), State::pending);
}

TEST_F(Packs, TrialsOfDifferentShapesAreNot) {
  join("g1");
  submit_yaml("name: x\ngang: {fuse: 8}\nsweep: {parameters: {model.layers: [1, 2], train.seed: [1, 2]}}\n");
  auto leases = leases_of("g1");
  ASSERT_EQ(leases.size(), 2u);
  EXPECT_EQ(leases[1].trial, (TrialId{1, 1}));
}

TEST_F(Packs, EachTrialEndsAloneAndTheGangIsIdleAfterTheLast) {
  join("g1");
  submit_fused(3, 2);
  auto leases = leases_of("g1");
  report("g1", leases[1], 1, {metrics(1, 0.5), EndItem{true, "not finite", {}}});
  EXPECT_EQ(acknowledged("g1"), 2u);
  EXPECT_EQ(state({1, 1}), State::failed);
  EXPECT_EQ(state({1, 0}), State::running);
  EXPECT_TRUE(pack_of("g1").empty());
  report("g1", leases[0], 1, {EndItem{}});
  EXPECT_EQ(lease_of("g1").trial, (TrialId{1, 2}));
}

TEST_F(Packs, APackWhoseAssignmentWasLostIsSentAgainWithoutWhatHasEnded) {
  join("g1");
  submit_fused(3, 3);
  auto leases = leases_of("g1");
  report("g1", leases[2], 1, {EndItem{}});
  beat("g1");
  EXPECT_EQ(leases_of("g1"), (Leases{leases[0], leases[1]}));
  beat("g1", Leases{leases[0], leases[1]});
  EXPECT_TRUE(pack_of("g1").empty());
}

TEST_F(Packs, ALostGangLosesTheWholePackAndEachTrialGoesOnFromItsCheckpoint) {
  join("g1");
  submit_fused(3, 3);
  auto leases = leases_of("g1");
  report("g1", leases[0], 1, checkpoint(10, {"a"}));
  report("g1", leases[2], 1, checkpoint(10, {"c"}));
  from("g1", Goodbye{"g1", "out of memory"});
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(state({1, i}), State::pending);
  join("g2");
  auto pack = pack_of("g2");
  ASSERT_EQ(pack.size(), 2u);  // 1/1 stands elsewhere
  EXPECT_EQ(pack[0].checkpoint.chunks, std::vector<std::string>{sha256_hex("a")});
  EXPECT_EQ(pack[1].lease.trial, (TrialId{1, 2}));
  EXPECT_EQ(pack[1].checkpoint.chunks, std::vector<std::string>{sha256_hex("c")});
}

TEST_F(Packs, AfterARestartThePackGoesOnAndMayGoTogetherAgain) {
  join("g1");
  submit_fused(3, 3);
  auto leases = leases_of("g1");
  restart();
  beat("g1", leases);
  EXPECT_TRUE(pack_of("g1").empty());
  EXPECT_EQ(core_->gangs().at("g1").leases.size(), 3u);
  from("g1", Goodbye{"g1", ""});
  restart();
  join("g2");
  EXPECT_EQ(pack_of("g2").size(), 3u);
}

TEST_F(Packs, AClaimOfATrialThatIsNotTheGangsIsRefusedAlone) {
  join("g1");
  submit_fused(2, 2);
  auto leases = leases_of("g1");
  report("g1", leases[0], 1, {EndItem{}});
  acknowledged("g1");
  beat("g1", Leases{leases[0], leases[1], {{1, 0}, 99}});
  EXPECT_EQ(sent<Ack>("g1").at(0).lease, leases[0]);
  EXPECT_EQ(sent<Refused>("g1").size(), 1u);
  EXPECT_TRUE(pack_of("g1").empty());
  EXPECT_EQ(state({1, 1}), State::running);
}

// ---- Pausing ----

TEST_F(Packs, PausingAsksTheGangsToYieldAndHoldsWhatWaits) {
  join("g1");
  submit(3);
  Lease lease = lease_of("g1");
  auto paused = set_paused(1, true);
  EXPECT_EQ(paused.running, 1u);
  EXPECT_EQ(paused.waiting, 2u);
  EXPECT_EQ(sent<Yield>("g1").at(0).epoch, lease.epoch);
  EXPECT_EQ(state({1, 0}), State::running);
  auto items = checkpoint(17, {"weights"});
  items.emplace_back(YieldItem{});
  report("g1", lease, 1, items);
  EXPECT_EQ(acknowledged("g1"), 3u);
  EXPECT_EQ(state({1, 0}), State::pending);
  EXPECT_EQ(trial({1, 0}).attempts, 0u);
  beat("g1");
  EXPECT_TRUE(pack_of("g1").empty());
  EXPECT_FALSE(core_->all_jobs_ended());
}

TEST_F(Packs, ResumingGoesOnFromTheYieldedCheckpoint) {
  join("g1");
  submit_fused(2, 2);
  auto leases = leases_of("g1");
  set_paused(1, true);
  for (const Lease& lease : leases) {
    auto items = checkpoint(17, {"weights of " + to_string(lease.trial)});
    items.emplace_back(YieldItem{});
    report("g1", lease, 1, items);
  }
  EXPECT_EQ(set_paused(1, false).waiting, 2u);
  auto pack = pack_of("g1");
  ASSERT_EQ(pack.size(), 2u) << "both stand at one step, so they go together again";
  EXPECT_EQ(pack[1].checkpoint.step, 17);
  EXPECT_FALSE(pack[1].warm);
  EXPECT_EQ(trial({1, 1}).attempts, 1u);
}

TEST_F(Packs, AYieldThatComesAgainIsAcknowledgedAgain) {
  join("g1");
  submit();
  Lease lease = lease_of("g1");
  set_paused(1, true);
  report("g1", lease, 1, {YieldItem{}});
  report("g1", lease, 1, {YieldItem{}});
  beat("g1", lease);
  EXPECT_EQ(sent<Ack>("g1").size(), 3u);
  EXPECT_EQ(trial({1, 0}).attempts, 0u);
}

TEST_F(Packs, AGangThatDoesNotYieldKeepsItsLeaseAndIsAskedAgain) {
  join("g1");
  submit();
  Lease lease = lease_of("g1");
  set_paused(1, true);
  sent<Yield>("g1");
  for (int i = 0; i < 11; ++i) {
    pass(1000);
    beat("g1", lease);
  }
  EXPECT_EQ(sent<Yield>("g1").size(), 2u);
  report("g1", lease, 1, {metrics(1, 0.5)});
  EXPECT_EQ(acknowledged("g1"), 1u);
  set_paused(1, false);
  for (int i = 0; i < 11; ++i) {
    pass(1000);
    beat("g1", lease);
  }
  EXPECT_TRUE(sent<Yield>("g1").empty());
}

TEST_F(Packs, APauseSurvivesARestart) {
  join("g1");
  submit(2);
  Lease lease = lease_of("g1");
  set_paused(1, true);
  restart();
  EXPECT_EQ(sent<Yield>("g1").size(), 1u);
  EXPECT_TRUE(core_->paused(1));
  report("g1", lease, 1, {YieldItem{}});
  restart();
  join("g2");
  beat("g1");
  EXPECT_TRUE(pack_of("g1").empty() && pack_of("g2").empty());
  set_paused(1, false);
  EXPECT_EQ(pack_of("g1").size() + pack_of("g2").size(), 2u);
}

TEST_F(Packs, PausingAndResumingAreIdempotent) {
  join("g1");
  submit();
  lease_of("g1");
  set_paused(1, true, "a");
  EXPECT_EQ(set_paused(1, true, "b").running, 1u);
  EXPECT_EQ(sent<Yield>("g1").size(), 1u);
  set_paused(1, false, "c");
  set_paused(1, false, "d");
  EXPECT_FALSE(core_->paused(1));
}

TEST_F(Packs, APauseThatArrivesAgainAfterTheResumeChangesNothing) {
  submit();
  set_paused(1, true, "first");
  set_paused(1, false, "second");
  restart();
  set_paused(1, true, "first");
  EXPECT_FALSE(core_->paused(1));
}

TEST_F(Packs, ALostGangOfAPausedJobLeavesItsTrialsHeld) {
  join("g1");
  submit();
  lease_of("g1");
  set_paused(1, true);
  from("g1", Goodbye{"g1", ""});
  join("g2");
  EXPECT_TRUE(pack_of("g2").empty());
  EXPECT_EQ(trial({1, 0}).attempts, 1u);
}

TEST_F(Packs, APausedJobCanBeCancelledAndOthersRunMeanwhile) {
  submit(2);
  set_paused(1, true);
  submit();
  join("g1");
  EXPECT_EQ(lease_of("g1").trial, (TrialId{2, 0}));
  from("client", Cancel{1}, 9);
  EXPECT_EQ(job(1).state, State::cancelled);
  EXPECT_FALSE(job(1).paused);
}

TEST_F(Packs, PausingWhatIsNotThereOrHasEndedIsASentence) {
  from("client", SetPaused{"k", 9, true}, 5);
  EXPECT_EQ(refusal(), "there is no job 9; `hivq list` shows them");
  join("g1");
  submit();
  report("g1", lease_of("g1"), 1, {EndItem{}});
  from("client", SetPaused{"k", 1, true}, 5);
  EXPECT_EQ(refusal(), "job 1 has ended: there is nothing to pause");
  from("client", SetPaused{"k", 1, false}, 5);
  EXPECT_EQ(refusal(), "job 1 has ended: there is nothing to resume");
}

// ---- Starting from another trial ----

class Starts : public Packs {
 protected:
  /// Job 1 with a finished trial that has a checkpoint of step 30.
  void SetUp() override {
    Packs::SetUp();
    join("g1");
    submit();
    auto items = checkpoint(30, {"shared", "trained"});
    items.emplace_back(EndItem{});
    report("g1", lease_of("g1"), 1, items);
  }
  static std::string from_trial(const std::string& source, int trials = 1, int fuse = 1) {
    return yaml(trials, 0, 5, fuse, source);
  }
};

TEST_F(Starts, ATrialStartsFromTheNewestCheckpointOfAnother) {
  submit_yaml(from_trial("1/0"));
  auto part = pack_of("g1").at(0);
  EXPECT_TRUE(part.warm);
  EXPECT_EQ(part.checkpoint.step, 30);
  EXPECT_EQ(part.checkpoint.chunks, (std::vector<std::string>{sha256_hex("shared"), sha256_hex("trained")}));
}

TEST_F(Starts, OnceItHasACheckpointOfItsOwnItGoesOnFromThat) {
  submit_yaml(from_trial("1/0"));
  report("g1", lease_of("g1"), 1, checkpoint(5, {"own"}));
  from("g1", Goodbye{"g1", ""});
  restart();
  join("g2");
  auto part = pack_of("g2").at(0);
  EXPECT_FALSE(part.warm);
  EXPECT_EQ(part.checkpoint.chunks, std::vector<std::string>{sha256_hex("own")});
}

TEST_F(Starts, WithoutOneItStartsThereAgainAfterARestartToo) {
  submit_yaml(from_trial("1/0"));
  lease_of("g1");
  restart();
  from("g1", Goodbye{"g1", ""});
  join("g2");
  EXPECT_TRUE(pack_of("g2").at(0).warm);
}

TEST_F(Starts, TheChunksStayWhileATrialNeedsThemAlthoughTheSourceTrainsOn) {
  submit();  // job 2, runs on g1
  Lease source = lease_of("g1");
  report("g1", source, 1, checkpoint(10, {"old"}));
  submit_yaml(from_trial("2/0", 2));  // job 3 waits
  report("g1", source, 3, checkpoint(20, {"new"}));
  EXPECT_TRUE(store_.rows(Family::blobs).contains(sha256_hex("old")));
  restart();
  EXPECT_TRUE(store_.rows(Family::blobs).contains(sha256_hex("old")));
  report("g1", source, 5, {EndItem{}});
  Lease first = lease_of("g1");
  EXPECT_EQ(first.trial, (TrialId{3, 0}));
  report("g1", first, 1, checkpoint(1, {"own"}));
  EXPECT_TRUE(store_.rows(Family::blobs).contains(sha256_hex("old"))) << "3/1 still needs it";
  from("client", Cancel{3}, 9);
  EXPECT_FALSE(store_.rows(Family::blobs).contains(sha256_hex("old")));
  EXPECT_TRUE(store_.rows(Family::blobs).contains(sha256_hex("new")));
  EXPECT_EQ(store_.rows(Family::checkpoints).size(), 3u);  // 1/0, 2/0, 3/0: nothing is held any more
}

TEST_F(Starts, WhatIsHeldForAJobThatIsNotValidAnyMoreGoesAtTheRestart) {
  submit();  // job 2, runs on g1
  Lease source = lease_of("g1");
  report("g1", source, 1, checkpoint(10, {"old"}));
  submit_yaml(from_trial("2/0"));  // job 3 waits
  report("g1", source, 3, checkpoint(20, {"new"}));
  report("g1", source, 5, {EndItem{}});
  from("g1", Goodbye{"g1", ""});
  EXPECT_EQ(kept({2, 0}), (std::vector<int64_t>{10, 20}));
  JobRow row = job(3);
  row.yaml = "name: x\nwarp: 9\n";
  Write write{Family::jobs, key_of(uint64_t{3}), pack(row)};
  store_.commit({&write, 1});
  restart();
  EXPECT_EQ(kept({2, 0}), (std::vector<int64_t>{20}));
  EXPECT_FALSE(store_.rows(Family::blobs).contains(sha256_hex("old")));
  EXPECT_TRUE(store_.rows(Family::blobs).contains(sha256_hex("trained")));
}

TEST_F(Starts, WarmTrialsMayGoTogether) {
  submit_yaml(from_trial("1/0", 2, 2));
  auto pack = pack_of("g1");
  ASSERT_EQ(pack.size(), 2u);
  EXPECT_TRUE(pack[0].warm && pack[1].warm);
}

TEST_F(Starts, TheSourceMayBeAParameterOfTheSweep) {
  submit_yaml("name: x\nsweep: {parameters: {train.start_from: ['', 1/0]}}\n");
  EXPECT_FALSE(pack_of("g1").at(0).warm);
  EXPECT_EQ(trial({2, 1}).start_step, 30);
}

TEST_F(Starts, ASourceThatIsNotThereIsASentence) {
  from("client", Submit{"a", "mine.yaml", "name: x\ntrain: {start_from: 9/0}\n"}, 5);
  EXPECT_EQ(refusal(), "mine.yaml: train.start_from is 9/0, but there is no job 9; `hivq list` shows them");
  from("client", Submit{"b", "mine.yaml", "name: x\ntrain: {start_from: 1/7}\n"}, 5);
  EXPECT_EQ(refusal(),
            "mine.yaml: train.start_from is 1/7, but there is no checkpoint of trial 1/7; name a trial for which "
            "`hivq show TRIAL` tells of one (`hivq show 1` lists them)");
  from("client", Submit{"c", "mine.yaml", "name: x\ntrain:\n  start_from: one\n"}, 5);
  EXPECT_EQ(refusal(),
            "mine.yaml:3: train.start_from is one; it must be a stored trial as JOB/TRIAL, such as 3/0, or empty");
  EXPECT_EQ(store_.rows(Family::jobs).size(), 1u);
}

}  // namespace
}  // namespace hivq
