// What a job says of its place in the queue: priority, project, order, limits, labels.

#include <gtest/gtest.h>

#include "jobs/spec.h"

namespace hivq {
namespace {

std::string mistakes(const std::string& yaml) {
  auto job = parse_job("name: x\n" + yaml, "job.yaml");
  return job ? "" : job.error().message;
}

TEST(Terms, AreReadAndWritten) {
  auto job =
      parse_job(
          "name: x\npriority: -3\nproject: vision\nafter: [3, 1]\nafter_any: true\nretry_seconds: 9\n"
          "max_trial_seconds: 60\nmax_job_seconds: 90\ngang: {ranks: 2, labels: {pool: a100, \"7\": \"true\"}}\n",
          "job.yaml")
          .value();
  EXPECT_EQ(job.priority, -3);
  EXPECT_EQ(job.project, "vision");
  EXPECT_EQ(job.after, (std::vector<int64_t>{3, 1}));
  EXPECT_TRUE(job.after_any);
  EXPECT_EQ(job.trial.gang.labels, (Labels{{"7", "true"}, {"pool", "a100"}}));
  EXPECT_EQ(parse_job(to_yaml(job), "again.yaml").value(), job);
  EXPECT_EQ(parse_trial(to_yaml(job.trial), "trial.yaml").value().gang.labels, job.trial.gang.labels);
}

TEST(Terms, MistakesInLabelsNameThePlaceAndTheRemedy) {
  EXPECT_EQ(mistakes("gang: {labels: a100}\n"),
            "job.yaml:2: gang.labels is a100; it must be words by words, such as {pool: a100}");
  EXPECT_EQ(mistakes("gang:\n  labels:\n    a b: x\n    pool: [1]\n    zone: \"a=b\"\n    zone: c\n"),
            "job.yaml:4: gang.labels holds the label a b; it must be a word of letters, digits and - _ . : /\n"
            "job.yaml:5: gang.labels.pool is a list; it must be a word\n"
            "job.yaml:6: gang.labels.zone is \"a=b\"; it must be a word of letters, digits and - _ . : /\n"
            "job.yaml:7: zone is given twice in gang.labels, first at job.yaml:6; keep one");
  EXPECT_EQ(mistakes("sweep: {parameters: {gang.labels: [1, 2]}}\n"),
            "job.yaml:2: gang.labels is no parameter; labels cannot be a parameter of a sweep");
}

TEST(Terms, OfTheJobAreNoParametersOfASweep) {
  EXPECT_NE(mistakes("sweep: {parameters: {priority: [1, 2]}}\n").find("priority is no parameter"), std::string::npos);
}

TEST(Terms, LabelsCanBeSetOnTheCommandLine) {
  auto job = parse_job("name: x\n", "job.yaml", {{"gang.labels", "{pool: h100}"}}).value();
  EXPECT_EQ(job.trial.gang.labels, (Labels{{"pool", "h100"}}));
}

}  // namespace
}  // namespace hivq
