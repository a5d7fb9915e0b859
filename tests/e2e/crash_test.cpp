// kill -9 of the coordinator, of a rank, and of both in the middle of a sweep: every trial finishes once and nothing
// that the coordinator told of is lost.

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <thread>

#include "coordinator/store.h"
#include "jobs/philox.h"
#include "tests/e2e/harness.h"

namespace hivq::e2e {
namespace {

/// Every metric point that the coordinator has ever shown: by trial, name and step. It shows only what is on its disk.
class Witness {
 public:
  void look(Client& client, uint64_t trials) {
    for (uint64_t i = 0; i < trials; ++i) {
      auto metrics = client.try_ask<MetricSeries>(QueryMetrics{{1, i}, ""}, std::chrono::seconds(2));
      if (!metrics || !*metrics) continue;
      for (const auto& [name, points] : (*metrics)->series) {
        if (name.find("per_second") != std::string::npos)
          continue;  // a measured speed differs when it is measured again
        for (const auto& point : points) seen_[{i, name, point.step}] = point.value;
      }
    }
  }
  const auto& seen() const { return seen_; }

 private:
  std::map<std::tuple<uint64_t, std::string, int64_t>, double> seen_;
};

/// How often each trial was finished, by the audit trail.
std::map<std::string, int> finishes(const std::string& data) {
  auto store = Store::open(data).value();
  std::map<std::string, int> counts;
  auto read = store.scan(Family::events, "", [&](auto, std::string_view value) {
    std::string text = unpack<EventRow>(value).value().text;
    if (text.starts_with("trial ") && text.ends_with(" finished")) ++counts[text.substr(6, text.size() - 15)];
    return true;
  });
  EXPECT_TRUE(read) << read.error().message;
  return counts;
}

class Crash : public testing::Test {
 protected:
  explicit Crash(uint64_t count = 3) : trials(count) {}

  void SetUp() override {
    client.emplace(coordinator.client());
    std::string spec = space.write("tiny.yaml", tiny_job(static_cast<int>(trials), 200));
    auto submitted = space.run({program("hivq"), "submit", spec, "--coordinator", coordinator.endpoint});
    ASSERT_EQ(submitted.code, 0) << submitted.output;
  }

  JobDetail job() {
    auto answer = client->ask<JobDetail>(ShowJob{1});
    return answer ? *answer : JobDetail{};
  }

  /// Waits until the trial has stored a checkpoint and gone on from it.
  bool trains_beyond_a_checkpoint(uint64_t trial) {
    return wait_until(
        [&] {
          witness.look(*client, trials);
          JobDetail detail = job();
          if (detail.trials.size() <= trial) return false;
          const TrialView& view = detail.trials[trial];
          return view.state == "running" && view.checkpoint_step > 0 && view.step > view.checkpoint_step;
        },
        120);
  }

  void kill_rank(int rank) {
    auto workers = workers_of(coordinator.endpoint);
    auto found = workers.find(rank);
    ASSERT_NE(found, workers.end()) << "no rank " << rank << " runs";
    kill(found->second.pid, SIGKILL);
  }

  /// `attempts_in_all`: leases of the trials, where these are known.
  void expect_the_sweep_whole(std::optional<uint64_t> attempts_in_all, double seconds = 240) {
    ASSERT_TRUE(wait_until([&] { return job().job.state == "finished"; }, seconds)) << job().job.state;
    JobDetail detail = job();
    EXPECT_EQ(detail.job.finished, trials);
    uint64_t attempts = 0;
    for (const auto& trial : detail.trials) {
      EXPECT_EQ(trial.state, "finished") << trial.reason;
      attempts += trial.attempts;
    }
    EXPECT_EQ(attempts, attempts_in_all.value_or(attempts));
    Witness in_the_end;
    in_the_end.look(*client, trials);
    EXPECT_GT(witness.seen().size(), 20u);
    for (const auto& [point, value] : witness.seen()) {
      auto kept = in_the_end.seen().find(point);
      const auto& [trial, name, step] = point;
      ASSERT_NE(kept, in_the_end.seen().end()) << "lost: trial " << trial << ' ' << name << " at step " << step;
      // A trial that goes on from its checkpoint computes the same numbers again.
      EXPECT_EQ(kept->second, value) << "changed: trial " << trial << ' ' << name << " at step " << step;
    }
    stop(coordinator.process, std::chrono::seconds(20));
    for (const auto& [trial, count] : finishes(space.path("data"))) EXPECT_EQ(count, 1) << "trial " << trial;
    EXPECT_EQ(finishes(space.path("data")).size(), trials);
    EXPECT_TRUE(workers_of(coordinator.endpoint).empty()) << "a worker outlived its coordinator";
    auto verified = space.run({program("hivq-coordinator"), "verify", "--data", space.path("data")});
    EXPECT_EQ(verified.code, 0) << verified.output;
  }

  const uint64_t trials;
  Workspace space;
  Coordinator coordinator{space, space.path("data"), {"--local-gangs", "1", "--local-ranks", "2"}};
  std::optional<Client> client;
  Witness witness;
};

TEST_F(Crash, OfTheCoordinatorItCarriesOnAndTheGangTrainsWithoutInterruption) {
  ASSERT_TRUE(trains_beyond_a_checkpoint(0));
  coordinator.kill_hard();
  coordinator.start();
  client.emplace(coordinator.client());
  expect_the_sweep_whole(trials);  // no second attempt: the gang was kept
}

TEST_F(Crash, OfARankTheTrialGoesOnFromItsCheckpointInAnotherGang) {
  ASSERT_TRUE(trains_beyond_a_checkpoint(0));
  kill_rank(1);
  ASSERT_TRUE(wait_until([&] { return job().trials.at(0).attempts == 2; }));
  ASSERT_TRUE(trains_beyond_a_checkpoint(1));
  kill_rank(0);
  expect_the_sweep_whole(trials + 2);
}

TEST_F(Crash, OfCoordinatorAndRankTogether) {
  ASSERT_TRUE(trains_beyond_a_checkpoint(1));
  auto workers = workers_of(coordinator.endpoint);
  ASSERT_EQ(workers.count(1), 1u);
  coordinator.kill_hard();
  kill(workers.find(1)->second.pid, SIGKILL);
  coordinator.start();
  client.emplace(coordinator.client());
  expect_the_sweep_whole(trials + 1);
}

uint64_t number_in(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// HIVQ_KILLS=100 HIVQ_SEED=7 build/release/bin/test_e2e --gtest_filter='Storm.*'
class Storm : public Crash {
 protected:
  Storm() : Crash(number_in("HIVQ_KILLS", 3) + 1) {}
};

TEST_F(Storm, TheCoordinatorIsKilledAgainAndAgain) {
  const uint64_t kills = number_in("HIVQ_KILLS", 3), seed = number_in("HIVQ_SEED", 1);
  for (uint64_t i = 0; i < kills; ++i) {
    const auto lives = std::chrono::milliseconds(random_bits(seed, i, 0) % 3000);
    std::this_thread::sleep_for(lives);
    if (lives > std::chrono::milliseconds(1000)) witness.look(*client, trials);
    coordinator.kill_hard();
    coordinator.start();
    client.emplace(coordinator.client());
  }
  RecordProperty("kills", static_cast<int>(kills));
  EXPECT_NE(job().job.state, "finished") << "the sweep was too short to be killed " << kills << " times";
  expect_the_sweep_whole(std::nullopt, 240 + 10 * static_cast<double>(trials));
}

}  // namespace
}  // namespace hivq::e2e
