// A gang of this MPI world against a coordinator made here: rank 0 plays its part in a thread, with a real socket.
// Features and training are small functions of the test, so only the gang itself is tested.

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <thread>

#include "common/transport.h"
#include "worker/gang/gang.h"

namespace hivq {
namespace {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

const std::string kGang = "00000000000000ab";

/// Plays the coordinator: greets, assigns the trials one after another, keeps what is reported and acknowledges it.
class FakeCoordinator {
 public:
  struct Stream {
    std::vector<Item> items;
    steady::time_point assigned, first_metric, ended;
    const EndItem* end() const { return items.empty() ? nullptr : std::get_if<EndItem>(&items.back()); }
  };
  /// Called for every report before it is stored; false: the coordinator does not see it.
  std::function<bool(const Report&)> hears = [](const Report&) { return true; };
  /// Refuses the running lease once this many items are there.
  size_t refuse_after = SIZE_MAX;
  bool dismiss = true;  // Leave when no trial is left

  explicit FakeCoordinator(std::vector<std::string> specs)
      : specs_(std::move(specs)), router_(Router::bind("tcp://127.0.0.1:0").value()) {}
  ~FakeCoordinator() { stop(); }
  const std::string& endpoint() const { return router_.endpoint(); }
  void start() {
    thread_ = std::thread([this] {
      while (!stop_) turn();
    });
  }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  // After stop() only.
  std::map<TrialId, Stream> streams;
  std::vector<std::string> goodbyes;
  std::vector<std::string> phases;
  Hello hello;

 private:
  void turn() {
    auto incoming = router_.receive(20ms);
    if (!incoming) return;
    peer_ = incoming->identity;
    auto message = decode(incoming->bytes);
    ASSERT_TRUE(message);
    if (auto* greeting = std::get_if<Hello>(&message->body)) {
      hello = *greeting;
      tell(Welcome{"test"});
      assign();
    } else if (auto* heartbeat = std::get_if<Heartbeat>(&message->body)) {
      if (phases.empty() || phases.back() != heartbeat->phase) phases.push_back(heartbeat->phase);
      tell(Heard{});
    } else if (auto* report = std::get_if<Report>(&message->body)) {
      if (hears(*report)) take(*report);
    } else if (auto* goodbye = std::get_if<Goodbye>(&message->body)) {
      goodbyes.push_back(goodbye->reason);
    }
  }

  void assign() {
    if (lease_) return tell(Assign{*lease_, specs_[lease_->trial.index], false, {}});
    if (next_ == specs_.size()) {
      if (dismiss) tell(Leave{"no trial is left"});
      return;
    }
    lease_ = Lease{{1, next_}, next_ + 1};
    last_ = 0;
    streams[lease_->trial].assigned = steady::now();
    tell(Assign{*lease_, specs_[next_++], false, {}});
  }

  void take(const Report& report) {
    if (!lease_ || report.lease != *lease_) return tell(Refused{report.lease, "the lease has ended"});
    Stream& stream = streams[lease_->trial];
    uint64_t number = report.first;
    for (const std::string& bytes : report.items) {
      if (number++ != last_ + 1) continue;
      ++last_;
      stream.items.push_back(*unpack_item(bytes));
      if (std::holds_alternative<MetricsItem>(stream.items.back()) && stream.first_metric == steady::time_point{}) {
        stream.first_metric = steady::now();
      }
    }
    if (stream.items.size() >= refuse_after) {
      refuse_after = SIZE_MAX;
      tell(Refused{*std::exchange(lease_, std::nullopt), "the job was cancelled"});
      return assign();
    }
    tell(Ack{*lease_, last_});
    if (stream.end() == nullptr) return;
    stream.ended = steady::now();
    lease_.reset();
    assign();
  }

  void tell(Body body) { router_.send(peer_, encode({0, std::move(body)})); }

  std::vector<std::string> specs_;
  Router router_;
  std::string peer_;
  size_t next_ = 0;
  std::optional<Lease> lease_;
  uint64_t last_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

std::string spec(int64_t epochs = 3, const std::string& data = "fashion-mnist") {
  TrialSpec trial;
  trial.data.name = data;
  trial.train.epochs = epochs;
  return to_yaml(trial);
}

FeatureSet few_features() {
  FeatureSet set;
  set.train = at::ones({8, 2, 3, 3});
  set.test = at::ones({4, 2, 3, 3});
  return set;
}

/// One step an epoch: sums the ranks' shares, reports the sum, and stops all ranks together.
Result<TrialOutcome> count_steps(const TrialSpec& spec, Collective& collective, const TrialHooks& hooks,
                                 std::chrono::milliseconds step_time = 0ms) {
  for (int64_t step = 1; step <= spec.train.epochs; ++step) {
    at::Tensor sums = at::tensor({1.0, hooks.stop && hooks.stop() ? 1.0 : 0.0}, at::kDouble);
    if (Status summed = collective.all_reduce_sum(sums); !summed) return summed.error();
    if (sums[1].item<double>() > 0) return TrialOutcome{TrialOutcome::End::stopped, "", {}};
    if (collective.rank() == 0) hooks.metrics(step, {{"ranks", sums[0].item<double>()}});
    std::this_thread::sleep_for(step_time);
  }
  return TrialOutcome{TrialOutcome::End::finished, "", {{"auroc", 0.75}}};
}

class GangTest : public testing::Test {
 protected:
  GangTest() : world_(World::join().value()), collective_(make_mpi_collective()) {
    work_.load_features = [this](const DataSpec&, const BackboneSpec&, const FeatureProgress&) -> Result<FeatureSet> {
      ++loads_;
      return few_features();
    };
    work_.run_trial = [](const TrialSpec& trial, const FeatureSet&, Collective& ranks, std::string_view,
                         const TrialHooks& hooks) { return count_steps(trial, ranks, hooks); };
  }
  bool leads() const { return world_.rank() == 0; }

  void serve(std::vector<std::string> specs) {
    if (!leads()) return;
    coordinator_ = std::make_unique<FakeCoordinator>(std::move(specs));
  }

  Result<Ending> run_gang_to_its_end() {
    const Log silent("test", Level::error);
    if (leads()) {
      coordinator_->start();
      options_.coordinator = coordinator_->endpoint();
      options_.hello.gang = kGang;
      options_.hello.ranks = static_cast<uint64_t>(world_.size());
      leader_ = Leader::start(options_, clock_, silent).value();
    }
    Result<Ending> ending = run_gang(world_, *collective_, leader_.get(), work_, silent);
    leader_.reset();
    if (leads()) {
      std::this_thread::sleep_for(100ms);  // for Goodbye to arrive
      coordinator_->stop();
    }
    return ending;
  }

  const SystemClock clock_;
  World world_;
  std::unique_ptr<Collective> collective_;
  Work work_;
  int loads_ = 0;
  LeaderOptions options_;
  std::unique_ptr<FakeCoordinator> coordinator_;
  std::unique_ptr<Leader> leader_;
};

TEST_F(GangTest, RunsTrialsOnAllRanksAndReportsThem) {
  serve({spec(3), spec(2)});
  const Result<Ending> ending = run_gang_to_its_end();
  ASSERT_TRUE(ending);
  EXPECT_EQ(ending->exit_code, 0);
  EXPECT_EQ(ending->reason, "no trial is left");
  EXPECT_EQ(loads_, 1) << "the second trial has the same features";
  if (!leads()) return;
  EXPECT_EQ(coordinator_->hello.ranks, static_cast<uint64_t>(world_.size()));
  ASSERT_EQ(coordinator_->streams.size(), 2u);
  for (const auto& [id, stream] : coordinator_->streams) {
    std::vector<int64_t> steps;
    for (const Item& item : stream.items) {
      if (auto* metrics = std::get_if<MetricsItem>(&item)) {
        steps.push_back(metrics->step);
        EXPECT_EQ(metrics->values.at("ranks"), world_.size());
      }
    }
    EXPECT_EQ(steps, id.index == 0 ? (std::vector<int64_t>{1, 2, 3}) : (std::vector<int64_t>{1, 2}));
    ASSERT_TRUE(stream.end());
    EXPECT_FALSE(stream.end()->failed);
    EXPECT_EQ(stream.end()->final.at("auroc"), 0.75);
  }
  EXPECT_EQ(coordinator_->goodbyes, std::vector<std::string>{"no trial is left"});
}

TEST_F(GangTest, LoadsOtherFeaturesForOtherData) {
  std::string other = spec();
  other.replace(other.find("image_size: 224"), 15, "image_size: 112");
  serve({spec(), other, spec()});
  ASSERT_TRUE(run_gang_to_its_end());
  EXPECT_EQ(loads_, 3);
}

TEST_F(GangTest, EveryTrialsLogNamesTheImagesThatWereLeftOut) {
  work_.load_features = [](const DataSpec&, const BackboneSpec&, const FeatureProgress&) -> Result<FeatureSet> {
    FeatureSet set = few_features();
    for (int i = 0; i < 23; ++i) set.warnings.push_back(fmt::format("left out: {}.png is empty", i));
    return set;
  };
  serve({spec(1), spec(1)});
  ASSERT_TRUE(run_gang_to_its_end());
  if (!leads()) return;
  for (const uint64_t trial : {0, 1}) {
    std::vector<std::string> warnings;
    for (const Item& item : coordinator_->streams.at({1, trial}).items) {
      const auto* log = std::get_if<LogItem>(&item);
      if (log && log->text.starts_with("warning: ")) warnings.push_back(log->text);
    }
    ASSERT_EQ(warnings.size(), 21u);
    EXPECT_EQ(warnings.front(), "warning: left out: 0.png is empty");
    EXPECT_EQ(warnings.back(), "warning: 3 more were left out");
  }
}

TEST_F(GangTest, AnErrorOnOneRankFailsTheTrialWithItsSentenceAndTheGangLivesOn) {
  work_.load_features = [this](const DataSpec&, const BackboneSpec&, const FeatureProgress&) -> Result<FeatureSet> {
    ++loads_;
    if (loads_ == 1 && world_.rank() == world_.size() - 1) return error("/data/mvtec is missing: set data.path");
    return few_features();
  };
  serve({spec(), spec()});
  ASSERT_TRUE(run_gang_to_its_end());
  EXPECT_EQ(loads_, 2) << "features that some rank lacks do not count as loaded";
  if (!leads()) return;
  const EndItem* first = coordinator_->streams.at({1, 0}).end();
  ASSERT_TRUE(first);
  EXPECT_TRUE(first->failed);
  EXPECT_EQ(first->reason, "/data/mvtec is missing: set data.path");
  ASSERT_TRUE(coordinator_->streams.at({1, 1}).end());
  EXPECT_FALSE(coordinator_->streams.at({1, 1}).end()->failed);
}

TEST_F(GangTest, AWrongSpecificationFailsTheTrial) {
  serve({"train:\n  epochs: many\n", spec()});
  ASSERT_TRUE(run_gang_to_its_end());
  if (!leads()) return;
  const EndItem* first = coordinator_->streams.at({1, 0}).end();
  ASSERT_TRUE(first);
  EXPECT_TRUE(first->failed);
  EXPECT_NE(first->reason.find("epochs"), std::string::npos) << first->reason;
  EXPECT_FALSE(coordinator_->streams.at({1, 1}).end()->failed);
}

TEST_F(GangTest, ATrialThatFailsOfItselfIsReportedSo) {
  work_.run_trial = [](const TrialSpec&, const FeatureSet&, Collective&, std::string_view,
                       const TrialHooks&) -> Result<TrialOutcome> {
    return TrialOutcome{TrialOutcome::End::failed, "the loss is not finite at step 7", {}};
  };
  serve({spec()});
  ASSERT_TRUE(run_gang_to_its_end());
  if (!leads()) return;
  ASSERT_TRUE(coordinator_->streams.at({1, 0}).end());
  EXPECT_EQ(coordinator_->streams.at({1, 0}).end()->reason, "the loss is not finite at step 7");
}

TEST_F(GangTest, ARefusedLeaseStopsTheTrialOnEveryRank) {
  std::vector<TrialOutcome::End> ends;
  work_.run_trial = [&](const TrialSpec& trial, const FeatureSet&, Collective& ranks, std::string_view,
                        const TrialHooks& hooks) {
    auto outcome = count_steps(trial, ranks, hooks, 5ms);
    if (outcome) ends.push_back(outcome->end);
    return outcome;
  };
  serve({spec(100'000), spec(2)});
  if (leads()) coordinator_->refuse_after = 10;
  ASSERT_TRUE(run_gang_to_its_end());
  EXPECT_EQ(ends, (std::vector{TrialOutcome::End::stopped, TrialOutcome::End::finished}));
  if (!leads()) return;
  EXPECT_EQ(coordinator_->streams.at({1, 0}).end(), nullptr);
  ASSERT_TRUE(coordinator_->streams.at({1, 1}).end());
  EXPECT_FALSE(coordinator_->streams.at({1, 1}).end()->failed);
}

TEST_F(GangTest, ReportsAgainWhatTheCoordinatorDidNotHear) {
  options_.session.resend = 100;
  serve({spec(50)});
  if (leads()) {
    coordinator_->hears = [dropped = 0](const Report&) mutable { return ++dropped > 3; };
  }
  ASSERT_TRUE(run_gang_to_its_end());
  if (!leads()) return;
  std::vector<int64_t> steps, expected(50);
  for (const Item& item : coordinator_->streams.at({1, 0}).items) {
    if (auto* metrics = std::get_if<MetricsItem>(&item)) steps.push_back(metrics->step);
  }
  for (int64_t i = 0; i < 50; ++i) expected[i] = i + 1;
  EXPECT_EQ(steps, expected);
}

TEST_F(GangTest, CheckpointsArriveWholeAndTheReporterWaitsForRoom) {
  options_.session.buffer_bytes = 1 << 20;  // so that the second checkpoint has to wait for the first
  std::string content(3 * chunk_bytes + 17, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 2654435761u >> 13);
  work_.run_trial = [&](const TrialSpec&, const FeatureSet&, Collective& ranks, std::string_view,
                        const TrialHooks& hooks) -> Result<TrialOutcome> {
    for (int64_t step = 1; step <= 3 && ranks.rank() == 0; ++step) hooks.checkpoint(step, content);
    return TrialOutcome{};
  };
  serve({spec()});
  ASSERT_TRUE(run_gang_to_its_end());
  if (!leads()) return;
  std::map<std::string, std::string> chunks;
  int whole = 0;
  for (const Item& item : coordinator_->streams.at({1, 0}).items) {
    if (auto* chunk = std::get_if<ChunkItem>(&item)) chunks[chunk->hash] = chunk->bytes;
    if (auto* checkpoint = std::get_if<CheckpointItem>(&item)) {
      std::string bytes;
      for (const std::string& hash : checkpoint->chunks) bytes += chunks.at(hash);
      whole += bytes == content;
    }
  }
  EXPECT_EQ(whole, 3);
}

TEST_F(GangTest, ASignalEndsTheTrialInOrder) {
  work_.run_trial = [](const TrialSpec& trial, const FeatureSet&, Collective& ranks, std::string_view,
                       const TrialHooks& hooks) { return count_steps(trial, ranks, hooks, 5ms); };
  serve({spec(100'000)});
  std::thread signal;
  if (leads()) {
    signal = std::thread([this] {
      std::this_thread::sleep_for(500ms);
      leader_->end({0, "it was told to end"});
    });
  }
  const Result<Ending> ending = run_gang_to_its_end();
  if (signal.joinable()) signal.join();
  ASSERT_TRUE(ending);
  EXPECT_EQ(ending->reason, "it was told to end");
  if (!leads()) return;
  EXPECT_EQ(coordinator_->goodbyes, std::vector<std::string>{"it was told to end"});
  EXPECT_GT(coordinator_->streams.at({1, 0}).items.size(), 0u);
}

TEST_F(GangTest, ACoordinatorThatNeverAnswersEndsTheGangAfterItsPatience) {
  options_.patience = 600;
  serve({});
  if (leads()) coordinator_->stop();  // the socket is there, nobody reads it
  const auto begin = steady::now();
  const Result<Ending> ending = run_gang_to_its_end();
  ASSERT_TRUE(ending);
  EXPECT_EQ(ending->exit_code, 1);
  EXPECT_NE(ending->reason.find("no coordinator answered at tcp://"), std::string::npos) << ending->reason;
  EXPECT_GE(steady::now() - begin, 600ms);
}

TEST_F(GangTest, AWarmGangStartsATrialWithinMilliseconds) {
  serve(std::vector<std::string>(20, spec(1)));
  ASSERT_TRUE(run_gang_to_its_end());
  if (!leads()) return;
  std::vector<double> starts;
  for (const auto& [id, stream] : coordinator_->streams) {
    if (id.index > 0)
      starts.push_back(std::chrono::duration<double, std::milli>(stream.first_metric - stream.assigned).count());
  }
  std::sort(starts.begin(), starts.end());
  RecordProperty("median_ms", std::to_string(starts[starts.size() / 2]));
  std::printf("assignment to first metric: median %.2f ms, largest %.2f ms\n", starts[starts.size() / 2],
              starts.back());
  EXPECT_LT(starts.front(), 50) << "even on a loaded machine the best start must not wait for a tick (100 ms)";
}

}  // namespace
}  // namespace hivq
