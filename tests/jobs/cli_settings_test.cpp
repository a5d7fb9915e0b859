#include "jobs/views/settings.h"

#include <gtest/gtest.h>

#include <cmath>

#include "jobs/cli/figures.h"
#include "jobs/views/json.h"

namespace hivq::cli {
namespace {

using Params = std::map<std::string, std::string>;

TrialView trial(uint64_t index, std::string variant, Params params, std::optional<double> auroc) {
  TrialView view;
  view.id = {1, index};
  view.variant = std::move(variant);
  view.params = std::move(params);
  view.state = auroc ? "finished" : "failed";
  view.initial = {{"auroc", 0.5}};
  if (auroc) view.final = {{"auroc", *auroc}};
  return view;
}

Results results(std::vector<TrialView> trials, const std::string& yaml = "train: {}\n") {
  JobDetail detail;
  detail.job.id = 1;
  detail.job.name = "test";
  detail.job.metric = "auroc";
  detail.job.goal = "maximize";
  detail.yaml = yaml;
  detail.trials = std::move(trials);
  return make_results(detail, {}, 0);
}

Params seed(int value) { return {{"train.seed", std::to_string(value)}}; }

const std::string two_rows =
    "sweep:\n  variants:\n    - {name: small, published: 0.7}\n    - {name: large, published: 0.75}\n"
    "    - {name: huge, published: 0.8}\n  parameters: {train.seed: [0, 1, 2]}\n";

// `large` is better than `small` by 0.1 whatever the seed, though the seeds differ by more than that; `huge` is no
// better than `large`.
Results three_rows() {
  return results({trial(0, "small", seed(0), 0.5), trial(1, "small", seed(1), 0.6), trial(2, "small", seed(2), 0.7),
                  trial(3, "large", seed(0), 0.61), trial(4, "large", seed(1), 0.7), trial(5, "large", seed(2), 0.79),
                  trial(6, "huge", seed(0), 0.7), trial(7, "huge", seed(1), 0.6), trial(8, "huge", seed(2), {})},
                 two_rows);
}

TEST(BySetting, TakesTheMeanOverSeedsInTheOrderOfTheVariantsBesideWhatIsPublished) {
  EXPECT_EQ(settings_text(by_setting(three_rows()), {}),
            "by setting: mean ± sample deviation over train.seed\n"
            "setting    n                     auroc  published  Δ to the row above  published Δ  same order\n"
            "small      3  0.5000 → 0.6000 ± 0.1000     0.7000                   –            –  –\n"
            "large      3  0.5000 → 0.7000 ± 0.0900     0.7500    +0.1000 ± 0.0058      +0.0500  yes\n"
            "huge     2/3  0.5000 → 0.6500 ± 0.0707     0.8000    -0.0050 ± 0.0950      +0.0500  no, within noise\n"
            "Δ: mean ± standard error over trials of equal train.seed; noise: 95 %, Student's t\n"
            "published order: kept by 1 of 2 neighbours (1 beyond noise), reversed by 1 (0 beyond noise)\n");
}

TEST(BySetting, WritesSmallSpreadsWithTheDecimalsOfTheirMean) {
  EXPECT_EQ(settings_text(by_setting(results({trial(0, "a", seed(0), 0.9), trial(1, "a", seed(1), 0.9002),
                                              trial(2, "b", seed(0), 0.9001), trial(3, "b", seed(1), 0.9001)})),
                          {}),
            "by setting: mean ± sample deviation over train.seed\n"
            "setting  n                     auroc  Δ to the row above\n"
            "a        2  0.5000 → 0.9001 ± 0.0001                   –\n"
            "b        2  0.5000 → 0.9001 ± 0.0000    +0.0000 ± 0.0001\n"
            "Δ: mean ± standard error over trials of equal train.seed; noise: 95 %, Student's t\n");
}

TEST(BySetting, IsTheSameWhateverTheTableIsSortedBy) {
  Results sorted = three_rows();
  ASSERT_TRUE(bool(sort(sorted, "auroc", true)));
  EXPECT_EQ(settings_text(by_setting(sorted), {}), settings_text(by_setting(three_rows()), {}));
}

TEST(BySetting, ComparesTrialsOfEqualSeedAndOnlyThem) {
  BySetting grouped = by_setting(three_rows());
  const auto& step = grouped.settings[1].from_above;
  ASSERT_TRUE(step);
  EXPECT_EQ(step->pairs, 3u);
  EXPECT_NEAR(step->mean, 0.1, 1e-12);
  // Changes of 0.11, 0.10 and 0.09: deviation 0.01.
  EXPECT_NEAR(step->standard_error.value(), 0.01 / std::sqrt(3), 1e-12);
  EXPECT_TRUE(step->clear);
  EXPECT_EQ(grouped.settings[2].from_above->pairs, 2u);
}

TEST(BySetting, ComparesMeansWhereNoTrialsAreOfEqualSeed) {
  auto grouped = by_setting(results({trial(0, "a", seed(0), 0.5), trial(1, "a", seed(1), 0.7),
                                     trial(2, "b", seed(2), 0.8), trial(3, "b", seed(3), 0.8)}));
  const auto& step = grouped.settings[1].from_above;
  ASSERT_TRUE(step);
  EXPECT_EQ(step->pairs, 0u);
  EXPECT_NEAR(step->mean, 0.2, 1e-12);
  EXPECT_NEAR(step->standard_error.value(), 0.1, 1e-12);  // 0.1414 / sqrt(2), and 0
  EXPECT_FALSE(step->clear) << "two standard errors, but one degree of freedom";
}

TEST(BySetting, KeepsApartWhatIsNoRepetition) {
  auto grouped = by_setting(results({trial(0, "", {{"train.lr", "0.1"}, {"train.seed", "0"}}, 0.5),
                                     trial(1, "", {{"train.lr", "0.1"}, {"train.seed", "1"}}, 0.7),
                                     trial(2, "", {{"train.lr", "0.2"}, {"train.seed", "0"}}, 0.8),
                                     trial(3, "", {{"train.lr", "0.2"}, {"train.seed", "1"}}, 0.9)}));
  ASSERT_EQ(grouped.settings.size(), 2u);
  EXPECT_EQ(grouped.settings[0].label, "lr=0.1");
  EXPECT_EQ(grouped.settings[1].params, (Params{{"train.lr", "0.2"}}));
  EXPECT_NEAR(grouped.settings[1].after->mean, 0.85, 1e-12);
}

TEST(BySetting, TakesTheMeanOverSplitsAndSeedsTogether) {
  std::vector<TrialView> trials;
  for (const char* variant : {"a", "b"}) {
    for (const char* split : {"[0,1]", "[2,3]"}) {
      for (const char* number : {"0", "1"}) {
        trials.push_back(trial(trials.size(), variant, {{"data.normal_classes", split}, {"train.seed", number}},
                               0.5 + 0.01 * static_cast<double>(trials.size())));
      }
    }
  }
  auto grouped = by_setting(results(trials));
  EXPECT_EQ(grouped.averaged, (std::vector<std::string>{"data.normal_classes", "train.seed"}));
  ASSERT_EQ(grouped.settings.size(), 2u);
  EXPECT_EQ(grouped.settings[1].after->count, 4u);
  EXPECT_EQ(grouped.settings[1].from_above->pairs, 4u);
  EXPECT_NEAR(grouped.settings[1].from_above->mean, 0.04, 1e-12);
}

TEST(BySetting, EndsSplitsOfOneExperimentWithTheirMean) {
  auto grouped =
      by_setting(results({trial(0, "first", {{"data.normal_classes", "[0,1]"}}, 0.8),
                          trial(1, "second", {{"data.normal_classes", "[2]"}}, 0.9)},
                         "sweep:\n  variants:\n    - {name: first, published: 0.84, data.normal_classes: [0, 1]}\n"
                         "    - {name: second, published: 0.8, data.normal_classes: [2]}\n"));
  EXPECT_EQ(settings_text(grouped, {}),
            "by setting\n"
            "setting  n                     auroc  published\n"
            "first    1           0.5000 → 0.8000     0.8400\n"
            "second   1           0.5000 → 0.9000     0.8000\n"
            "mean     2  0.5000 → 0.8500 ± 0.0707     0.8200\n");
}

TEST(BySetting, SaysNothingWhereItWouldRepeatTheTrials) {
  auto grouped =
      by_setting(results({trial(0, "a", {{"train.lr", "1"}}, 0.8), trial(1, "b", {{"train.lr", "2"}}, 0.9)}));
  EXPECT_FALSE(grouped.worthwhile());
  EXPECT_EQ(settings_text(grouped, {}), "");
  EXPECT_FALSE(by_setting(results({})).worthwhile());
}

TEST(BySetting, HoldsNoJudgementWithoutAStandardErrorOrAValue) {
  auto grouped = by_setting(results(
      {trial(0, "small", seed(0), 0.6), trial(1, "large", seed(0), 0.9), trial(2, "huge", seed(0), {})}, two_rows));
  EXPECT_EQ(grouped.settings[1].from_above->standard_error, std::nullopt);
  EXPECT_FALSE(grouped.settings[1].from_above->clear);
  EXPECT_EQ(grouped.settings[1].from_above->agrees(), true);
  EXPECT_FALSE(grouped.settings[2].from_above);
  EXPECT_FALSE(grouped.settings[2].after);
}

TEST(BySetting, CsvAndJsonHaveEverythingInFullPrecision) {
  BySetting grouped = by_setting(three_rows());
  std::string csv = settings_csv(grouped);
  EXPECT_TRUE(
      csv.starts_with("setting,variant,trials,n,untrained,trained,deviation,published,difference,"
                      "standard_error,pairs,published_difference,same_order,beyond_noise\n"
                      "small,small,3,3,0.5,0.6,0.09999999999999998,0.7,,,,,,\n"))
      << csv;
  auto json = to_json(grouped);
  ASSERT_EQ(json.size(), 3u);
  EXPECT_EQ(json[0]["difference"], nullptr);
  EXPECT_EQ(json[1]["published"], 0.75);
  EXPECT_EQ(json[1]["difference"]["pairs"], 3);
  EXPECT_EQ(json[1]["difference"]["same_order"], true);
  EXPECT_EQ(json[2]["n"], 2);
  EXPECT_EQ(to_json(three_rows())["groups"], json);
}

TEST(Figures, OfRepeatedSettingsShowMeansWithDeviationAndWhatIsPublished) {
  BarChart chart = metric_bars(three_rows());
  ASSERT_EQ(chart.bars.size(), 3u);
  EXPECT_EQ(chart.bars[0].label, "small");
  EXPECT_NEAR(chart.bars[1].after.value(), 0.7, 1e-12);
  EXPECT_NEAR(chart.bars[1].deviation.value(), 0.09, 1e-12);
  EXPECT_EQ(chart.bars[2].published, 0.8);
  EXPECT_NE(chart.subtitle.find("mean ± sample deviation over train.seed"), std::string::npos) << chart.subtitle;
}

}  // namespace
}  // namespace hivq::cli
