// The coordinator is about to end.

#include "tests/coordinator/harness.h"

namespace hivq {
namespace {

class ClosingTest : public CoreTest {
 protected:
  void SetUp() override {
    options_.pools = {Pool()};
    CoreTest::SetUp();
  }
  /// A gang that the coordinator launched runs the first of two trials.
  Lease run_locally() {
    submit(2);
    EXPECT_EQ(launches_.size(), 1u);
    join("local", launches_.at(0).ranks, launches_.at(0).launch);
    return lease_of("local");
  }
};

TEST_F(ClosingTest, LocalGangsGiveTheirTrialsBackAndNoneIsLeasedAnyMore) {
  const Lease lease = run_locally();
  join("by hand");
  const Lease other = lease_of("by hand");
  EXPECT_TRUE(core_->local_gangs_busy());
  input(Closing{});
  EXPECT_EQ(sent<Yield>("local").size(), 1u);
  EXPECT_TRUE(sent<Yield>("by hand").empty());  // it waits for the coordinator's return, and trains meanwhile
  auto items = checkpoint(7, {"weights"});
  items.push_back(YieldItem{});
  report("local", lease, 1, items);
  EXPECT_FALSE(core_->local_gangs_busy());
  EXPECT_EQ(state(lease.trial), State::pending);
  EXPECT_EQ(trial(lease.trial).attempts, 0u);
  beat("local");
  EXPECT_TRUE(pack_of("local").empty());
  report("by hand", other, 1, {metrics(1, 0.5)});
  EXPECT_EQ(acknowledged("by hand"), 1u);
  // And after the return it goes on from there.
  restart();
  beat("local");
  EXPECT_EQ(pack_of("local").at(0).checkpoint.step, 7);
}

TEST_F(ClosingTest, WithoutLocalGangsThereIsNothingToWaitFor) {
  join("by hand");
  submit();
  EXPECT_FALSE(core_->local_gangs_busy());
  input(Closing{});
  EXPECT_TRUE(sent<Yield>("by hand").empty());
}

TEST_F(ClosingTest, NoGangIsLaunchedAnyMore) {
  input(Closing{});
  submit();
  pass(2000);
  EXPECT_TRUE(launches_.empty());
}

}  // namespace
}  // namespace hivq
