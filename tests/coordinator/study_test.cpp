// Studies by hand: clients ask for trials, for values, report and end.

#include <cmath>

#include "jobs/study.h"
#include "tests/coordinator/harness.h"

namespace hivq {
namespace {

class StudyTest : public CoreTest {
 protected:
  void SetUp() override {
    options_.ended_trial = [this](const TrialId& trial) { return read_ended_trial(store_, trial); };
    CoreTest::SetUp();
  }

  JobId study(const std::string& settings, const std::string& name = "s") {
    return submit_yaml(fmt::format("name: {}\nstudy: {{{}}}\n", name, settings));
  }
  /// The answer to a client's question.
  template <typename Answer>
  Answer answer(Body question) {
    from("http", std::move(question), 9);
    auto answers = sent<Answer>("http");
    for (const Failed& failed : sent<Failed>("http")) ADD_FAILURE() << failed.reason;
    EXPECT_EQ(answers.size(), 1u);
    return answers.empty() ? Answer{} : answers.back();
  }
  std::string refusal(Body question) {
    from("http", std::move(question), 9);
    auto answers = sent<Failed>("http");
    EXPECT_EQ(answers.size(), 1u);
    return answers.empty() ? "" : answers.back().reason;
  }
  AskedTrial ask(JobId job) { return answer<AskedTrial>(AskTrial{job, fmt::format("key {}", ++asked_)}); }
  Lease given(JobId job) {
    const AskedTrial asked = ask(job);
    EXPECT_EQ(asked.state, "trial") << asked.reason;
    return asked.lease;
  }
  std::string suggest(const Lease& lease, const std::string& name, const std::string& range = "{uniform: [0, 1]}") {
    return answer<SuggestedValue>(SuggestValue{lease, name, range}).value;
  }
  TrialReported tell(const Lease& lease, int64_t step, double loss) {
    return answer<TrialReported>(ReportTrial{lease, {{step, {{"value", loss}}}}});
  }
  TrialEnded end(const Lease& lease, double loss) {
    return answer<TrialEnded>(EndTrial{lease, "finished", {{"value", loss}}, ""});
  }
  JobSpec spec(JobId id) const { return parse_job(job(id).yaml, "s").value(); }
  std::string next(JobId id) const { return core_->next_proposal(id); }

  int asked_ = 0;
};

TEST_F(StudyTest, TrialsAreMadeWhenAClientAsks) {
  const JobId id = study("trials: 2");
  EXPECT_EQ(job(id).trials, 2u);
  EXPECT_EQ(store_.rows(Family::trials).size(), 0u);
  const Lease first = given(id), second = given(id);
  EXPECT_EQ(first.trial, (TrialId{id, 0}));
  EXPECT_EQ(second.trial, (TrialId{id, 1}));
  EXPECT_EQ(state(first.trial), State::running);
  EXPECT_EQ(ask(id).state, "ended");
  end(first, 0.5);
  EXPECT_EQ(job(id).state, State::running);
  end(second, 0.25);
  EXPECT_EQ(job(id).state, State::finished);
  EXPECT_EQ(job(id).finished, 2u);
  EXPECT_EQ(ask(id).state, "ended");
}

TEST_F(StudyTest, TheSameQuestionIsTheSameTrial) {
  const JobId id = study("trials: 3");
  const auto first = answer<AskedTrial>(AskTrial{id, "k"}), again = answer<AskedTrial>(AskTrial{id, "k"});
  EXPECT_EQ(first.lease, again.lease);
  restart();
  EXPECT_EQ(answer<AskedTrial>(AskTrial{id, "k"}).lease, first.lease);
  end(first.lease, 1);
  EXPECT_EQ(answer<AskedTrial>(AskTrial{id, "k"}).lease, first.lease);
  EXPECT_EQ(store_.rows(Family::trials).size(), 1u);
}

TEST_F(StudyTest, AStudyIsThereOnceByItsName) {
  const JobId id = study("trials: 3, seed: 1");
  EXPECT_EQ(study("trials: 3, seed: 1"), id);
  EXPECT_EQ(answer<Submitted>(FindStudy{"s"}).job, id);
  EXPECT_NE(study("trials: 3", "other"), id);
  EXPECT_EQ(refusal(Submit{"k", "f.yaml", "name: s\nstudy: {trials: 4, seed: 1}\n"}),
            "the study 's' is job 1 already, with other settings: study.trials is 3 there and 4 here; ask for it as it "
            "is, or take another name");
  EXPECT_NE(refusal(FindStudy{"none"}).find("there is no study 'none'"), std::string::npos);
  suggest(given(id), "x");
  EXPECT_EQ(study("trials: 3, seed: 1"), id);  // though it has a parameter by now
  from("client", Cancel{id}, 3);
  restart();
  EXPECT_EQ(study("trials: 3, seed: 1"), id);
  EXPECT_NE(refusal(Submit{"k", "f.yaml", "name: s\nstudy: {trials: 4, seed: 1}\n"}).find("other settings"),
            std::string::npos);
  EXPECT_EQ(refusal(Submit{"study/s2", "f.yaml", yaml(1)}), "a submission's key may not begin with study/");
}

TEST_F(StudyTest, AParameterJoinsTheSpaceWhenItIsAskedFor) {
  const JobId id = study("trials: 9, seed: 5");
  const Lease first = given(id), second = given(id);
  const std::string x = suggest(first, "x");
  EXPECT_EQ(spec(id).sweep->parameters.at("x").high, 1);
  EXPECT_EQ(trial(first.trial).params, (std::map<std::string, std::string>{{"x", x}}));
  EXPECT_EQ(suggest(first, "x"), x);
  // The second one was given before: a draw of its own, as random search would have it.
  EXPECT_EQ(suggest(second, "x"), to_string(filled(*spec(id).sweep, 1, {}).at("x")));
  EXPECT_NE(suggest(second, "x"), x);
  // The third one has its value from the search, with the question.
  const AskedTrial third = ask(id);
  EXPECT_EQ(suggest(third.lease, "x"), third.params.at("x"));
  restart();
  EXPECT_EQ(suggest(first, "x"), x);
  EXPECT_EQ(suggest(third.lease, "x"), third.params.at("x"));
}

TEST_F(StudyTest, AParameterHasOneRange) {
  const JobId id = study("trials: 9");
  const Lease lease = given(id);
  suggest(lease, "x");
  EXPECT_EQ(refusal(SuggestValue{lease, "x", "{uniform: [0, 2]}"}),
            "trial 1/0 asks for x in {uniform: [0, 2]}, but the study has it in {uniform: [0, 1]}: a parameter has one "
            "range in all trials; give another range another name");
  EXPECT_NE(refusal(SuggestValue{lease, "y", "{uniform: [1, 0]}"}).find("y goes from 1 to 0"), std::string::npos);
  EXPECT_NE(refusal(SuggestValue{lease, "", "[1]"}).find("must not be empty"), std::string::npos);
  EXPECT_EQ(spec(id).sweep->parameters.size(), 1u);
  const JobId grid = study("search: grid, parameters: {x: [1, 2]}", "g");
  EXPECT_EQ(job(grid).trials, 2u);
  const Lease walked = given(grid);
  EXPECT_EQ(suggest(walked, "x", "[1, 2]"), "1");
  EXPECT_NE(refusal(SuggestValue{walked, "y", "[1]"}).find("a grid walks"), std::string::npos);
}

TEST_F(StudyTest, OnlyWhatWasAskedForIsStoredAndTheRestDoesNotMatter) {
  const JobId id = study("trials: 50, startup: 2, seed: 3");
  for (int i = 0; i < 12; ++i) {
    const Lease lease = given(id);
    const bool square = suggest(lease, "kind", "[linear, square]") == "square";
    const double x = std::stod(suggest(lease, square ? "a" : "b"));
    end(lease, x);
    const TrialRow row = trial(lease.trial);
    EXPECT_EQ(row.params.size(), 2u);
    EXPECT_EQ(row.params.contains("a"), square);
    EXPECT_TRUE(row.proposed.empty());
  }
  EXPECT_EQ(spec(id).sweep->parameters.size(), 3u);
}

TEST_F(StudyTest, ARestartedStudyGoesOnAsTheOneBefore) {
  int studies = 0;
  for (const char* search : {"tpe", "random", "sobol", "gp", "cma-es, population: 4", "nsga2, population: 4"}) {
    const JobId id = study(fmt::format("search: {}, trials: 30, startup: 3, seed: 2", search), fmt::format("s{}", ++studies));
    std::vector<Lease> open;
    for (int i = 0; i < 14; ++i) {
      const AskedTrial asked = ask(id);
      if (asked.state == "wait") break;
      ASSERT_EQ(asked.state, "trial");
      const double x = std::stod(suggest(asked.lease, "x"));
      const double y = i % 3 == 0 ? 0 : std::stod(suggest(asked.lease, "y", "{log_uniform: [1e-5, 1]}"));
      if (i % 5 == 3 && i > 4) {
        open.push_back(asked.lease);
      } else {
        end(asked.lease, x + y);
      }
    }
    const std::string before = next(id);
    restart();
    EXPECT_EQ(next(id), before) << search;
    for (const Lease& lease : open) end(lease, 1);
    EXPECT_NE(next(id), "") << search;
  }
}

TEST_F(StudyTest, ASearchByGenerationsLetsItsClientsWait) {
  const JobId id = study("search: cma-es, population: 4, trials: 8, parameters: {x: {uniform: [0, 1]}}");
  std::vector<Lease> generation;
  for (int i = 0; i < 4; ++i) generation.push_back(given(id));
  EXPECT_EQ(ask(id).state, "wait");
  for (const Lease& lease : generation) end(lease, 0.5);
  EXPECT_EQ(ask(id).state, "trial");
}

TEST_F(StudyTest, PointsAreStoredOnceAndShowAsCurves) {
  const JobId id = study("trials: 2");
  const Lease lease = given(id);
  EXPECT_FALSE(tell(lease, 0, 0.9).stop);
  tell(lease, 1, 0.5);
  tell(lease, 1, 0.7);  // comes too late
  tell(lease, 0, 0.8);
  EXPECT_EQ(points(), 2u);
  EXPECT_EQ(point(lease.trial, "value", 1), 0.5);
  EXPECT_EQ(trial(lease.trial).final.at("value"), 0.5);
  EXPECT_EQ(trial(lease.trial).final_step, 1);
  restart();
  tell(lease, 1, 0.6);
  tell(lease, 2, 0.4);
  EXPECT_EQ(points(), 3u);
  EXPECT_EQ(point(lease.trial, "value", 1), 0.5);
  EXPECT_NE(refusal(ReportTrial{lease, {{4, {{"value", 1}}}, {4, {{"value", 1}}}}}).find("steps must rise"),
            std::string::npos);
  EXPECT_NE(refusal(ReportTrial{lease, {{5, {{"", 1}}}}}).find("a metric's name"), std::string::npos);
  EXPECT_EQ(points(), 3u);
}

TEST_F(StudyTest, TheStopperAsksToStopUntilTheTrialEnds) {
  const JobId id = study("trials: 9, stop: {by: asha, min_epochs: 2, reduction: 2}");
  const Lease good = given(id), bad = given(id);
  tell(good, 1, 0.1);
  EXPECT_FALSE(tell(good, 2, 0.1).stop);
  EXPECT_FALSE(tell(bad, 1, 0.9).stop);
  EXPECT_TRUE(tell(bad, 2, 0.9).stop);
  restart();
  const auto alive = answer<TrialReported>(ReportTrial{bad, {}});
  EXPECT_TRUE(alive.stop);
  EXPECT_EQ(alive.reason, "stopped early by asha at epoch 2");
  EXPECT_EQ(state(bad.trial), State::running);
  EXPECT_EQ(answer<TrialEnded>(EndTrial{bad, "stopped", {}, ""}).state, "finished");
  EXPECT_TRUE(trial(bad.trial).stopped);
  EXPECT_EQ(trial(bad.trial).reason, "stopped early by asha at epoch 2");
  EXPECT_EQ(trial(bad.trial).final.at("value"), 0.9);
  // One that goes on all the same has finished.
  const Lease stubborn = given(id);
  tell(stubborn, 2, 0.8);
  EXPECT_EQ(end(stubborn, 0.7).state, "finished");
  EXPECT_FALSE(trial(stubborn.trial).stopped);
  EXPECT_EQ(trial(stubborn.trial).reason, "");
}

TEST_F(StudyTest, AnEndIsTheSameWhenItIsToldAgain) {
  const JobId id = study("trials: 1");
  const Lease lease = given(id);
  EXPECT_EQ(end(lease, 0.5).state, "finished");
  EXPECT_EQ(job(id).state, State::finished);
  EXPECT_EQ(end(lease, 0.7).state, "finished");  // out of memory, before the store is asked
  pass(1000);
  EXPECT_EQ(end(lease, 0.7).state, "finished");
  restart();
  EXPECT_EQ(end(lease, 0.7).state, "finished");
  EXPECT_EQ(trial(lease.trial).final.at("value"), 0.5);
  const auto late = tell(lease, 3, 0.1);
  EXPECT_TRUE(late.stop && late.ended);
  EXPECT_EQ(points(), 0u);
}

TEST_F(StudyTest, ATrialFinishesWithItsMetricAlone) {
  const JobId id = study("trials: 4");
  const Lease lease = given(id);
  EXPECT_EQ(refusal(EndTrial{lease, "finished", {{"other", 1}}, ""}),
            "trial 1/0 cannot finish without value: report it, or give it with the end");
  EXPECT_EQ(refusal(EndTrial{lease, "done", {}, ""}),
            "a trial's end is 'done'; it must be finished, stopped or failed");
  tell(lease, 1, 0.5);
  EXPECT_EQ(answer<TrialEnded>(EndTrial{lease, "finished", {{"other", 1}}, ""}).state, "finished");
  EXPECT_EQ(trial(lease.trial).final.size(), 2u);
  const Lease odd = given(id);
  EXPECT_EQ(end(odd, std::nan("")).reason, "its value is not finite");
  EXPECT_EQ(state(odd.trial), State::failed);
  const Lease failed = given(id);
  answer<TrialEnded>(EndTrial{failed, "failed", {}, "ValueError: no"});
  EXPECT_EQ(trial(failed.trial).reason, "ValueError: no");
}

TEST_F(StudyTest, ASilentClientLosesItsTrial) {
  const JobId id = study("trials: 2");
  const Lease silent = given(id), alive = given(id);
  for (int i = 0; i < 8; ++i) {
    pass(10'000);
    answer<TrialReported>(ReportTrial{alive, {}});
  }
  EXPECT_EQ(state(silent.trial), State::failed);
  EXPECT_EQ(trial(silent.trial).reason, "its client was silent for 60 s");
  EXPECT_EQ(state(alive.trial), State::running);
  const auto late = tell(silent, 1, 0.5);
  EXPECT_TRUE(late.ended);
  EXPECT_EQ(late.reason, "trial 1/0 has ended: its client was silent for 60 s");
  EXPECT_NE(refusal(EndTrial{silent, "finished", {{"value", 1}}, ""}).find("has ended"), std::string::npos);
}

TEST_F(StudyTest, ClientsGetAFreshGraceAfterARestart) {
  const JobId id = study("trials: 2");
  const Lease lease = given(id);
  pass(50'000);
  restart(100'000);
  pass(50'000);
  EXPECT_EQ(state(lease.trial), State::running);
  pass(20'000);
  EXPECT_EQ(state(lease.trial), State::failed);
}

TEST_F(StudyTest, ACancelledStudyTellsItsClientsToStop) {
  const JobId id = study("trials: 50");
  const Lease lease = given(id);
  end(given(id), 0.5);
  from("client", Cancel{id}, 3);
  EXPECT_EQ(job(id).state, State::cancelled);
  EXPECT_EQ(job(id).trials, 2u);
  const auto told = tell(lease, 1, 0.5);
  EXPECT_TRUE(told.stop && told.ended);
  EXPECT_EQ(told.reason, "trial 1/0 has ended: cancelled");
  EXPECT_EQ(ask(id).reason, "job 1 has been cancelled");
  const JobId unused = study("trials: 5", "unused");
  from("client", Cancel{unused}, 4);
  EXPECT_EQ(job(unused).state, State::cancelled);
}

TEST_F(StudyTest, APausedStudyGivesNoTrials) {
  const JobId id = study("trials: 5");
  const Lease lease = given(id);
  from("client", SetPaused{"p", id, true}, 3);
  EXPECT_EQ(ask(id).state, "wait");
  tell(lease, 1, 0.5);
  end(lease, 0.5);
  restart();
  EXPECT_EQ(ask(id).state, "wait");
  from("client", SetPaused{"r", id, false}, 4);
  EXPECT_EQ(ask(id).state, "trial");
}

TEST_F(StudyTest, LimitsOfTimeAndOrderHold) {
  const JobId slow = submit_yaml("name: slow\nmax_trial_seconds: 5\nstudy: {trials: 3}\n");
  const Lease lease = given(slow);
  const JobId later = submit_yaml("name: later\nafter: [1]\nafter_any: true\nstudy: {trials: 3}\n");
  EXPECT_EQ(ask(later).reason, "it waits for the end of job 1");
  for (int i = 0; i < 6; ++i) {
    pass(1000);
    from("http", ReportTrial{lease, {}}, 8);
  }
  sends_.clear();
  EXPECT_EQ(state(lease.trial), State::failed);
  from("client", Cancel{slow}, 3);
  EXPECT_EQ(ask(later).state, "trial");
}

TEST_F(StudyTest, NoGangHasToDoWithIt) {
  const JobId id = study("trials: 5");
  join("a");
  const Lease lease = given(id);
  pass(3000);
  EXPECT_TRUE(sent<Assign>("a").empty());
  EXPECT_TRUE(launches_.empty());
  EXPECT_EQ(core_->scheduler().waiting(), 0u);
  report("a", lease, 1, {metrics(1, 0.5)});
  EXPECT_EQ(points(), 0u);
  end(lease, 1);
  EXPECT_EQ(core_->waiting_reason(id),
            "no client runs its trials; in Python: hivq.Client().study('s').optimize(objective)");
  const JobId other = submit(1);
  EXPECT_EQ(refusal(AskTrial{other, "k"}), fmt::format("job {} is no study: gangs run its trials", other));
  EXPECT_NE(refusal(ReportTrial{{{other, 0}, 1}, {}}).find("a gang runs trial"), std::string::npos);
}

TEST_F(StudyTest, LeasesOfOthersAreRefused) {
  const JobId id = study("trials: 5");
  Lease lease = given(id);
  lease.epoch += 1;
  EXPECT_NE(refusal(ReportTrial{lease, {}}).find("was not given with the lease"), std::string::npos);
  EXPECT_NE(refusal(SuggestValue{lease, "x", "[1]"}).find("was not given with the lease"), std::string::npos);
  EXPECT_NE(refusal(EndTrial{lease, "failed", {}, ""}).find("was not given with the lease"), std::string::npos);
  EXPECT_NE(refusal(ReportTrial{{{id, 4}, 1}, {}}).find("there is no trial 1/4"), std::string::npos);
  EXPECT_NE(refusal(ReportTrial{{{77, 0}, 1}, {}}).find("there is no trial 77/0"), std::string::npos);
  EXPECT_NE(refusal(AskTrial{77, "k"}).find("there is no job 77"), std::string::npos);
}

TEST_F(StudyTest, AnEarlierStudyIsLearnedFrom) {
  const JobId first = study("trials: 4, seed: 1");
  for (int i = 0; i < 4; ++i) {
    const Lease lease = given(first);
    end(lease, std::abs(std::stod(suggest(lease, "x")) - 0.3));
  }
  const JobId second = study("trials: 30, seed: 1, startup: 3, warm_start: [1]", "warm");
  const Lease lease = given(second);
  suggest(lease, "x");
  const std::string next_one = next(second);
  restart();
  EXPECT_EQ(next(second), next_one);
  const JobId cold = study("trials: 30, seed: 1, startup: 3", "cold");
  suggest(given(cold), "x");
  EXPECT_NE(next(cold), next_one);
}

}  // namespace
}  // namespace hivq
