#pragma once

// A core on a store in memory, driven by hand: what a test says arrives, what it writes is committed at once.

#include <gtest/gtest.h>

#include "common/sha256.h"
#include "coordinator/core.h"
#include "coordinator/garbage.h"
#include "coordinator/series.h"
#include "coordinator/snapshot.h"
#include "tests/coordinator/map_store.h"

namespace hivq {

class CoreTest : public testing::Test {
 protected:
  void start() {
    Effects effects;
    options_.ended_job = [this](JobId job) { return read_ended_job(store_, job); };
    core_ = std::make_unique<Core>(options_, read_snapshot(store_).value(),
                                   [this](const TrialId& id) { return read_checkpoints(store_, id); }, now_, effects);
    take(std::move(effects));
  }
  void SetUp() override { start(); }
  /// The coordinator is killed and comes back.
  void restart(Millis later = 1000) {
    now_ += later;
    sends_.clear();
    start();
  }

  void input(Input input) {
    Effects effects;
    core_->step(input, now_, effects);
    take(std::move(effects));
  }
  void from(const std::string& peer, Body body, uint64_t request = 0) {
    input(Received{peer, {request, std::move(body)}});
  }
  /// Time passes in ticks, as the shell has it.
  void pass(Millis time) {
    for (Millis end = now_ + time; now_ < end;) {
      now_ = std::min(end, now_ + 200);
      input(Tick{});
    }
  }

  /// The messages of one kind to a peer since the last call of it for this kind and peer.
  template <typename T>
  std::vector<T> sent(const std::string& peer) {
    std::vector<T> found;
    std::erase_if(sends_, [&](const Send& send) {
      auto* body = std::get_if<T>(&send.message.body);
      if (body == nullptr || send.identity != peer) return false;
      found.push_back(*body);
      return true;
    });
    return found;
  }

  // ---- What gangs and clients say ----

  void hello(const GangId& gang, uint64_t ranks = 2, const std::string& launch = "", uint64_t epoch = 0) {
    Hello hello;
    hello.gang = gang;
    hello.ranks = ranks;
    hello.launch = launch;
    hello.epoch = epoch;
    from(gang, hello);
  }
  void beat(const GangId& gang, const std::vector<Lease>& leases = {}) {
    Heartbeat beat{gang, {}};
    for (const Lease& lease : leases) beat.trials.push_back({lease, 0, 0, ""});
    from(gang, beat);
  }
  void beat(const GangId& gang, const Lease& lease) { beat(gang, std::vector{lease}); }
  void join(const GangId& gang, uint64_t ranks = 2, const std::string& launch = "") {
    hello(gang, ranks, launch);
    beat(gang);
  }
  void report(const GangId& gang, const Lease& lease, uint64_t first, const std::vector<Item>& items) {
    Report report{gang, lease, first, {}};
    for (const auto& item : items) report.items.push_back(pack_item(item));
    from(gang, report);
  }
  /// The last acknowledgement to the gang; 0: none.
  uint64_t acknowledged(const GangId& gang) {
    auto acks = sent<Ack>(gang);
    return acks.empty() ? 0 : acks.back().last;
  }
  static Item metrics(int64_t step, double auroc) { return MetricsItem{step, {{"auroc", auroc}}}; }
  static std::vector<Item> checkpoint(int64_t step, const std::vector<std::string>& parts) {
    std::vector<Item> items;
    CheckpointItem manifest{step, 0, {}};
    for (const auto& part : parts) {
      manifest.size += part.size();
      manifest.chunks.push_back(sha256_hex(part));
      items.push_back(ChunkItem{manifest.chunks.back(), part});
    }
    items.push_back(manifest);
    return items;
  }

  static std::string yaml(int trials, int ranks = 0, int max_attempts = 5, int fuse = 1,
                          const std::string& start_from = "") {
    std::string seeds;
    for (int i = 0; i < trials; ++i) seeds += (i == 0 ? "" : ", ") + std::to_string(i);
    return fmt::format(
        "name: test\nmax_attempts: {}\ngang:\n  ranks: {}\n  fuse: {}\ntrain: {{start_from: {}}}\n"
        "sweep:\n  search: grid\n  parameters:\n    train.seed: [{}]\n",
        max_attempts, ranks, fuse, start_from, seeds);
  }
  JobId submit(int trials = 1, int ranks = 0, int max_attempts = 5) {
    return submit_yaml(yaml(trials, ranks, max_attempts));
  }
  /// Trials that may train side by side, so many at once.
  JobId submit_fused(int trials, int fuse) { return submit_yaml(yaml(trials, 0, 5, fuse)); }
  JobId submit_yaml(const std::string& text) {
    from("client", Submit{"key " + std::to_string(++submissions_), "test.yaml", text}, 7);
    auto answers = sent<Submitted>("client");
    EXPECT_EQ(answers.size(), 1u);
    return answers.empty() ? 0 : answers[0].job;
  }
  /// The pack that the gang was given last.
  std::vector<Part> pack_of(const GangId& gang) {
    auto assigns = sent<Assign>(gang);
    return assigns.empty() ? std::vector<Part>() : assigns.back().parts;
  }
  /// The lease that the gang was given last: a pack of one.
  Lease lease_of(const GangId& gang) {
    auto pack = pack_of(gang);
    EXPECT_EQ(pack.size(), 1u);
    return pack.empty() ? Lease{} : pack.back().lease;
  }
  /// Points of all curves.
  size_t points() const {
    size_t count = 0;
    EXPECT_TRUE(visit_points(store_, "", [&](const auto&, auto, const auto& points) {
      count += points.size();
      return true;
    }));
    return count;
  }
  double point(const TrialId& id, const std::string& name, int64_t step) const {
    auto series = read_series(store_, id, name).value();
    for (const auto& point : series[name]) {
      if (point.step == step) return point.value;
    }
    ADD_FAILURE() << "there is no point of step " << step;
    return 0;
  }
  /// The steps of a trial's checkpoints that are kept.
  std::vector<int64_t> kept(const TrialId& id) const {
    std::vector<int64_t> steps;
    for (const auto& [step, row] : read_checkpoints(store_, id).value()) steps.push_back(step);
    return steps;
  }
  TrialRow trial(const TrialId& id) const { return store_.row<TrialRow>(Family::trials, key_of(id)); }
  JobRow job(JobId id) const { return store_.row<JobRow>(Family::jobs, key_of(id)); }
  State state(const TrialId& id) const { return trial(id).state; }

  CoreOptions options_;
  Millis now_ = 1'000'000;
  MapStore store_;
  std::unique_ptr<Core> core_;
  std::vector<Send> sends_;
  std::vector<Launch> launches_;
  std::vector<std::string> stops_;
  size_t writes_ = 0;
  int submissions_ = 0;

 private:
  void take(Effects effects) {
    store_.commit(effects.writes);
    writes_ += effects.writes.size();
    store_.commit(collect_garbage(store_, ChunkReaders(0), now_, 0).value());  // at once
    std::move(effects.sends.begin(), effects.sends.end(), std::back_inserter(sends_));
    launches_.insert(launches_.end(), effects.launches.begin(), effects.launches.end());
    stops_.insert(stops_.end(), effects.stops.begin(), effects.stops.end());
  }
};

}  // namespace hivq
