#include <gtest/gtest.h>

#include "tests/coordinator/harness.h"

namespace hivq {
namespace {

/// A job whose one trial runs on g1 with the retention that the test wants.
class Retention : public CoreTest {
 protected:
  Lease run(const std::string& retention, int trials = 1) {
    join("g1");
    std::string seeds;
    for (int i = 0; i < trials; ++i) seeds += (i == 0 ? "" : ", ") + std::to_string(i);
    submit_yaml("name: test\nretention: {" + retention + "}\nsweep: {parameters: {train.seed: [" + seeds + "]}}\n");
    next_ = 1;
    return lease_ = lease_of("g1");
  }
  void say(const std::vector<Item>& items) {
    report("g1", lease_, next_, items);
    next_ += items.size();
  }
  /// An evaluation and a checkpoint of the same step.
  void evaluate(int64_t step, double auroc) {
    say({metrics(step, auroc)});
    say(checkpoint(step, {"shared", "bytes of " + std::to_string(step)}));
  }
  bool has_bytes(int64_t step) const {
    return store_.rows(Family::blobs).contains(sha256_hex("bytes of " + std::to_string(step)));
  }
  Pinned pin(const TrialId& trial, int64_t step, bool pinned = true) {
    from("client", Pin{trial, step, pinned}, 3);
    auto answers = sent<Pinned>("client");
    EXPECT_EQ(answers.size(), 1u);
    return answers.empty() ? Pinned{-1} : answers[0];
  }
  Lease lease_;
  uint64_t next_ = 1;
};

using Steps = std::vector<int64_t>;

TEST_F(Retention, TheLastAndTheBestStay) {
  run("last: 2, best: 1");
  for (auto [step, auroc] : std::vector<std::pair<int64_t, double>>{{10, 0.5}, {20, 0.9}, {30, 0.8}, {40, 0.7}, {50, 0.6}}) {
    evaluate(step, auroc);
  }
  EXPECT_EQ(kept({1, 0}), (Steps{20, 40, 50}));
  EXPECT_TRUE(has_bytes(20) && has_bytes(40) && has_bytes(50));
  EXPECT_FALSE(has_bytes(10) || has_bytes(30));
  EXPECT_TRUE(store_.rows(Family::blobs).contains(sha256_hex("shared")));
  restart();
  beat("g1", lease_);
  evaluate(60, 0.95);
  EXPECT_EQ(kept({1, 0}), (Steps{50, 60}));
}

TEST_F(Retention, ByDefaultTheNewestAndTheBestStay) {
  run("");
  evaluate(10, 0.9);
  evaluate(20, 0.5);
  evaluate(30, 0.6);
  EXPECT_EQ(kept({1, 0}), (Steps{10, 30}));
}

TEST_F(Retention, OfEqualOnesTheOlderIsTheBestForItIsNearerToTheEvaluation) {
  run("last: 1, best: 1");
  evaluate(10, 0.9);
  say(checkpoint(12, {"bytes of 12"}));  // between two evaluations
  say(checkpoint(14, {"bytes of 14"}));
  EXPECT_EQ(kept({1, 0}), (Steps{10, 14}));
}

TEST_F(Retention, AnEvaluationAfterItsCheckpointCounts) {
  run("last: 1, best: 1");
  evaluate(10, 0.9);
  say(checkpoint(20, {"bytes of 20"}));
  say({metrics(20, 0.1)});
  say(checkpoint(30, {"bytes of 30"}));
  say({metrics(30, 0.2)});
  EXPECT_EQ(kept({1, 0}), (Steps{10, 30}));
  say(checkpoint(40, {"bytes of 40"}));
  say({metrics(40, 0.99)});
  EXPECT_EQ(kept({1, 0}), (Steps{40}));
}

TEST_F(Retention, AFigureThatIsNoNumberIsNoBest) {
  run("last: 1, best: 1");
  evaluate(10, 0.2);
  evaluate(20, std::numeric_limits<double>::quiet_NaN());
  evaluate(30, 0.1);
  EXPECT_EQ(kept({1, 0}), (Steps{10, 30}));
}

TEST_F(Retention, APinnedOneStaysUntilItIsUnpinned) {
  run("last: 1, best: 0");
  evaluate(10, 0.5);
  EXPECT_EQ(pin({1, 0}, -1).step, 10);
  EXPECT_EQ(pin({1, 0}, 10).step, 10);  // again
  evaluate(20, 0.5);
  evaluate(30, 0.5);
  EXPECT_EQ(kept({1, 0}), (Steps{10, 30}));
  restart();
  beat("g1", lease_);
  say({EndItem{}});
  EXPECT_EQ(state({1, 0}), State::finished);
  pass(1000);  // it is out of memory
  pin({1, 0}, 30);
  pin({1, 0}, 30, false);
  EXPECT_EQ(kept({1, 0}), (Steps{10, 30}));  // retention asks for it
  pin({1, 0}, 10, false);
  EXPECT_EQ(kept({1, 0}), (Steps{30}));
  EXPECT_FALSE(has_bytes(10));
}

TEST_F(Retention, PinsOfOneRoundSeeEachOther) {
  run("last: 1, best: 0");
  evaluate(10, 0.5);
  pin({1, 0}, 10);
  evaluate(20, 0.5);
  say({EndItem{}});
  pass(1000);
  // Two wishes of one round: the second must know of the first, which is not committed yet.
  Effects effects;
  core_->step(Received{"client", {1, Pin{{1, 0}, 10, false}}}, now_, effects);
  core_->step(Received{"client", {2, Pin{{1, 0}, 10, true}}}, now_, effects);
  ASSERT_EQ(effects.sends.size(), 2u);
  auto* failed = std::get_if<Failed>(&effects.sends[1].message.body);
  ASSERT_TRUE(failed != nullptr);
  EXPECT_EQ(failed->reason, "trial 1/0 has no checkpoint of step 10; it has those of the steps 20");
}

TEST_F(Retention, WhatCannotBePinnedIsASentence) {
  run("");
  from("client", Pin{{1, 0}, -1, true}, 3);
  EXPECT_EQ(sent<Failed>("client").at(0).reason, "trial 1/0 has no checkpoint; `hivq show JOB` tells which trials have one");
  from("client", Pin{{7, 0}, -1, true}, 3);
  EXPECT_EQ(sent<Failed>("client").size(), 1u);
  evaluate(10, 0.5);
  from("client", Pin{{1, 0}, 20, true}, 3);
  EXPECT_EQ(sent<Failed>("client").at(0).reason, "trial 1/0 has no checkpoint of step 20; it has those of the steps 10");
}

TEST_F(Retention, OfTheTrialsThatHaveEndedTheBestKeepTheirs) {
  run("last: 1, best: 0, trials: 2", 4);
  const double figures[] = {0.6, 0.9, 0.7, 0.8};
  for (uint64_t index = 0; index < 4; ++index) {
    if (index > 0) {
      lease_ = lease_of("g1");
      next_ = 1;
    }
    say({metrics(10, figures[index])});
    say(checkpoint(10, {"bytes of trial " + std::to_string(index)}));
    if (index == 0) pin({1, 0}, 10);
    say({EndItem{}});
  }
  EXPECT_EQ(kept({1, 0}), (Steps{10}));  // pinned
  EXPECT_EQ(kept({1, 1}), (Steps{10}));
  EXPECT_EQ(kept({1, 2}), (Steps{}));
  EXPECT_EQ(kept({1, 3}), (Steps{10}));
  EXPECT_FALSE(store_.rows(Family::blobs).contains(sha256_hex("bytes of trial 2")));
  pass(1000);
  pin({1, 0}, 10, false);
  EXPECT_EQ(kept({1, 0}), (Steps{}));
}

TEST_F(Retention, WhatATrialStartsFromStaysUntilItHasOneOfItsOwn) {
  run("last: 1, best: 0");
  evaluate(10, 0.5);
  submit_yaml("name: other\ntrain: {start_from: 1/0}\n");
  evaluate(20, 0.5);
  EXPECT_EQ(kept({1, 0}), (Steps{10, 20}));
  say({EndItem{}});
  restart();
  pass(1000);
  EXPECT_EQ(kept({1, 0}), (Steps{10, 20}));
  beat("g1");
  auto part = pack_of("g1").at(0);
  EXPECT_TRUE(part.warm);
  EXPECT_EQ(part.checkpoint.step, 10);
  report("g1", part.lease, 1, checkpoint(1, {"own"}));
  EXPECT_EQ(kept({1, 0}), (Steps{20}));
  EXPECT_FALSE(has_bytes(10));
}

TEST_F(Retention, APinnedStartStaysWithItsPin) {
  run("last: 1, best: 0");
  evaluate(10, 0.5);
  submit_yaml("name: other\ntrain: {start_from: 1/0}\n");
  evaluate(20, 0.5);
  say({EndItem{}});
  pass(1000);
  pin({1, 0}, 10);
  from("client", Cancel{2}, 9);
  EXPECT_EQ(kept({1, 0}), (Steps{10, 20}));
  pin({1, 0}, 10, false);
  EXPECT_EQ(kept({1, 0}), (Steps{20}));
}

TEST_F(Retention, TheSameStepAgainReplacesTheCheckpointAndKeepsItsPin) {
  run("last: 1, best: 0");
  say(checkpoint(10, {"a", "b"}));
  pin({1, 0}, 10);
  say(checkpoint(10, {"a", "c"}));
  EXPECT_EQ(kept({1, 0}), (Steps{10}));
  EXPECT_TRUE(store_.rows(Family::blobs).contains(sha256_hex("a")));
  EXPECT_FALSE(store_.rows(Family::blobs).contains(sha256_hex("b")));
  EXPECT_TRUE(store_.rows(Family::blobs).contains(sha256_hex("c")));
  say(checkpoint(20, {"d"}));
  EXPECT_EQ(kept({1, 0}), (Steps{10, 20}));
}

// ---- Garbage ----

TEST(Garbage, WaitsItsTimeAndForItsReaders) {
  MapStore store;
  const auto commit = [&](std::vector<Write> writes) { store.commit(writes); };
  for (const std::string chunk : {"one", "two", "three"}) {
    commit({{Family::blobs, chunk, "bytes"}, {Family::garbage, chunk, key_of(uint64_t{1000})}});
  }
  commit({{Family::uses, use_key("two", {1, 0}, 3), ""}});
  ChunkReaders readers(500);
  readers.begin({"three", "other"}, 1000);
  EXPECT_TRUE(collect_garbage(store, readers, 1099, 100).value().empty());
  commit(collect_garbage(store, readers, 1100, 100).value());
  EXPECT_FALSE(store.rows(Family::blobs).contains("one"));
  EXPECT_TRUE(store.rows(Family::blobs).contains("two"));     // it is named again
  EXPECT_FALSE(store.rows(Family::garbage).contains("two"));  // and no garbage
  EXPECT_TRUE(store.rows(Family::blobs).contains("three"));   // it is read
  readers.read("other", 1400);
  commit(collect_garbage(store, readers, 1800, 100).value());
  EXPECT_TRUE(store.rows(Family::blobs).contains("three"));  // what belongs to it is
  commit(collect_garbage(store, readers, 1900, 100).value());
  EXPECT_FALSE(store.rows(Family::blobs).contains("three"));
  EXPECT_TRUE(store.rows(Family::garbage).empty());
}

TEST(Garbage, NamesThatBeginAlikeAreNotMixedUp) {
  MapStore store;
  const std::string hash(64, 'a');
  std::vector<Write> writes{{Family::blobs, hash, "bytes"}, {Family::garbage, hash, key_of(uint64_t{0})},
                            {Family::uses, use_key(std::string(63, 'a') + "b", {1, 0}, 3), ""}};
  store.commit(writes);
  store.commit(collect_garbage(store, ChunkReaders(0), 1, 0).value());
  EXPECT_TRUE(store.rows(Family::blobs).empty());
}

}  // namespace
}  // namespace hivq
