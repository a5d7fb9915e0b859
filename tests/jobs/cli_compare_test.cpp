#include "jobs/views/compare.h"

#include <gtest/gtest.h>

#include "jobs/spec.h"

namespace hivq::cli {
namespace {

Compared trial(JobId job, uint64_t index, std::map<std::string, std::string> params, std::map<std::string, double> final,
               const std::string& yaml = "name: small\n") {
  Compared compared;
  compared.job.id = job;
  compared.job.name = "small";
  compared.job.metric = "auroc";
  compared.yaml = yaml;
  compared.trial.id = {job, index};
  compared.trial.params = std::move(params);
  compared.trial.final = std::move(final);
  compared.trial.state = "finished";
  compared.trial.started = 1000;
  compared.trial.ended = 5000;
  return compared;
}

std::vector<std::string> names(const std::vector<Comparison::Line>& lines) {
  std::vector<std::string> found;
  for (const auto& line : lines) found.push_back(line.name);
  return found;
}

TEST(Compare, ShowsTheSettingsThatDifferAndNoOthers) {
  auto found = compare({trial(1, 0, {{"train.lr", "1e-3"}, {"train.seed", "0"}}, {}),
                        trial(1, 1, {{"train.lr", "1e-4"}, {"train.seed", "0"}}, {})}, 0);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(names(found->settings), (std::vector<std::string>{"train.lr"}));
  EXPECT_EQ(found->settings.front().values, (std::vector<std::string>{"1e-3", "1e-4"}));
  EXPECT_EQ(found->trials, (std::vector<std::string>{"1/0", "1/1"}));
}

TEST(Compare, ADefaultOfOneJobIsComparedWithWhatAnotherSays) {
  auto found = compare({trial(1, 0, {}, {}), trial(2, 0, {}, {}, "name: small\ntrain: {epochs: 7}\n"),
                        trial(3, 0, {{"train.epochs", "9"}}, {})}, 0);
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_EQ(names(found->settings), (std::vector<std::string>{"train.epochs"}));
  const auto& values = found->settings.front().values;
  EXPECT_EQ(values[1], "7");
  EXPECT_EQ(values[2], "9");
  EXPECT_EQ(values[0], std::to_string(JobSpec().trial.train.epochs));
}

TEST(Compare, TheJobsMetricComesFirstAndDistancesAreToTheFirstTrial) {
  auto found = compare({trial(1, 0, {}, {{"accuracy", 0.5}, {"auroc", 0.9}, {"auroc/bag", 0.8}}),
                        trial(1, 1, {}, {{"auroc", 0.925}, {"pro", 0.25}})}, 0);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->metrics.size(), 4u);
  EXPECT_EQ(found->metrics[0].name, "auroc");
  EXPECT_EQ(found->metrics[1].name, "accuracy");
  EXPECT_EQ(found->metrics[1].values, (std::vector<std::optional<double>>{0.5, std::nullopt}));
  const std::string text = render(comparison_table(*found));
  EXPECT_NE(text.find("0.9250 (+0.0250)"), std::string::npos) << text;
  EXPECT_EQ(text.find("auroc/bag"), std::string::npos) << text;
  const std::string csv = comparison_csv(*found);
  EXPECT_NE(csv.find("metric,auroc,0.9,0.925\n"), std::string::npos) << csv;
  EXPECT_NE(csv.find("metric,auroc/bag,0.8,\n"), std::string::npos) << csv;
  EXPECT_NE(csv.find("kind,name,1/0,1/1\n"), std::string::npos) << csv;
}

TEST(Compare, AJobOfAnotherVersionIsNamed) {
  auto found = compare({trial(1, 0, {}, {}), trial(5, 0, {}, {}, "name: small\nnonsense: 1\n")}, 0);
  ASSERT_FALSE(found);
  EXPECT_NE(found.error().message.find("job 5"), std::string::npos) << found.error().message;
}

}  // namespace
}  // namespace hivq::cli
