// A gang of this MPI world against a coordinator made here: rank 0 plays its part in a thread, with a real socket.
// Features and training are small functions of the test, so only the gang itself is tested.

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <thread>

#include "common/sha256.h"
#include "common/transport.h"
#include "worker/gang/gang.h"

namespace hivq {
namespace {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

const std::string kGang = "00000000000000ab";

/// Plays the coordinator: greets, assigns packs of trials one after another, keeps what is reported and acknowledges
/// it.
class FakeCoordinator {
 public:
  using Pack = std::vector<std::string>;  // specifications
  struct Stream {
    std::vector<Item> items;
    steady::time_point assigned, first_metric;
    const EndItem* end() const { return items.empty() ? nullptr : std::get_if<EndItem>(&items.back()); }
    bool given_back() const { return !items.empty() && std::holds_alternative<YieldItem>(items.back()); }
    std::vector<int64_t> steps() const {
      std::vector<int64_t> steps;
      for (const Item& item : items) {
        if (auto* metrics = std::get_if<MetricsItem>(&item)) steps.push_back(metrics->step);
      }
      return steps;
    }
  };
  /// Called for every report before it is stored; false: the coordinator does not see it.
  std::function<bool(const Report&)> hears = [](const Report&) { return true; };
  /// Refuses a lease once it has reported this many items, the first that does; or asks its pack back.
  size_t refuse_after = SIZE_MAX, yield_after = SIZE_MAX;
  std::string others_checkpoint;  // that all trials start from
  bool dismiss = true;            // Leave when no trial is left

  explicit FakeCoordinator(std::vector<Pack> packs)
      : packs_(std::move(packs)), router_(Router::bind("tcp://127.0.0.1:0").value()) {}
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
      tell(Welcome{"test", 0, true});
      assign();
    } else if (std::holds_alternative<Heartbeat>(message->body)) {
      tell(Heard{});
    } else if (auto* fetch = std::get_if<FetchChunk>(&message->body)) {
      tell(Chunk{fetch->hash, others_checkpoint, ""});
    } else if (auto* report = std::get_if<Report>(&message->body)) {
      if (hears(*report)) take(*report);
    } else if (auto* goodbye = std::get_if<Goodbye>(&message->body)) {
      goodbyes.push_back(goodbye->reason);
    }
  }

  void assign() {
    if (!last_.empty()) return tell(pack_);
    if (next_ == packs_.size()) {
      if (dismiss) tell(Leave{"no trial is left"});
      return;
    }
    pack_ = {};
    Manifest checkpoint;
    if (!others_checkpoint.empty()) checkpoint = {9, others_checkpoint.size(), {sha256_hex(others_checkpoint)}};
    for (const std::string& spec : packs_[next_]) {
      const Lease lease{{1, streams.size()}, next_ + 1};
      pack_.parts.push_back({lease, spec, checkpoint, !others_checkpoint.empty()});
      last_[lease] = 0;
      streams[lease.trial].assigned = steady::now();
    }
    ++next_;
    tell(pack_);
  }

  void take(const Report& report) {
    auto last = last_.find(report.lease);
    if (last == last_.end()) return tell(Refused{report.lease, "the lease has ended"});
    Stream& stream = streams[report.lease.trial];
    uint64_t number = report.first;
    for (const std::string& bytes : report.items) {
      if (number++ != last->second + 1) continue;
      ++last->second;
      stream.items.push_back(*unpack_item(bytes));
      if (std::holds_alternative<MetricsItem>(stream.items.back()) && stream.first_metric == steady::time_point{}) {
        stream.first_metric = steady::now();
      }
    }
    if (stream.items.size() >= yield_after) {
      yield_after = SIZE_MAX;
      tell(Yield{report.lease.epoch});
    }
    if (stream.items.size() >= refuse_after) {
      refuse_after = SIZE_MAX;
      tell(Refused{report.lease, "the job was cancelled"});
      last_.erase(last);
    } else {
      tell(Ack{report.lease, last->second});
      if (stream.end() == nullptr && !stream.given_back()) return;
      last_.erase(last);
    }
    if (last_.empty()) assign();
  }

  void tell(Body body) { router_.send(peer_, encode({0, std::move(body)})); }

  std::vector<Pack> packs_;
  Router router_;
  std::string peer_;
  size_t next_ = 0;
  Assign pack_;                     // the last one
  std::map<Lease, uint64_t> last_;  // its leases that are live, and the last item of each
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

std::string spec(int64_t epochs = 3, uint64_t seed = 0) {
  TrialSpec trial;
  trial.train.epochs = epochs;
  trial.train.seed = seed;
  return to_yaml(trial);
}

FeatureSet few_features() {
  FeatureSet set;
  set.train = at::ones({8, 2, 3, 3});
  set.test = at::ones({4, 2, 3, 3});
  return set;
}

/// One step an epoch, of all trials side by side: sums the ranks' shares, reports the sum, and ends a trial on all
/// ranks together.
Result<std::vector<TrialOutcome>> count_steps(std::span<const TrialRun> runs, Collective& collective,
                                              std::chrono::milliseconds step_time = 0ms) {
  using Wish = TrialHooks::Wish;
  using End = TrialOutcome::End;
  std::vector<TrialOutcome> outcomes(runs.size(), {End::finished, "", {{"auroc", 0.75}}});
  for (int64_t step = 1; step <= runs.front().spec.train.epochs; ++step) {
    std::vector<double> wishes = {1};
    for (size_t i = 0; i < runs.size(); ++i) {
      const bool ask = collective.rank() == 0 && outcomes[i].end == End::finished;
      wishes.push_back(ask ? static_cast<double>(runs[i].hooks.wish()) : 0);
    }
    at::Tensor sums = at::tensor(wishes, at::kDouble);
    if (Status summed = collective.all_reduce_sum(sums); !summed) return summed.error();
    for (size_t i = 0; i < runs.size(); ++i) {
      if (outcomes[i].end != End::finished) continue;
      const auto wish = static_cast<Wish>(sums[static_cast<int64_t>(i) + 1].item<int>());
      if (wish != Wish::go_on) outcomes[i].end = wish == Wish::stop ? End::stopped : End::yielded;
      if (collective.rank() != 0) continue;
      if (wish == Wish::yield) runs[i].hooks.checkpoint(step - 1, "state");
      if (wish == Wish::go_on) runs[i].hooks.metrics(step, {{"ranks", sums[0].item<double>()}});
    }
    if (std::ranges::all_of(outcomes, [](const TrialOutcome& o) { return o.end != End::finished; })) break;
    std::this_thread::sleep_for(step_time);
  }
  return outcomes;
}

class GangTest : public testing::Test {
 protected:
  GangTest() : world_(World::join().value()), collective_(make_mpi_collective()) {
    work_.load_features = [this](const DataSpec&, const BackboneSpec&, const FeatureProgress&) -> Result<FeatureSet> {
      ++loads_;
      return few_features();
    };
    work_.run_trials = [this](std::span<const TrialRun> runs, const FeatureSet&, Collective& ranks) {
      for (const TrialRun& run : runs) started_.push_back(run.start);
      return count_steps(runs, ranks, step_time_);
    };
  }
  bool leads() const { return world_.rank() == 0; }

  /// Trials one after another.
  void serve(const std::vector<std::string>& specs) {
    std::vector<FakeCoordinator::Pack> packs;
    for (const std::string& each : specs) packs.push_back({each});
    serve_packs(std::move(packs));
  }
  void serve_packs(std::vector<FakeCoordinator::Pack> packs) {
    if (leads()) coordinator_ = std::make_unique<FakeCoordinator>(std::move(packs));
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
  std::chrono::milliseconds step_time_ = 0ms;
  std::vector<TrialStart> started_;
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
    for (const Item& item : stream.items) {
      if (auto* metrics = std::get_if<MetricsItem>(&item)) {
        EXPECT_EQ(metrics->values.at("ranks"), world_.size());
      }
    }
    EXPECT_EQ(stream.steps(), id.index == 0 ? (std::vector<int64_t>{1, 2, 3}) : (std::vector<int64_t>{1, 2}));
    ASSERT_TRUE(stream.end());
    EXPECT_FALSE(stream.end()->failed);
    EXPECT_EQ(stream.end()->final.at("auroc"), 0.75);
  }
  EXPECT_EQ(coordinator_->goodbyes, std::vector<std::string>{"no trial is left"});
}

TEST_F(GangTest, PicturesAndWarningsOfATrialAreReportedBeforeItsEnd) {
  work_.run_trials = [](std::span<const TrialRun> runs, const FeatureSet&, Collective& ranks) {
    for (const TrialRun& run : runs) {
      if (ranks.rank() > 0) continue;
      run.hooks.warning("the light was dim");
      for (uint64_t number : {0, 1}) run.hooks.picture({number, 5, "a.png", "brick", true, 0.5, "image", "", "map"});
    }
    return count_steps(runs, ranks);
  };
  serve_packs({{spec(1), spec(1, 7)}});
  ASSERT_TRUE(run_gang_to_its_end());
  if (!leads()) return;
  for (const uint64_t trial : {0, 1}) {
    const auto& stream = coordinator_->streams.at({1, trial});
    std::vector<uint64_t> pictures;
    bool warned = false;
    for (const Item& item : stream.items) {
      const auto* log = std::get_if<LogItem>(&item);
      warned = warned || (log && log->text == "warning: the light was dim");
      const auto* picture = std::get_if<PictureItem>(&item);
      if (picture == nullptr) continue;
      pictures.push_back(picture->number);
      EXPECT_EQ(picture->image, "image");
      EXPECT_EQ(picture->map, "map");
    }
    EXPECT_EQ(pictures, (std::vector<uint64_t>{0, 1}));
    EXPECT_TRUE(warned);
    EXPECT_TRUE(stream.end());
  }
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
  work_.run_trials = [](std::span<const TrialRun>, const FeatureSet&,
                        Collective&) -> Result<std::vector<TrialOutcome>> {
    return std::vector{TrialOutcome{TrialOutcome::End::failed, "the loss is not finite at step 7", {}}};
  };
  serve({spec()});
  ASSERT_TRUE(run_gang_to_its_end());
  if (!leads()) return;
  ASSERT_TRUE(coordinator_->streams.at({1, 0}).end());
  EXPECT_EQ(coordinator_->streams.at({1, 0}).end()->reason, "the loss is not finite at step 7");
}

TEST_F(GangTest, ARefusedLeaseStopsTheTrialOnEveryRank) {
  std::vector<TrialOutcome::End> ends;
  work_.run_trials = [&](std::span<const TrialRun> runs, const FeatureSet&, Collective& ranks) {
    auto outcomes = count_steps(runs, ranks, 5ms);
    if (outcomes) ends.push_back(outcomes->at(0).end);
    return outcomes;
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

// ---- Packs ----

TEST_F(GangTest, TrialsOfAPackRunSideBySideEachWithItsStream) {
  serve_packs({{spec(3, 1), spec(3, 2), spec(3, 3)}, {spec(2)}});
  ASSERT_TRUE(run_gang_to_its_end());
  EXPECT_EQ(loads_, 1);
  if (!leads()) return;
  ASSERT_EQ(coordinator_->streams.size(), 4u);
  for (const auto& [id, stream] : coordinator_->streams) {
    EXPECT_EQ(stream.steps(), id.index < 3 ? (std::vector<int64_t>{1, 2, 3}) : (std::vector<int64_t>{1, 2}));
    ASSERT_TRUE(stream.end());
    EXPECT_EQ(stream.end()->final.at("auroc"), 0.75);
    const auto* first = std::get_if<LogItem>(&stream.items.front());
    ASSERT_TRUE(first);
    EXPECT_EQ(first->text.find("side by side with 2 others") != std::string::npos, id.index < 3) << first->text;
  }
}

TEST_F(GangTest, APackThatIsAskedBackStopsAtOneStepAndReportsItsCheckpoints) {
  step_time_ = 5ms;
  serve_packs({{spec(100'000, 1), spec(100'000, 2)}, {spec(1)}});
  if (leads()) coordinator_->yield_after = 10;
  ASSERT_TRUE(run_gang_to_its_end());
  if (!leads()) return;
  const auto& streams = coordinator_->streams;
  EXPECT_EQ(streams.at({1, 0}).steps(), streams.at({1, 1}).steps());
  for (const uint64_t trial : {0, 1}) {
    const auto& stream = streams.at({1, trial});
    ASSERT_TRUE(stream.given_back());
    int64_t checkpoint = -1;
    for (const Item& item : stream.items) {
      if (auto* found = std::get_if<CheckpointItem>(&item)) checkpoint = found->step;
    }
    EXPECT_EQ(checkpoint, stream.steps().back());
  }
  EXPECT_TRUE(streams.at({1, 2}).end()) << "the gang lives on";
}

TEST_F(GangTest, ARefusedTrialOfAPackStopsAlone) {
  step_time_ = 5ms;
  serve_packs({{spec(200, 1), spec(200, 2)}});
  if (leads()) {
    coordinator_->hears = [this](const Report& report) {
      // It is the second that reaches the limit first.
      return report.lease.trial.index == 1 || coordinator_->refuse_after == SIZE_MAX;
    };
    coordinator_->refuse_after = 10;
  }
  ASSERT_TRUE(run_gang_to_its_end());
  if (!leads()) return;
  EXPECT_EQ(coordinator_->streams.at({1, 1}).end(), nullptr);
  EXPECT_LT(coordinator_->streams.at({1, 1}).steps().size(), 200u);
  EXPECT_EQ(coordinator_->streams.at({1, 0}).steps().size(), 200u);
  ASSERT_TRUE(coordinator_->streams.at({1, 0}).end());
}

TEST_F(GangTest, AnEndIsReportedWhileTheOthersOfThePackGoOn) {
  serve_packs({{spec(3, 1), spec(3, 2)}});
  std::atomic<bool> heard = false;
  if (leads()) {
    coordinator_->hears = [&](const Report& report) {
      for (const std::string& bytes : report.items) {
        const Item item = *unpack_item(bytes);
        if (report.lease.trial.index == 0 && std::holds_alternative<EndItem>(item)) heard = true;
      }
      return true;
    };
  }
  work_.run_trials = [&](std::span<const TrialRun> runs, const FeatureSet&,
                         Collective& ranks) -> Result<std::vector<TrialOutcome>> {
    std::vector<TrialOutcome> outcomes = {{TrialOutcome::End::failed, "its loss is not finite", {}}, {}};
    if (leads()) {
      runs[0].hooks.end(outcomes[0]);
      for (const auto begin = steady::now(); !heard && steady::now() - begin < 20s;) std::this_thread::sleep_for(5ms);
      EXPECT_TRUE(heard) << "before the pack has ended";
    }
    at::Tensor wait = at::zeros({1});
    if (Status met = ranks.all_reduce_sum(wait); !met) return met.error();
    return outcomes;
  };
  ASSERT_TRUE(run_gang_to_its_end());
  if (!leads()) return;
  const auto& streams = coordinator_->streams;
  ASSERT_TRUE(streams.at({1, 0}).end());
  EXPECT_EQ(streams.at({1, 0}).end()->reason, "its loss is not finite");
  ASSERT_TRUE(streams.at({1, 1}).end());
  EXPECT_FALSE(streams.at({1, 1}).end()->failed);
}

TEST_F(GangTest, ATrialThatCannotTrainBesideTheOthersFailsAlone) {
  serve_packs({{spec(3, 1), spec(4), spec(3, 2)}});
  ASSERT_TRUE(run_gang_to_its_end());
  if (!leads()) return;
  const EndItem* other = coordinator_->streams.at({1, 1}).end();
  ASSERT_TRUE(other);
  EXPECT_NE(other->reason.find("different versions"), std::string::npos) << other->reason;
  for (const uint64_t trial : {0, 2}) {
    ASSERT_TRUE(coordinator_->streams.at({1, trial}).end());
    EXPECT_FALSE(coordinator_->streams.at({1, trial}).end()->failed);
  }
}

TEST_F(GangTest, ATrialThatStartsFromAnothersModelIsToldSo) {
  serve({spec(1)});
  if (leads()) coordinator_->others_checkpoint = "another trial's state";
  ASSERT_TRUE(run_gang_to_its_end());
  ASSERT_EQ(started_.size(), 1u);
  if (!leads()) return;
  EXPECT_TRUE(started_[0].warm);
  EXPECT_EQ(started_[0].checkpoint, "another trial's state");
}

TEST_F(GangTest, ReportsAgainWhatTheCoordinatorDidNotHear) {
  options_.session.resend = 100;
  serve({spec(50)});
  if (leads()) {
    coordinator_->hears = [dropped = 0](const Report&) mutable { return ++dropped > 3; };
  }
  ASSERT_TRUE(run_gang_to_its_end());
  if (!leads()) return;
  std::vector<int64_t> expected(50);
  for (int64_t i = 0; i < 50; ++i) expected[i] = i + 1;
  EXPECT_EQ(coordinator_->streams.at({1, 0}).steps(), expected);
}

TEST_F(GangTest, CheckpointsArriveWholeAndTheReporterWaitsForRoom) {
  options_.session.buffer_bytes = 1 << 20;  // so that the second checkpoint has to wait for the first
  std::string content(3 * chunk_bytes + 17, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 2654435761u >> 13);
  work_.run_trials = [&](std::span<const TrialRun> runs, const FeatureSet&,
                         Collective& ranks) -> Result<std::vector<TrialOutcome>> {
    for (int64_t step = 1; step <= 3 && ranks.rank() == 0; ++step) runs[0].hooks.checkpoint(step, content);
    return std::vector<TrialOutcome>(1);
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
  step_time_ = 5ms;
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
