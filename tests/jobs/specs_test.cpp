// The specifications that ship: jobs/specs.

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "jobs/search/searcher.h"
#include "jobs/spec.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;

JobSpec shipped(const std::string& name) {
  std::ifstream file(fs::path(HIVQ_SOURCE_DIR) / "jobs/specs" / (name + ".yaml"));
  std::stringstream text;
  text << file.rdbuf();
  auto job = parse_job(text.str(), name + ".yaml");
  if (!job) ADD_FAILURE() << job.error().message;
  return job ? *job : JobSpec{};
}

std::vector<std::string> all_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(fs::path(HIVQ_SOURCE_DIR) / "jobs/specs")) {
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem());
  }
  return names;
}

TEST(ShippedSpecs, AreValidInEveryTrialAndNamedLikeTheirFiles) {
  const auto names = all_names();
  EXPECT_GE(names.size(), 8u);
  for (const auto& name : names) {
    const JobSpec job = shipped(name);
    EXPECT_EQ(job.name, name);
    const auto searcher = make_searcher(job);
    for (int64_t i = 0; i < searcher->size(); ++i) {
      auto trial = with_params(job.trial, searcher->propose(i)->params);
      EXPECT_TRUE(trial) << name << ", trial " << i << ": " << trial.error().message;
    }
  }
}

// MODEL.md, "Training settings".
TEST(ShippedSpecs, OfThePaperHaveItsSettings) {
  for (const char* name : {"mvtec", "visa", "cifar10", "cifar10-table1"}) {
    const JobSpec job = shipped(name);
    const TrialSpec& trial = job.trial;
    const bool cifar = trial.data.name == "cifar10";
    EXPECT_EQ(job.preset, "hvq-trans") << name;
    EXPECT_EQ(trial.backbone.name, "efficientnet-b4") << name;
    EXPECT_EQ(trial.backbone.blocks,
              cifar ? (std::vector<int64_t>{1, 5, 9, 21, 31}) : (std::vector<int64_t>{1, 5, 9, 21}))
        << name;
    EXPECT_EQ(trial.data.image_size, 224) << name;
    EXPECT_EQ(trial.train.batch_size, cifar ? 64 : 16) << name;
    EXPECT_EQ(trial.eval.score, cifar ? "mean" : "max") << name;
    TrainSpec train;  // the defaults are the paper's
    train.batch_size = trial.train.batch_size;
    EXPECT_EQ(trial.train, train) << name;
    ModelSpec model;
    EXPECT_EQ(trial.model, model) << name;
  }
}

TEST(ShippedSpecs, OfTable1AreItsFiveRowsWithTheirPublishedFigures) {
  struct Row {
    bool hierarchical, codebook_switching, expert_switching, pot;
    double published;
  };
  const Row rows[] = {{false, false, false, false, 0.711},
                      {false, true, false, false, 0.743},
                      {true, true, false, false, 0.776},
                      {true, true, true, false, 0.816},
                      {true, true, true, true, 0.878}};
  for (const char* name : {"cifar10-table1", "fashion-mnist-table1"}) {
    const JobSpec job = shipped(name);
    ASSERT_TRUE(job.sweep) << name;
    ASSERT_EQ(job.sweep->variants.size(), std::size(rows)) << name;
    for (size_t i = 0; i < std::size(rows); ++i) {
      const Variant& variant = job.sweep->variants[i];
      EXPECT_EQ(variant.published, rows[i].published) << name << ", row " << i;
      auto trial = with_params(job.trial, variant.params);
      ASSERT_TRUE(trial) << trial.error().message;
      EXPECT_EQ(trial->model.quantizer.hierarchical, rows[i].hierarchical) << name << ", row " << i;
      EXPECT_EQ(trial->model.quantizer.codebook_switching, rows[i].codebook_switching) << name << ", row " << i;
      EXPECT_EQ(trial->model.expert_switching, rows[i].expert_switching) << name << ", row " << i;
      EXPECT_EQ(trial->loss.pot, rows[i].pot ? 0.01 : 0) << name << ", row " << i;
      EXPECT_EQ(trial->eval.pot, rows[i].pot ? 80 : 0) << name << ", row " << i;
    }
  }
}

TEST(ShippedSpecs, OfCifar10HaveTheFourSplits) {
  using List = std::vector<int64_t>;
  const List splits[] = {{0, 1, 2, 3, 4}, {5, 6, 7, 8, 9}, {0, 2, 4, 6, 8}, {1, 3, 5, 7, 9}};
  const JobSpec one = shipped("cifar10"), rows = shipped("cifar10-table1");
  ASSERT_TRUE(one.sweep && rows.sweep);
  const SearchRange& range = rows.sweep->parameters.at("data.normal_classes");
  ASSERT_EQ(one.sweep->variants.size(), 4u);
  ASSERT_EQ(range.choices.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(one.sweep->variants[i].params, (Params{{"data.normal_classes", splits[i]}}));
    EXPECT_EQ(range.choices[i], ParamValue(splits[i]));
  }
}

}  // namespace
}  // namespace hivq
