#include "coordinator/queries.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "common/sha256.h"
#include "coordinator/points.h"
#include "coordinator/store_readers.h"

namespace hivq {
namespace {

/// A real store and a real core; what the core writes is committed.
class Queries : public testing::Test {
 protected:
  std::string folder_ = testing::TempDir() + "/hivq_queries_" + std::to_string(getpid());
  std::optional<Store> store_;
  std::unique_ptr<Core> core_;

  void SetUp() override {
    store_ = std::move(Store::open(folder_).value());
    Effects effects;
    core_ = std::make_unique<Core>(CoreOptions{}, store_->snapshot().value(), nullptr, 1000, effects);
    ASSERT_TRUE(store_->commit(effects.writes));
    Hello hello;
    hello.gang = "g1";
    hello.ranks = 2;
    hello.host = "here";
    from("g1", hello);
  }
  void TearDown() override {
    core_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  void from(const std::string& peer, Body body) {
    Effects effects;
    core_->step(Received{peer, {1, std::move(body)}}, now_, effects);
    ASSERT_TRUE(store_->commit(effects.writes));
    for (const auto& send : effects.sends) {
      if (auto* assign = std::get_if<Assign>(&send.message.body)) lease_ = assign->parts.at(0).lease;
    }
  }
  void idle() { from("g1", Heartbeat{"g1", {}}); }
  void beat(const Lease& lease) { from("g1", Heartbeat{"g1", {{lease, 7, 20, "training"}}}); }
  void report(std::vector<Item> items) {
    Report report{"g1", lease_, next_, {}};
    for (const auto& item : items) report.items.push_back(pack_item(item));
    next_ += items.size();
    from("g1", report);
  }
  void run_one_of_two_trials() {
    from("client", Submit{"k", "t.yaml", "name: two\nsweep:\n  search: grid\n  parameters:\n    train.seed: [3, 4]\n"});
    idle();
    beat(lease_);
    report({MetricsItem{0, {{"auroc", 0.5}, {"loss", 2}}}, MetricsItem{5, {{"loss", 1}}},
            MetricsItem{10, {{"auroc", 0.8}, {"loss", 0.5}}}, LogItem{"first"}, LogItem{"second"},
            ChunkItem{sha256_hex("w"), "w"}, CheckpointItem{10, 1, {sha256_hex("w")}}});
  }
  template <typename T>
  T ask(const Body& question) {
    EXPECT_TRUE(is_query(question));
    Body body = answer(question, *store_, *core_);
    if (auto* failed = std::get_if<Failed>(&body)) ADD_FAILURE() << failed->reason;
    return std::get<T>(body);
  }
  std::string failure(const Body& question) { return std::get<Failed>(answer(question, *store_, *core_)).reason; }

  Lease lease_;
  uint64_t next_ = 1;
  Millis now_ = 2000;
};

TEST_F(Queries, AJobThatRunsIsShownWithItsProgress) {
  run_one_of_two_trials();
  auto list = ask<JobList>(ListJobs{});
  ASSERT_EQ(list.jobs.size(), 1u);
  EXPECT_EQ(list.jobs[0].name, "two");
  EXPECT_EQ(list.jobs[0].state, "running");
  EXPECT_EQ(list.jobs[0].running, 1u);
  auto detail = ask<JobDetail>(ShowJob{1});
  ASSERT_EQ(detail.trials.size(), 2u);
  const auto& trial = detail.trials[0];
  EXPECT_EQ(trial.state, "running");
  EXPECT_EQ(trial.params.at("train.seed"), "3");
  EXPECT_EQ(trial.step, 7);
  EXPECT_EQ(trial.total_steps, 20);
  EXPECT_EQ(trial.gang, "g1");
  EXPECT_EQ(trial.initial.at("auroc"), 0.5);
  EXPECT_EQ(trial.final.at("auroc"), 0.8);
  EXPECT_EQ(trial.checkpoint_step, 10);
  EXPECT_EQ(detail.trials[1].state, "waiting");
  EXPECT_EQ(detail.trials[1].checkpoint_step, -1);
}

TEST_F(Queries, AnEndedJobIsShownFromTheStore) {
  run_one_of_two_trials();
  report({EndItem{}});
  next_ = 1;
  report({EndItem{true, "not finite", {}}});
  auto job = ask<JobList>(ListJobs{}).jobs.at(0);
  EXPECT_EQ(job.state, "finished");
  EXPECT_EQ(job.finished, 1u);
  EXPECT_EQ(job.failed, 1u);
  EXPECT_EQ(job.running, 0u);
  EXPECT_EQ(ask<JobDetail>(ShowJob{1}).trials[1].reason, "not finite");
}

TEST_F(Queries, CurvesComeInTheOrderOfTheirSteps) {
  run_one_of_two_trials();
  auto series = ask<MetricSeries>(QueryMetrics{{1, 0}, "", 0}).series;
  ASSERT_EQ(series.size(), 2u);
  ASSERT_EQ(series["loss"].size(), 3u);
  EXPECT_EQ(series["loss"][1].step, 5);
  EXPECT_EQ(series["loss"][2].value, 0.5);
  EXPECT_EQ(ask<MetricSeries>(QueryMetrics{{1, 0}, "au", 0}).series.size(), 1u);
  auto newest = ask<MetricSeries>(QueryMetrics{{1, 0}, "loss", 2}).series["loss"];
  ASSERT_EQ(newest.size(), 2u);
  EXPECT_EQ(newest[0].step, 5);
}

TEST_F(Queries, LogLinesComeInOrderAndCanBeFollowed) {
  run_one_of_two_trials();
  auto lines = ask<LogLines>(QueryLogs{{1, 0}, 0});
  EXPECT_EQ(lines.lines, (std::vector<std::string>{"first", "second"}));
  EXPECT_EQ(lines.times, (std::vector<Millis>{2000, 2000}));
  EXPECT_EQ(ask<LogLines>(QueryLogs{{1, 0}, 1}).lines, std::vector<std::string>{"second"});
  EXPECT_TRUE(ask<LogLines>(QueryLogs{{1, 0}, 9}).lines.empty());
}

TEST_F(Queries, GangsAreShown) {
  run_one_of_two_trials();
  auto gangs = ask<GangList>(QueryGangs{}).gangs;
  ASSERT_EQ(gangs.size(), 1u);
  EXPECT_EQ(gangs[0].host, "here");
  EXPECT_EQ(gangs[0].trials, (std::vector<TrialId>{{1, 0}}));
  EXPECT_EQ(gangs[0].phase, "training");
  EXPECT_TRUE(gangs[0].connected);
}

TEST_F(Queries, APackIsShownTrialByTrial) {
  from("client",
       Submit{"k", "t.yaml", "name: four\ngang: {fuse: 3}\nsweep: {parameters: {train.seed: [1, 2, 3, 4]}}\n"});
  idle();
  from("g1", Heartbeat{"g1", {{{{1, 0}, lease_.epoch}, 7, 20, "training"}, {{{1, 2}, lease_.epoch}, 9, 20, ""}}});
  EXPECT_EQ(ask<GangList>(QueryGangs{}).gangs.at(0).trials, (std::vector<TrialId>{{1, 0}, {1, 1}, {1, 2}}));
  auto trials = ask<JobDetail>(ShowJob{1}).trials;
  EXPECT_EQ(trials.at(0).beside, 2u);
  EXPECT_EQ(trials.at(0).step, 7);
  EXPECT_EQ(trials.at(1).step, 0);
  EXPECT_EQ(trials.at(2).step, 9);
  EXPECT_EQ(trials.at(3).beside, 0u);
}

TEST_F(Queries, APausedJobIsShownAsSuch) {
  run_one_of_two_trials();
  from("client", SetPaused{"p", 1, true});
  EXPECT_EQ(ask<JobList>(ListJobs{}).jobs.at(0).state, "pausing");
  report({YieldItem{}});
  EXPECT_EQ(ask<JobList>(ListJobs{}).jobs.at(0).state, "paused");
  auto detail = ask<JobDetail>(ShowJob{1});
  EXPECT_EQ(detail.waiting, "it is paused; `hivq resume 1` lets it go on");
  EXPECT_EQ(detail.trials.at(0).state, "paused");
  EXPECT_EQ(detail.trials.at(1).state, "paused");
  from("client", SetPaused{"r", 1, false});
  EXPECT_EQ(ask<JobList>(ListJobs{}).jobs.at(0).state, "running");
}

TEST_F(Queries, AJobsWaitIsExplained) {
  EXPECT_EQ(failure(ExplainJob{1}), "there is no job 1; `hivq list` shows them");
  run_one_of_two_trials();
  EXPECT_EQ(ask<Explanation>(ExplainJob{1}).text,
            "job 1 runs: 1 of its 2 trials have a gang, 1 wait: the only gang that fits is busy");
  EXPECT_EQ(ask<JobDetail>(ShowJob{1}).waiting, "");
  from("client", Submit{"k2", "t.yaml", "name: later\nafter: [1]\n"});
  EXPECT_EQ(ask<Explanation>(ExplainJob{2}).text, "job 2 does not run: it waits for the end of job 1");
  EXPECT_EQ(ask<JobDetail>(ShowJob{2}).waiting, "it waits for the end of job 1");
  EXPECT_EQ(ask<JobList>(ListJobs{}).jobs.at(1).state, "waiting");
  from("client", Cancel{1});
  EXPECT_EQ(ask<Explanation>(ExplainJob{1}).text, "job 1 has been cancelled");
  EXPECT_EQ(ask<Explanation>(ExplainJob{2}).text,
            "job 2 has been cancelled: job 1, which it comes after, has been cancelled");
}

TEST_F(Queries, WhatAJobWouldTakeIsMeasuredOnTrialsLikeIt) {
  const std::string like = "name: x\ntrain: {epochs: 30}\nsweep: {parameters: {train.seed: [1, 2, 3, 4]}}\n";
  auto unknown = ask<Estimate>(EstimateJob{"x.yaml", like, ""});
  EXPECT_EQ(unknown.trials, 4u);
  EXPECT_EQ(unknown.rank_hours, -1);
  EXPECT_FALSE(unknown.note.empty());
  from("client", Submit{"k", "t.yaml", "name: x\ntrain: {epochs: 10}\n"});
  idle();
  now_ += 60'000;
  report({ChunkItem{sha256_hex("weights"), "weights"}, CheckpointItem{10, 7, {sha256_hex("weights")}}, EndItem{}});
  auto known = ask<Estimate>(EstimateJob{"x.yaml", like, ""});
  // Two ranks for a minute for ten epochs: six minutes of a rank for thirty, four times.
  EXPECT_NEAR(known.rank_hours, 4 * 6.0 / 60, 1e-9);
  EXPECT_EQ(known.similar, 1u);
  EXPECT_EQ(known.checkpoint_bytes, 4 * 7);
  EXPECT_EQ(known.note, "");
  auto wider = ask<Estimate>(EstimateJob{"x.yaml", "name: x\nmodel: {width: 512}\n", ""});
  EXPECT_EQ(wider.rank_hours, -1);
  EXPECT_EQ(failure(EstimateJob{"x.yaml", "name: x\ntrain: {epochs: 0}\n", ""}),
            "x.yaml:2: train.epochs is 0; it must be at least 1");
}

TEST_F(Queries, AChunkIsVerifiedAsItIsRead) {
  run_one_of_two_trials();
  EXPECT_EQ(ask<Chunk>(FetchChunk{sha256_hex("w")}).bytes, "w");
  EXPECT_NE(ask<Chunk>(FetchChunk{"nothing"}).error.find("not in the store"), std::string::npos);
  // The store does not write a chunk again that a checkpoint names: first nobody does.
  const Write unnamed{Family::uses, use_key(sha256_hex("w"), {1, 0}, 10), std::nullopt};
  const Write wrong{Family::blobs, sha256_hex("w"), "other bytes"};
  ASSERT_TRUE(store_->commit({&unnamed, 1}));
  ASSERT_TRUE(store_->commit({&wrong, 1}));
  auto chunk = ask<Chunk>(FetchChunk{sha256_hex("w")});
  EXPECT_NE(chunk.error.find("damaged"), std::string::npos);
  EXPECT_EQ(chunk.bytes, "");
}

TEST_F(Queries, ATrialsNewestCheckpointIsGivenAfterItsEndToo) {
  run_one_of_two_trials();
  const std::string bytes = "newer";
  report({ChunkItem{sha256_hex(bytes), bytes}, CheckpointItem{20, bytes.size(), {sha256_hex(bytes)}}, EndItem{}});
  auto checkpoint = ask<TrialCheckpoint>(FetchCheckpoint{{1, 0}});
  EXPECT_EQ(checkpoint.manifest.step, 20);
  EXPECT_EQ(checkpoint.manifest.size, bytes.size());
  ASSERT_EQ(checkpoint.manifest.chunks.size(), 1u);
  EXPECT_EQ(ask<Chunk>(FetchChunk{checkpoint.manifest.chunks[0]}).bytes, bytes);
}

TEST_F(Queries, ATrialWithoutACheckpointIsASentence) {
  run_one_of_two_trials();
  EXPECT_EQ(failure(FetchCheckpoint{{1, 1}}),
            "trial 1/1 has no checkpoint: it writes one every train.checkpoint_every epochs, and at its end");
  EXPECT_NE(failure(FetchCheckpoint{{1, 2}}).find("there is no trial 1/2"), std::string::npos);
}

TEST_F(Queries, WhatIsNotThereIsASentence) {
  EXPECT_NE(failure(ShowJob{9}).find("there is no job 9"), std::string::npos);
  EXPECT_NE(failure(QueryMetrics{{9, 1}, "", 0}).find("there is no trial 9/1"), std::string::npos);
  EXPECT_NE(failure(QueryLogs{{9, 1}, 0}).find("there is no trial 9/1"), std::string::npos);
}

TEST_F(Queries, ADamagedRowIsASentenceAndNoAbsence) {
  run_one_of_two_trials();
  Write wrong{Family::trials, key_of(TrialId{1, 1}), "garbage"};
  ASSERT_TRUE(store_->commit({&wrong, 1}));
  EXPECT_NE(failure(ShowJob{1}).find("malformed"), std::string::npos);
}

TEST_F(Queries, ThreadsAnswerWhatTheStoreAloneKnowsAndARepeatedQuestionOnce) {
  run_one_of_two_trials();
  const Body curves = QueryMetrics{lease_.trial, "", 0, 0}, lines = QueryLogs{lease_.trial, 0};
  EXPECT_TRUE(reads_store_alone(curves));
  EXPECT_FALSE(reads_store_alone(ShowJob{1})) << "that asks the core for what runs";
  StoreReaders readers(*store_);
  constexpr uint64_t kAsked = 50;
  for (uint64_t i = 1; i <= kAsked; ++i) {
    readers.ask("one", {i, curves});
    readers.ask("one", {i, curves});  // its client has waited for long
    readers.ask("other", {i, lines});
  }
  EXPECT_TRUE(readers.busy());
  std::map<std::string, std::map<uint64_t, Body>> answers;
  for (size_t count = 0; count < 2 * kAsked;) {
    for (const auto& answered : readers.take()) {
      const auto message = decode(answered.bytes).value();
      EXPECT_EQ(message.id, answered.request);
      EXPECT_TRUE(answers[answered.peer].emplace(message.id, message.body).second) << "answered twice";
      ++count;
    }
  }
  EXPECT_FALSE(readers.busy());
  EXPECT_TRUE(readers.take().empty());
  for (const auto& [request, body] : answers["one"]) {
    EXPECT_EQ(encode_points(std::get<MetricSeries>(body).series.at("loss")),
              encode_points(std::vector<MetricPoint>{{0, 2}, {5, 1}, {10, 0.5}}));
  }
  for (const auto& [request, body] : answers["other"]) {
    EXPECT_EQ(std::get<LogLines>(body).lines, (std::vector<std::string>{"first", "second"}));
  }
  readers.ask("one", {kAsked, QueryMetrics{{9, 9}, "", 0, 0}});  // the number may come again once it was answered
  std::vector<StoreReaders::Answered> failed;
  while (failed.empty()) failed = readers.take();
  EXPECT_NE(std::get<Failed>(decode(failed[0].bytes)->body).reason.find("there is no trial 9/9"), std::string::npos);
}

}  // namespace
}  // namespace hivq
