#include "jobs/views/results.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "jobs/cli/figures.h"

namespace hivq::cli {
namespace {

TrialView trial(uint64_t index, std::string variant, std::map<std::string, std::string> params, double auroc) {
  TrialView view;
  view.id = {1, index};
  view.variant = std::move(variant);
  view.params = std::move(params);
  view.state = "finished";
  view.initial = {{"auroc", 0.5}};
  view.final = {{"auroc", auroc}, {"error", 1 - auroc}};
  view.started = 1000;
  view.ended = 1000 + 1000 * static_cast<Millis>(index + 1);
  return view;
}

JobDetail job(std::vector<TrialView> trials, const std::string& goal = "maximize") {
  JobDetail detail;
  detail.job.id = 1;
  detail.job.name = "test";
  detail.job.metric = "auroc";
  detail.job.goal = goal;
  detail.trials = std::move(trials);
  detail.job.trials = detail.trials.size();
  return detail;
}

std::vector<uint64_t> order(const Results& results) {
  std::vector<uint64_t> indices;
  for (const auto& row : results.rows) indices.push_back(row.trial.id.index);
  return indices;
}

const auto three = std::vector{trial(0, "", {{"train.lr", "1e-3"}}, 0.7), trial(1, "", {{"train.lr", "1e-2"}}, 0.9),
                               trial(2, "", {{"train.lr", "0.1"}}, 0.8)};

TEST(Results, RankTheBestFirstAsTheGoalSays) {
  EXPECT_EQ(order(make_results(job(three), {}, 0)), (std::vector<uint64_t>{1, 2, 0}));
  EXPECT_EQ(order(make_results(job(three, "minimize"), {}, 0)), (std::vector<uint64_t>{0, 2, 1}));
}

TEST(Results, PutTrialsWithoutAValueLastWhateverTheDirection) {
  auto trials = three;
  trials[1].final.clear();
  trials[2].final["auroc"] = std::numeric_limits<double>::quiet_NaN();
  Results results = make_results(job(trials), {}, 0);
  EXPECT_EQ(results.rows.front().rank, 1u);
  EXPECT_EQ(results.rows.front().trial.id.index, 0u);
  EXPECT_EQ(results.rows.back().rank, 0u);
  ASSERT_TRUE(bool(sort(results, "auroc", true)));
  EXPECT_EQ(results.rows.front().trial.id.index, 0u);
}

TEST(Results, SortByParametersAsNumbersAndByTheirShortNames) {
  Results results = make_results(job(three), {}, 0);
  ASSERT_TRUE(bool(sort(results, "lr", false)));
  EXPECT_EQ(order(results), (std::vector<uint64_t>{0, 1, 2}));  // 1e-3 < 1e-2 < 0.1
  ASSERT_TRUE(bool(sort(results, "train.lr", true)));
  EXPECT_EQ(order(results), (std::vector<uint64_t>{2, 1, 0}));
}

TEST(Results, SortByLossDurationAndOtherMetricsRising) {
  Results results = make_results(job(three), {{0, {40, 3.0}}, {1, {40, 1.0}}}, 0);
  ASSERT_TRUE(bool(sort(results, "loss", false)));
  EXPECT_EQ(order(results), (std::vector<uint64_t>{1, 0, 2}));
  ASSERT_TRUE(bool(sort(results, "duration", false)));
  EXPECT_EQ(order(results), (std::vector<uint64_t>{0, 1, 2}));
  ASSERT_TRUE(bool(sort(results, "error", false)));
  EXPECT_EQ(order(results), (std::vector<uint64_t>{1, 2, 0}));
}

TEST(Results, KeepTheRowsThatMeetAConditionWithTheirRanks) {
  const auto kept = [](const std::string& condition) {
    Results results = make_results(job(three), {}, 0);
    EXPECT_TRUE(bool(keep(results, condition))) << condition;
    return order(results);
  };
  EXPECT_EQ(kept("lr<=1e-2"), (std::vector<uint64_t>{1, 0}));
  EXPECT_EQ(kept("train.lr < 0.01"), (std::vector<uint64_t>{0}));
  EXPECT_EQ(kept("auroc>0.75"), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(kept("lr=0.100"), (std::vector<uint64_t>{2}));
  EXPECT_EQ(kept("lr!=0.1"), (std::vector<uint64_t>{1, 0}));
  EXPECT_EQ(kept("state=finished"), (std::vector<uint64_t>{1, 2, 0}));
  EXPECT_EQ(kept("rank<=2"), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(kept("state=3"), (std::vector<uint64_t>{}));
  EXPECT_EQ(kept("loss<5"), (std::vector<uint64_t>{}));  // none has one
  EXPECT_EQ(kept("loss!=5"), (std::vector<uint64_t>{}));
}

TEST(Results, TakeTheValueOfAConditionInQuotes) {
  std::vector<TrialView> trials = {trial(0, "+ POT", {{"train.lr", "0.1"}}, 0.7), trial(1, " + POT", {}, 0.9),
                                   trial(2, "", {}, 0.8)};
  const auto kept = [&](const std::string& condition) {
    Results results = make_results(job(trials), {}, 0);
    EXPECT_TRUE(bool(keep(results, condition))) << condition;
    return order(results);
  };
  EXPECT_EQ(kept("variant = + POT"), (std::vector<uint64_t>{0}));
  EXPECT_EQ(kept("variant = \"+ POT\""), (std::vector<uint64_t>{0}));
  EXPECT_EQ(kept("variant = ' + POT'"), (std::vector<uint64_t>{1}));
  EXPECT_EQ(kept("variant = ''"), (std::vector<uint64_t>{2}));
  EXPECT_EQ(kept("lr = '0.1'"), (std::vector<uint64_t>{0}));
  EXPECT_EQ(kept("variant = \"+ POT"), (std::vector<uint64_t>{})) << "a quote alone is a character";
}

TEST(Results, SayWhatIsNoCondition) {
  Results results = make_results(job(three), {}, 0);
  for (const char* wrong : {"lr", "", "=3", "lr<", "lr=<3", "lr<>3"}) {
    auto kept = keep(results, wrong);
    ASSERT_FALSE(bool(kept)) << wrong;
    EXPECT_NE(kept.error().message.find("write NAME, one of"), std::string::npos) << kept.error().message;
  }
  auto kept = keep(results, "nonsense>3");
  ASSERT_FALSE(bool(kept));
  EXPECT_NE(kept.error().message.find("cannot select by 'nonsense'; there are rank"), std::string::npos);
  EXPECT_EQ(results.rows.size(), 3u);
}

TEST(Results, NameWhatCanBeSortedByWhenTheNameIsUnknown) {
  Results results = make_results(job(three), {}, 0);
  auto sorted = sort(results, "speed", false);
  ASSERT_FALSE(bool(sorted));
  EXPECT_NE(sorted.error().message.find("train.lr"), std::string::npos) << sorted.error().message;
  EXPECT_NE(sorted.error().message.find("error"), std::string::npos);
}

TEST(Results, ShowOnlyParametersThatDiffer) {
  auto trials = three;
  for (auto& view : trials) view.params["train.seed"] = "7";
  Results results = make_results(job(trials), {}, 0);
  EXPECT_EQ(results.params, std::vector<std::string>{"train.lr"});
  std::string table = render(results_table(results));
  EXPECT_NE(table.find("0.5000 → 0.9000"), std::string::npos) << table;
  EXPECT_EQ(table.find("seed"), std::string::npos);
}

TEST(Results, LeaveOutOfTheTableWhatTheVariantTells) {
  auto results = make_results(job({trial(0, "single", {{"model.x", "false"}, {"train.lr", "1"}}, 0.6),
                                   trial(1, "single", {{"model.x", "false"}, {"train.lr", "2"}}, 0.6),
                                   trial(2, "both", {{"model.x", "true"}, {"train.lr", "1"}}, 0.7)}),
                              {}, 0);
  EXPECT_EQ(results.params, (std::vector<std::string>{"model.x", "train.lr"}));
  EXPECT_EQ(results.told_params, std::vector<std::string>{"train.lr"});
  EXPECT_EQ(trial_label(results.rows[0].trial, results), "both lr=1");
  EXPECT_NE(results_csv(results).find("model.x"), std::string::npos) << "the CSV has everything";
}

TEST(Results, NameATrialByItsIdWhereNothingElseTellsItApart) {
  auto results = make_results(job({trial(0, "", {}, 0.6)}), {}, 0);
  EXPECT_EQ(trial_label(results.rows[0].trial, results), "1/0");
}

TEST(Results, KeepTheWholeKeyWhereTheShortOneIsAmbiguous) {
  EXPECT_EQ(short_key("train.lr", {"train.lr", "train.seed"}), "lr");
  EXPECT_EQ(short_key("loss.pot", {"loss.pot", "eval.pot"}), "loss.pot");
}

TEST(Results, CsvHasOneLineATrialWithFullPrecision) {
  auto results = make_results(job({trial(0, "a,b", {}, 0.1234567890123)}), {}, 0);
  std::string csv = results_csv(results);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 2);
  EXPECT_NE(csv.find("\"a,b\""), std::string::npos);
  EXPECT_NE(csv.find("0.1234567890123"), std::string::npos);
}

JobDetail several_metrics(std::vector<std::pair<double, double>> auroc_and_loss, const std::string& more = "") {
  std::vector<TrialView> trials;
  for (const auto& [auroc, loss] : auroc_and_loss) {
    trials.push_back(trial(trials.size(), "", {{"train.lr", std::to_string(trials.size())}}, auroc));
    trials.back().final["loss"] = loss;
  }
  JobDetail detail = job(trials);
  detail.yaml = "sweep:\n  search: nsga2\n  trials: 9\n  metrics: [{name: auroc}, {name: loss, goal: minimize}]\n" +
                more + "  parameters:\n    train.lr: {uniform: [0.1, 1]}\n";
  return detail;
}

TEST(Results, MarkTheParetoFrontOfSeveralMetrics) {
  // Trial 2 is worse than 0 in both; 3 has no loss.
  JobDetail detail = several_metrics({{0.9, 0.5}, {0.8, 0.4}, {0.7, 0.6}, {0.95, 0}});
  detail.trials[3].final.erase("loss");
  const Results results = make_results(detail, {{0, {40, 0.5}}}, 0);
  std::set<uint64_t> front;
  for (const auto& row : results.rows) {
    if (row.on_front) front.insert(row.trial.id.index);
  }
  EXPECT_EQ(front, (std::set<uint64_t>{0, 1}));
  const std::string table = render(results_table(results));
  EXPECT_EQ(table.find("loss"), table.rfind("loss")) << "one column of it\n" << table;
  EXPECT_NE(table.find("pareto"), std::string::npos) << table;
  const std::string csv = results_csv(results);
  EXPECT_NE(csv.find(",pareto,"), std::string::npos) << csv;
  EXPECT_NE(csv.find(",yes,"), std::string::npos) << csv;
}

TEST(Results, RankWhatMissesAConstraintBehindTheOthers) {
  const JobDetail detail =
      several_metrics({{0.9, 0.5}, {0.8, 0.4}, {0.7, 0.3}}, "  constraints: [{metric: loss, at_most: 0.45}]\n");
  const Results results = make_results(detail, {}, 0);
  EXPECT_EQ(order(results), (std::vector<uint64_t>{1, 2, 0}));
  EXPECT_FALSE(results.rows.back().on_front);
}

TEST(Results, SayWhichTrialsWereStoppedEarly) {
  auto trials = three;
  trials[0].reason = "stopped early by asha at epoch 3";
  EXPECT_TRUE(stopped_early(trials[0]));
  EXPECT_FALSE(stopped_early(trials[1]));
  const std::string table = render(results_table(make_results(job(trials), {}, 0)));
  EXPECT_NE(table.find("stopped early"), std::string::npos) << table;
}

TEST(Figures, ShowTheBestTwentyOfManyTrialsTheBestOnTop) {
  std::vector<TrialView> trials;
  for (uint64_t i = 0; i < 50; ++i)
    trials.push_back(trial(i, "v" + std::to_string(i), {}, static_cast<double>(i) / 100));
  auto results = make_results(job(trials), {}, 0);
  ASSERT_TRUE(bool(sort(results, "trial", false)));  // the order of the table does not matter
  BarChart chart = metric_bars(results);
  ASSERT_EQ(chart.bars.size(), most_plotted);
  EXPECT_EQ(chart.bars.front().label, "v49");
  EXPECT_EQ(chart.bars.back().label, "v30");
  EXPECT_NE(chart.subtitle.find("the best 20 of 50"), std::string::npos);
}

TEST(Figures, DrawTheCurvesThatThereAre) {
  auto results = make_results(job(three), {}, 0);
  auto chart = metric_curves(results, "loss", "training loss", {{1, {{1, 100.0}, {2, 0.1}}}});
  ASSERT_EQ(chart.curves.size(), 3u);
  EXPECT_EQ(chart.curves[0].label, "lr=1e-2");
  EXPECT_EQ(chart.curves[0].points.size(), 2u);
  EXPECT_TRUE(chart.log_y);
}

}  // namespace
}  // namespace hivq::cli
