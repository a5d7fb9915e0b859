#include "jobs/cli/progress.h"

#include <gtest/gtest.h>

#include "jobs/table.h"
#include "jobs/views/format.h"

namespace hivq::cli {
namespace {

TrialView trial(uint64_t index, const std::string& state, int64_t step = 0, int64_t total = 0) {
  TrialView view;
  view.id = {1, index};
  view.variant = "v" + std::to_string(index);
  view.state = state;
  view.step = step;
  view.total_steps = total;
  view.attempts = state == "waiting" ? 0 : 1;
  view.started = state == "waiting" ? 0 : 1000;
  view.ended = has_ended(state) ? 6000 : 0;
  return view;
}

JobDetail job(std::vector<TrialView> trials) {
  JobDetail detail;
  detail.job.id = 1;
  detail.job.name = "test";
  detail.job.state = "running";
  detail.job.metric = "auroc";
  detail.job.trials = trials.size();
  for (const auto& view : trials) {
    detail.job.finished += view.state == "finished";
    detail.job.running += view.state == "running";
  }
  detail.trials = std::move(trials);
  return detail;
}

TEST(DoneShare, CountsEndedTrialsAndTheStepsOfRunningOnes) {
  EXPECT_DOUBLE_EQ(done_share(job({})), 0);
  EXPECT_DOUBLE_EQ(
      done_share(job({trial(0, "finished"), trial(1, "failed"), trial(2, "running", 50, 100), trial(3, "waiting")})),
      0.625);
  EXPECT_DOUBLE_EQ(done_share(job({trial(0, "running", 7, 0)})), 0) << "the length is not known yet";
  EXPECT_DOUBLE_EQ(done_share(job({trial(0, "running", 200, 100)})), 1);
}

TEST(TimeLeft, FollowsFromTheRateSinceTheShareFirstGrew) {
  TimeLeft left;
  left.observe(0, 0);
  left.observe(60'000, 0);  // preparation does not count
  EXPECT_FALSE(left.left());
  left.observe(61'000, 0.1);
  EXPECT_FALSE(left.left());
  left.observe(66'000, 0.2);
  left.observe(71'000, 0.3);
  ASSERT_TRUE(left.left());
  EXPECT_NEAR(static_cast<double>(*left.left()), 35'000, 50);  // 0.2 in 10 s, 0.7 to go
}

TEST(TimeLeft, StartsAgainWhenATrialFallsBack) {
  TimeLeft left;
  left.observe(0, 0);
  left.observe(1'000, 0.1);
  left.observe(11'000, 0.5);
  ASSERT_TRUE(left.left());
  left.observe(12'000, 0.3);
  EXPECT_FALSE(left.left());
}

TEST(Changes, TellOfStartsEndsAndNewAttempts) {
  EXPECT_TRUE(changes(job({trial(0, "running")}), job({trial(0, "running", 5, 10)})).empty());

  auto started = changes(job({trial(0, "waiting")}), job({trial(0, "running")}));
  ASSERT_EQ(started.size(), 1u);
  EXPECT_EQ(started[0], "trial 1/0 v0 started");

  TrialView ended = trial(0, "finished");
  ended.initial = {{"auroc", 0.5}};
  ended.final = {{"auroc", 0.75}};
  auto finished = changes(job({trial(0, "running")}), job({ended}));
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0], "trial 1/0 v0 finished after 5.0 s: auroc 0.5000 → 0.7500");

  TrialView failed = trial(0, "failed");
  failed.reason = "loss is not finite";
  EXPECT_EQ(changes(job({trial(0, "running")}), job({failed})).at(0),
            "trial 1/0 v0 failed after 5.0 s: loss is not finite");

  TrialView again = trial(0, "running");
  again.attempts = 2;
  again.checkpoint_step = 40;
  EXPECT_EQ(changes(job({trial(0, "running")}), job({again})).at(0), "trial 1/0 v0 goes on from step 40 (attempt 2)");
}

TEST(Changes, APausedTrialIsNotOneThatLostItsGang) {
  TrialView running = trial(0, "running"), paused = trial(0, "paused"), resumed = trial(0, "running");
  paused.attempts = 0;
  paused.checkpoint_step = resumed.checkpoint_step = 17;
  EXPECT_EQ(changes(job({running}), job({paused})), std::vector<std::string>{"trial 1/0 v0 paused at step 17"});
  EXPECT_EQ(changes(job({paused}), job({resumed})), std::vector<std::string>{"trial 1/0 v0 goes on from step 17"});
}

TEST(Changes, AreComplete) {
  // Between two looks a trial may start and end.
  auto lines =
      changes(job({trial(0, "waiting"), trial(1, "waiting")}), job({trial(0, "finished"), trial(1, "running")}));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_NE(lines[0].find("finished"), std::string::npos);
  EXPECT_NE(lines[1].find("started"), std::string::npos);
}

TEST(Bars, FitTheTerminalAndTellOfTrialsThatFindNoPlace) {
  std::vector<TrialView> trials;
  for (uint64_t i = 0; i < 30; ++i) trials.push_back(trial(i, "running", static_cast<int64_t>(i), 30));
  trials[0].variant = "a very long name 日本語 that goes on and on and on and on and on";
  trials[0].phase = "features 120/1500";
  JobDetail detail = job(trials);
  detail.waiting = "it waits for a gang of 2 ranks; connected gangs have no ranks";
  for (size_t width : {40u, 80u, 200u}) {
    auto lines = bars(detail, 10'000, {5'000}, width, 8, false);
    EXPECT_EQ(lines.size(), 11u);  // 8 bars, "and 22 more", why it waits, all
    for (const auto& line : lines) EXPECT_LE(display_width(line), width) << line;
  }
  auto lines = bars(detail, 10'000, {5'000}, 120, 8, false);
  EXPECT_NE(lines[8].find("22 more"), std::string::npos);
  EXPECT_NE(lines.back().find("about 5.0 s left"), std::string::npos) << lines.back();
}

TEST(Bars, ShowTheEpochTheLossAndTheThroughput) {
  JobDetail detail = job({trial(0, "running", 25, 100)});
  detail.yaml = "name: test\ntrain: {epochs: 10}\n";
  Pace pace{{}, 41.4, {{{1, 0}, {4, 3, 2, 1}}}};
  const auto lines = bars(detail, 10'000, pace, 160, 8, false);
  EXPECT_NE(lines[0].find("epoch 3/10  loss █▆▃▁ 1"), std::string::npos) << lines[0];
  EXPECT_NE(lines.back().find("41.4 steps/s"), std::string::npos) << lines.back();
  detail.yaml.clear();
  EXPECT_NE(bars(detail, 10'000, {}, 160, 8, false)[0].find("step 25/100"), std::string::npos);
}

TEST(Throughput, CountsTheStepsOfAllTrialsAndNoneTwice) {
  Throughput pace;
  EXPECT_EQ(pace.steps_per_second(), 0);
  pace.observe(0, job({trial(0, "running", 1000, 5000)}));
  EXPECT_EQ(pace.steps_per_second(), 0) << "what was done before is not known";
  pace.observe(4000, job({trial(0, "running", 1040, 5000), trial(1, "running", 70, 5000)}));
  EXPECT_DOUBLE_EQ(pace.steps_per_second(), 10) << "those of a trial count from when it was first seen";
  pace.observe(8000, job({trial(0, "running", 1020, 5000), trial(1, "running", 110, 5000)}));
  EXPECT_DOUBLE_EQ(pace.steps_per_second(), 10) << "a trial that went back to its checkpoint";
  for (Millis now = 9000; now <= 60'000; now += 1000) pace.observe(now, job({trial(1, "running", 110, 5000)}));
  EXPECT_EQ(pace.steps_per_second(), 0) << "what was long ago is forgotten";
}

TEST(Format, WritesDurationsAsPeopleDo) {
  EXPECT_EQ(duration_text(-5), "0.0 s");
  EXPECT_EQ(duration_text(4200), "4.2 s");
  EXPECT_EQ(duration_text(45'000), "45 s");
  EXPECT_EQ(duration_text(125'000), "2 min 05 s");
  EXPECT_EQ(duration_text(3'720'000), "1 h 02 min");
  EXPECT_EQ(duration_text(273'600'000), "3 d 04 h");
}

TEST(Format, ReadsIdsAndSaysWhatTheyAre) {
  EXPECT_EQ(parse_job_id("12").value(), 12u);
  EXPECT_EQ(read_trial_id("3/7").value(), (TrialId{3, 7}));
  for (const char* wrong : {"", "0", "-1", "1x", "99999999999999999999999", "1/0", " 1"}) {
    EXPECT_FALSE(bool(parse_job_id(wrong))) << wrong;
  }
  for (const char* wrong : {"", "1", "1/", "/1", "0/1", "1/2/3", "a/b", "1/-1"}) {
    EXPECT_FALSE(bool(read_trial_id(wrong))) << wrong;
  }
}

TEST(Format, QuotesWordsForTheShell) {
  EXPECT_EQ(shell_word("jobs/quick.yaml"), "jobs/quick.yaml");
  EXPECT_EQ(shell_word("my file"), "'my file'");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_word(""), "''");
}

}  // namespace
}  // namespace hivq::cli
