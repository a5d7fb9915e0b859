// Pools that grow with what waits and shrink with what is idle.

#include "tests/coordinator/harness.h"

namespace hivq {
namespace {

/// A launch's row before there were pools.
struct OldLaunchRow {
  std::string id = "7";
  uint64_t ranks = 2;
  int64_t pid = 1234;
  uint64_t start_time = 5678;
  Millis at = 1;
  bool useful = true;
  HIVQ_FIELDS(id, ranks, pid, start_time, at, useful)
};

class PoolsTest : public CoreTest {
 protected:
  static Pool pool(const std::string& name, uint64_t ranks, uint64_t minimum, uint64_t maximum) {
    Pool pool;
    pool.name = name;
    pool.ranks = ranks;
    pool.minimum = minimum;
    pool.maximum = maximum;
    pool.idle = 60'000;
    return pool;
  }
  void start_with(std::vector<Pool> pools) {
    options_.pools = std::move(pools);
    start();
  }
  JobId submit_labelled(const std::string& labels, int trials = 1) {
    std::string text = yaml(trials);
    text.replace(text.find("gang:\n"), 6, "gang:\n  labels: " + labels + "\n");
    return submit_yaml(text);
  }
  /// The gang of a launch says Hello and is idle.
  void arrive(const GangId& gang, size_t launch) {
    const Launch& one = launches_.at(launch);
    Hello hello;
    hello.gang = gang;
    hello.ranks = one.ranks;
    hello.launch = one.launch;
    hello.labels = {{"pool", one.pool}};
    from(gang, hello);
    beat(gang);
  }
  void finish(const GangId& gang) { report(gang, lease_of(gang), 1, {EndItem{}}); }
  void end(size_t launch, const std::string& reason) { input(LaunchEnded{launches_.at(launch).launch, reason}); }
  bool told(const std::string& text) const {
    bool found = false;
    (void)store_.scan(Family::events, "", [&](auto, std::string_view value) {
      found |= value.find(text) != value.npos;
      return true;
    });
    return found;
  }
  /// Time passes while these gangs speak.
  void pass_with(const std::vector<GangId>& gangs, Millis time) {
    for (const Millis end = now_ + time; now_ < end;) {
      pass(1000);
      for (const GangId& gang : gangs) beat(gang);
    }
  }
};

TEST_F(PoolsTest, APoolGrowsWithWhatWaitsUpToItsMaximum) {
  start_with({pool("lab", 2, 0, 3)});
  submit(2);
  pass(1000);
  EXPECT_EQ(launches_.size(), 2u);
  submit(5);
  pass(1000);
  ASSERT_EQ(launches_.size(), 3u);
  EXPECT_EQ(launches_[2].pool, "lab");
  EXPECT_EQ(launches_[2].ranks, 2u);
  EXPECT_NE(core_->waiting_reason(1).find("pool lab is starting a gang"), std::string::npos)
      << core_->waiting_reason(1);
}

TEST_F(PoolsTest, WhatIsIdleForLongEndsDownToTheMinimum) {
  start_with({pool("lab", 2, 1, 3)});
  submit(2);
  pass(200);
  ASSERT_EQ(launches_.size(), 2u);
  arrive("g1", 0);
  arrive("g2", 1);
  finish("g1");
  pass_with({"g1"}, 3000);
  finish("g2");
  pass_with({"g1", "g2"}, 55'000);
  EXPECT_TRUE(stops_.empty());
  pass_with({"g1", "g2"}, 5000);
  EXPECT_EQ(stops_, std::vector<std::string>{launches_[0].launch});
  EXPECT_EQ(sent<Leave>("g1").size(), 1u);
  EXPECT_TRUE(told("pool lab shrinks: it had nothing to do for"));
  end(0, "it left");
  pass_with({"g2"}, 200'000);
  EXPECT_EQ(stops_.size(), 1u) << "the last one is the minimum";
  EXPECT_EQ(launches_.size(), 2u);
}

TEST_F(PoolsTest, TheMinimumIsThereWithoutWork) {
  start_with({pool("lab", 2, 2, 3)});
  pass(1000);
  ASSERT_EQ(launches_.size(), 2u);
  arrive("g1", 0);
  arrive("g2", 1);
  end(0, "signal 9");
  pass(2000);
  EXPECT_EQ(launches_.size(), 3u);
}

TEST_F(PoolsTest, RoomThatIsMadeForATrialIsNotTakenByTheMinimum) {
  start_with({pool("lab", 0, 1, 1)});
  pass(1000);
  ASSERT_EQ(launches_.size(), 1u);
  EXPECT_EQ(launches_[0].ranks, 1u);
  arrive("g1", 0);
  submit(1, 4);
  EXPECT_EQ(stops_, std::vector<std::string>{launches_[0].launch});
  end(0, "it left");
  pass(1000);
  ASSERT_EQ(launches_.size(), 2u);
  EXPECT_EQ(launches_[1].ranks, 4u);
}

TEST_F(PoolsTest, RanksAndLabelsChooseThePool) {
  Pool gpu = pool("gpu", 4, 0, 2);
  gpu.labels = {{"gpu", "h100"}};
  start_with({pool("small", 1, 0, 2), gpu});
  submit(1, 4);
  EXPECT_EQ(launches_.at(0).pool, "gpu");
  submit_labelled("{pool: small}");
  EXPECT_EQ(launches_.at(1).pool, "small");
  submit_labelled("{gpu: h100}");
  pass(1000);
  EXPECT_EQ(launches_.at(2).pool, "gpu");
  submit(1);
  pass(1000);
  EXPECT_EQ(launches_.at(3).pool, "small") << "the first that fits and has room";
  const JobId none = submit(1, 3);
  pass(1000);
  EXPECT_EQ(launches_.size(), 4u);
  EXPECT_NE(core_->waiting_reason(none).find("Start one: mpirun -np 3"), std::string::npos)
      << core_->waiting_reason(none);
}

TEST_F(PoolsTest, AFullPoolSaysSo) {
  start_with({pool("lab", 2, 0, 1)});
  submit(2);
  arrive("g1", 0);
  EXPECT_NE(core_->waiting_reason(1).find("the only gang that fits is busy; pool lab is full (1 gang)"),
            std::string::npos)
      << core_->waiting_reason(1);
}

TEST_F(PoolsTest, ABrokenPoolFailsNoJobThatAnotherOneCanRun) {
  start_with({pool("broken", 2, 0, 2), pool("fine", 2, 0, 1)});
  submit(2);
  pass(200);
  ASSERT_EQ(launches_.size(), 2u);  // both of the first pool
  end(0, "no such partition");
  EXPECT_NE(core_->waiting_reason(1).find("pool broken is starting a gang"), std::string::npos);
  end(1, "no such partition");
  pass(200);
  ASSERT_EQ(launches_.size(), 3u);
  EXPECT_EQ(launches_[2].pool, "fine");
  arrive("g1", 2);
  for (int i = 0; i < 20; ++i) {
    pass_with({"g1"}, 10'000);
    for (size_t l = 3; l < launches_.size(); ++l) end(l, "no such partition");
  }
  EXPECT_GT(launches_.size(), 5u) << "it is tried again";
  EXPECT_LT(launches_.size(), 16u) << "ever more rarely";
  EXPECT_EQ(state({1, 1}), State::pending);
  EXPECT_NE(
      core_->waiting_reason(1).find("pool broken could not start a gang: no such partition; it is tried again in"),
      std::string::npos)
      << core_->waiting_reason(1);
  finish("g1");
  EXPECT_EQ(lease_of("g1").trial, (TrialId{1, 1}));
}

TEST_F(PoolsTest, WhereAllPoolsAreBrokenTheTrialsFailWithTheReason) {
  start_with({pool("one", 2, 0, 1), pool("two", 2, 0, 1)});
  submit(1);
  for (int i = 0; i < 12 && !core_->all_jobs_ended(); ++i) {
    pass(10'000);
    for (size_t l = 0; l < launches_.size(); ++l) end(l, "no such partition");
  }
  EXPECT_EQ(state({1, 0}), State::failed);
  EXPECT_NE(trial({1, 0}).reason.find("no such partition"), std::string::npos) << trial({1, 0}).reason;
}

TEST_F(PoolsTest, APoolThatWorkedFailsNoTrialWhenItDoesNotForAWhile) {
  start_with({pool("lab", 2, 0, 1)});
  submit(2);
  arrive("g1", 0);
  const Lease lease = lease_of("g1");
  report("g1", lease, 1, checkpoint(3, {"weights"}));
  end(0, "ORTE has lost communication with a remote daemon");
  for (int i = 0; i < 10; ++i) {
    pass(70'000);
    end(launches_.size() - 1, "ssh: connect to host host2 port 22: Connection timed out");
  }
  EXPECT_EQ(launches_.size(), 11u);
  EXPECT_EQ(state({1, 0}), State::pending);
  EXPECT_EQ(state({1, 1}), State::pending);
  EXPECT_NE(core_->waiting_reason(1).find("Connection timed out; it is tried again in"), std::string::npos);
  pass(70'000);
  arrive("g2", 11);
  EXPECT_EQ(pack_of("g2").at(0).checkpoint.step, 3);
}

TEST_F(PoolsTest, AGangThatFallsSilentIsNotWaitedForInItsEngine) {
  Pool lab = pool("lab", 2, 0, 1);
  lab.stays = lab.returns = true;
  start_with({lab});
  submit(1);
  arrive("g1", 0);
  pass(12'000);
  EXPECT_EQ(stops_, std::vector<std::string>{launches_[0].launch});
}

TEST_F(PoolsTest, WhatEndsByNoFaultOfItsOwnFailsNoTrial) {
  start_with({pool("lab", 2, 0, 1)});
  submit(1);
  for (int i = 0; i < 10; ++i) {
    input(LaunchEnded{launches_.back().launch, "it was preempted", true});
    pass(400'000);
  }
  EXPECT_EQ(state({1, 0}), State::pending);
  EXPECT_EQ(launches_.size(), 11u);
}

TEST_F(PoolsTest, TimeInTheEnginesQueueIsNoSilence) {
  start_with({pool("lab", 2, 0, 1)});
  submit(1);
  input(LaunchWaits{launches_[0].launch, true, "Slurm job 42 waits in the queue (Resources)"});
  pass(3'600'000);
  EXPECT_TRUE(stops_.empty());
  EXPECT_EQ(core_->waiting_reason(1), "pool lab is starting a gang: Slurm job 42 waits in the queue (Resources)");
  input(LaunchWaits{launches_[0].launch, false, "ImagePullBackOff"});
  pass(170'000);
  EXPECT_TRUE(stops_.empty());
  pass(20'000);
  EXPECT_EQ(stops_.size(), 1u);
  EXPECT_TRUE(told("pool lab: no gang came within 180 s: ImagePullBackOff"));
}

TEST_F(PoolsTest, WhatStandsInOneQueueForLongLetsAnotherPoolGrow) {
  start_with({pool("lab", 2, 0, 1), pool("cloud", 2, 0, 1)});
  submit(1);
  pass(10'000);
  EXPECT_EQ(launches_.size(), 1u);
  input(LaunchWaits{launches_[0].launch, true, "Resources"});
  pass(50'000);
  EXPECT_EQ(launches_.size(), 1u);
  pass(20'000);
  ASSERT_EQ(launches_.size(), 2u);
  EXPECT_EQ(launches_[1].pool, "cloud");
}

TEST_F(PoolsTest, WhatIsQueuedAndNotNeededAnyMoreIsCancelled) {
  start_with({pool("lab", 2, 0, 1)});
  const JobId id = submit(1);
  input(LaunchWaits{launches_[0].launch, true, "Resources"});
  from("client", Cancel{id}, 5);
  pass(55'000);
  EXPECT_TRUE(stops_.empty());
  pass(10'000);
  EXPECT_EQ(stops_, std::vector<std::string>{launches_[0].launch});
  end(0, "cancelled");
  pass(10'000);
  EXPECT_EQ(launches_.size(), 1u);
}

TEST_F(PoolsTest, AGangThatItsEngineStartsAgainSpeaksForTheSameLaunch) {
  Pool lab = pool("lab", 2, 0, 1);
  lab.stays = lab.returns = true;
  start_with({lab});
  submit(1);
  arrive("g1", 0);
  const Lease lease = lease_of("g1");
  report("g1", lease, 1, checkpoint(3, {"weights"}));
  from("g1", Goodbye{"g1", "signal 15"});
  EXPECT_TRUE(stops_.empty()) << "its engine may start it again";
  EXPECT_EQ(state(lease.trial), State::pending);
  input(LaunchWaits{launches_[0].launch, true, "its engine has put it back"});
  pass(200'000);
  EXPECT_EQ(launches_.size(), 1u);
  arrive("g2", 0);
  EXPECT_EQ(pack_of("g2").at(0).checkpoint.step, 3);
  // What the first one said arrives late.
  hello("g1", 2, launches_[0].launch);
  EXPECT_EQ(sent<Leave>("g1").size(), 1u);
  EXPECT_TRUE(core_->gangs().contains("g2"));
  restart();
  hello("g1", 2, launches_[0].launch);
  EXPECT_EQ(sent<Leave>("g1").size(), 1u) << "after a restart, too";
}

TEST_F(PoolsTest, TheNewGangOfALaunchTakesThePlaceOfTheOldOne) {
  Pool lab = pool("lab", 2, 0, 1);
  lab.stays = lab.returns = true;
  start_with({lab});
  submit(1);
  arrive("g1", 0);
  const Lease lease = lease_of("g1");
  arrive("g2", 0);  // before anyone noticed that the first one had gone
  EXPECT_FALSE(core_->gangs().contains("g1"));
  EXPECT_EQ(lease_of("g2").trial, lease.trial);
  EXPECT_TRUE(stops_.empty());
}

TEST_F(PoolsTest, ALowerMaximumAfterARestartEndsWhatIsIdle) {
  start_with({pool("lab", 2, 0, 2)});
  submit(2);
  pass(200);
  arrive("g1", 0);
  arrive("g2", 1);
  const Lease running = lease_of("g2");
  finish("g1");
  options_.pools[0].maximum = 1;
  restart();
  beat("g1");
  beat("g2", running);
  pass(400);
  EXPECT_EQ(stops_, std::vector<std::string>{launches_[0].launch});
}

TEST_F(PoolsTest, GangsOfAnEngineOutliveTheCoordinator) {
  Pool slurm = pool("slurm", 2, 0, 1);
  slurm.stays = true;
  start_with({slurm});
  submit(1);
  arrive("g1", 0);
  lease_of("g1");
  EXPECT_FALSE(core_->ends_with_us(core_->gangs().at("g1")));
  input(Closing{});
  EXPECT_TRUE(sent<Yield>("g1").empty());
  EXPECT_FALSE(core_->local_gangs_busy());
}

TEST_F(PoolsTest, AGangOfALaunchThatIsNotKnownLeaves) {
  start_with({pool("lab", 2, 0, 1)});
  hello("g1", 2, "12");
  EXPECT_EQ(sent<Leave>("g1").size(), 1u);
  EXPECT_TRUE(core_->gangs().empty());
}

TEST_F(PoolsTest, AQuotaThatIsUsedUpGrowsNoPool) {
  options_.policy.users["ada"] = {1, 2};
  start_with({pool("lab", 2, 0, 3)});
  from("client", Submit{"key", "test.yaml", yaml(5), "ada"}, 7);
  pass(1000);
  ASSERT_EQ(launches_.size(), 1u);
  arrive("g1", 0);
  pass_with({}, 5000);
  EXPECT_EQ(launches_.size(), 1u);
  EXPECT_NE(core_->waiting_reason(1).find("quota"), std::string::npos) << core_->waiting_reason(1);
}

TEST_F(PoolsTest, RowsOfAVersionThatKnewOnlyProcessesAreRead) {
  store_.commit(std::vector<Write>{{Family::gangs, launch_key("7"), pack(OldLaunchRow{})}});
  const auto snapshot = read_snapshot(store_).value();
  ASSERT_EQ(snapshot.launches.size(), 1u);
  EXPECT_EQ(snapshot.launches[0].handle, "pid:1234:5678");
  EXPECT_EQ(snapshot.launches[0].pool, "local");
  EXPECT_TRUE(snapshot.launches[0].useful);
}

}  // namespace
}  // namespace hivq
