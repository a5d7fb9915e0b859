#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <fstream>
#include <random>
#include <sstream>

#include "jobs/search/searcher.h"
#include "jobs/spec.h"

namespace hivq {
namespace {

// Jobs of every shape. It sets the members themselves, so a field that the table lacks or mistakes for another is seen.
class RandomJobs {
 public:
  explicit RandomJobs(uint64_t seed) : random_(seed) {}

  JobSpec job() {
    JobSpec job;
    job.name = text(1);
    job.preset = one_of<std::string>({"hvq-trans", "hvq-trans-official"});
    job.max_attempts = whole(1, 1000);
    job.priority = whole(-1000, 1000);
    job.project = text(1);
    job.after = {whole(1, 9), whole(10, 99)};
    job.after_any = flag();
    job.retry_seconds = whole(0, 1000);
    job.max_trial_seconds = whole(0, 1000);
    job.max_job_seconds = whole(0, 1000);
    job.trial = trial();
    job.trial.gang.labels = {{"pool", "a100"}, {"true", "7"}, {"n1", std::to_string(whole(0, 9))}};
    if (flag()) job.sweep = sweep();
    return job;
  }

 private:
  int64_t whole(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_); }
  bool flag() { return whole(0, 1) == 1; }

  // Any double in the range: bit patterns, so that every exponent and every digit comes up.
  double real(double low, double high) {
    while (true) {
      const auto value = std::bit_cast<double>(random_() & 0x7fffffffffffffff);
      if (std::isfinite(value) && value >= low && value <= high) return value;
      const double plain = std::uniform_real_distribution<double>(low, high)(random_);
      if (flag() && plain > low && plain < high) return plain;
    }
  }

  std::string text(size_t least) {
    static const std::vector<std::string> pieces = {"a",  "Z",  "0", " ",   "#", ":", "-",    "\"",   "'",   "\\",
                                                    "é",  "日", "😀", "{",   "]", ",", "true", "null", "1e3", "~",
                                                    ": ", " #", "%", "\\n", "&", "*", "!",    "|",    ">",   "@"};
    std::string made;
    while (made.size() < least || whole(0, 5) != 0) made += pieces[static_cast<size_t>(whole(0, 29))];
    return made;
  }

  template <typename T>
  T one_of(std::vector<T> choices) {
    return choices[static_cast<size_t>(whole(0, static_cast<int64_t>(choices.size()) - 1))];
  }

  std::vector<int64_t> some_of(int64_t low, int64_t high) {
    std::vector<int64_t> numbers;
    for (int64_t n = low; n <= high; ++n) numbers.push_back(n);
    std::shuffle(numbers.begin(), numbers.end(), random_);
    numbers.resize(static_cast<size_t>(whole(1, high - low)));
    return numbers;
  }

  TrialSpec trial() {
    TrialSpec t;
    t.data.name = one_of<std::string>({"fashion-mnist", "cifar10", "mvtec", "visa", "json-lines"});
    const bool many_class = t.data.name == "fashion-mnist" || t.data.name == "cifar10";
    t.data.path = text(t.data.name == "fashion-mnist" ? 0 : 1);
    if (many_class) t.data.normal_classes = some_of(0, 9);
    for (int64_t i = many_class ? 0 : whole(0, 4); i > 0; --i) t.data.classes.push_back(text(0) + std::to_string(i));
    t.data.train_list = text(1);
    t.data.test_list = text(1);
    t.data.damaged = one_of<std::string>({"fail", "skip"});
    t.data.train_per_class = whole(0, 1000000000);
    t.data.test_per_class = whole(0, 1000000000);
    t.data.image_size = 16 * whole(2, 256);
    t.backbone.name = one_of<std::string>({"efficientnet-b0", "efficientnet-b4", "efficientnet-lite2"});
    t.backbone.weights = text(0);
    t.backbone.stages = some_of(1, 7);
    if (flag()) t.backbone.blocks = some_of(0, 63);
    t.model.heads = whole(1, 64);
    t.model.width = 2 * t.model.heads * whole(1, 128);
    t.model.layers = whole(1, 64);
    t.model.feed_forward = whole(1, 65536);
    t.model.dropout = real(0, 0.999);
    if (flag()) t.model.neighbour_mask = 2 * whole(1, t.data.image_size / 16 / 2) - 1;
    t.model.jitter = real(0, 1e6);
    t.model.expert_switching = flag();
    t.model.switch_by = one_of<std::string>({"label", "predicted"});
    t.model.quantizer.hierarchical = flag();
    if (t.model.quantizer.hierarchical && flag()) t.model.quantizer.levels = whole(2, t.model.layers + 1);
    t.model.quantizer.prototypes = whole(1, 65536);
    t.model.quantizer.decay = real(0, 0.999);
    t.model.quantizer.codebook_switching = flag();
    t.model.quantizer.start = one_of<std::string>({"normal", "data", "k-means++"});
    t.model.quantizer.revive_below = real(0, 1e6);
    t.loss.commitment = real(0, 1e6);
    t.loss.pot = real(0, 1e6);
    t.loss.classification = real(0, 1e6);
    t.train.epochs = whole(1, 1000000);
    t.train.batch_size = whole(100, 1000000);
    t.train.lr = real(5e-324, 10);
    t.train.weight_decay = real(0, 10);
    t.train.clip = real(0, 1e6);
    t.train.lr_drop_epoch = whole(0, 1000000);
    t.train.lr_drop_factor = real(5e-324, 1);
    t.train.eval_every = whole(1, 1000000);
    t.train.checkpoint_every = whole(1, 1000000);
    t.train.checkpoint_seconds = whole(0, 1000000);
    t.data.features = one_of<std::string>({"float32", "bfloat16"});
    t.train.precision = one_of<std::string>({"float32", "bfloat16"});
    t.train.seed = random_() >> 1;
    t.eval.score = one_of<std::string>({"max", "mean", "std"});
    t.eval.pot = real(0, 1e6);
    if (t.model.quantizer.hierarchical && flag()) t.eval.pot_levels = {1, 0};
    t.eval.pictures = whole(0, 16);
    if (flag()) t.train.start_from = fmt::format("{}/{}", whole(1, 1000000), whole(0, 1000000));
    t.gang.ranks = whole(0, 100);
    t.gang.fuse = whole(1, 1024);
    return t;
  }

  SweepSpec sweep() {
    SweepSpec s;
    s.search = one_of<std::string>({"random", "sobol", "tpe", "gp", "cma-es", "nsga2", "bohb"});
    s.trials = whole(1, 1000);
    s.seed = random_() >> 1;
    s.metric = text(1);
    s.goal = one_of<std::string>({"maximize", "minimize"});
    s.startup = whole(1, 100);
    s.population = whole(0, 1) * whole(4, 100);
    s.stop = {one_of<std::string>({"none", "asha", "hyperband", "median"}), whole(1, 50), real(2, 10), whole(1, 9)};
    if (s.search == "bohb") s.stop.by = "hyperband";
    if (s.search != "random" && s.search != "sobol" && flag()) s.warm_start = some_of(1, 9);
    if (s.search == "nsga2")
      s.metrics = {{s.metric, s.goal}, {text(1) + "2", one_of<std::string>({"maximize", "minimize"})}};
    if (flag()) s.constraints = {{text(1), real(0, 1), {}}, {text(1), {}, real(0, 1)}, {text(1), 2.5, -1.5}};
    using Kind = SearchRange::Kind;
    s.parameters["train.lr"] = {Kind::log_uniform, {}, real(1e-300, 0.5), real(0.6, 10)};
    if (flag()) s.parameters["loss.pot"] = {Kind::uniform, {}, real(0, 1), real(2, 1e6)};
    if (flag()) s.parameters["train.epochs"] = {Kind::integer, {}, double(whole(1, 99)), double(whole(100, 999999))};
    if (flag()) s.parameters["model.dropout"] = {Kind::choice, {real(0, 0.5), real(0.6, 0.9)}, 0, 0};
    if (flag()) s.parameters["train.checkpoint_every"] = {Kind::log_integer, {}, 1, double(whole(2, 999))};
    if (flag()) s.parameters["train.eval_every"] = {Kind::integer, {}, 2, 40, 3};
    if (flag()) {
      s.parameters["model.switch"] = {Kind::choice, {std::string("label"), std::string("predicted")}, 0, 0};
      s.parameters["eval.pot"] = {Kind::uniform, {}, 0, 9, 0.125, {{"model.switch", {std::string("label")}}}};
      s.parameters["loss.commitment"] = {Kind::choice, {0.5, 1.0}, 0, 0, 0, {{"eval.pot", {0.125, 2.5}}}};
    }
    if (flag()) s.parameters["eval.score"] = {Kind::choice, {std::string("std"), std::string("max")}, 0, 0};
    if (flag()) s.parameters["backbone.blocks"] = {Kind::choice, {some_of(0, 9), some_of(10, 20)}, 0, 0};
    if (flag()) s.parameters["data.path"] = {Kind::choice, {text(0) + "1", text(0) + "2"}, 0, 0};
    for (int64_t i = whole(0, 3); i > 0; --i) {
      Variant variant{text(1) + std::to_string(i), {}, {}};
      if (flag()) variant.published = real(0, 1);
      if (flag()) variant.params["backbone.stages"] = some_of(1, 7);
      if (flag()) variant.params["train.clip"] = real(0, 1e6);
      if (flag()) variant.params["model.expert_switching"] = flag();
      if (flag()) variant.params["train.seed"] = whole(0, std::numeric_limits<int64_t>::max());
      if (flag()) variant.params["backbone.weights"] = text(0);
      s.variants.push_back(variant);
    }
    return s;
  }

  std::mt19937_64 random_;
};

TEST(SpecRoundTrip, AJobIsTheSameAfterWritingAndReading) {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    const JobSpec job = RandomJobs(seed).job();
    const std::string yaml = to_yaml(job);
    auto again = parse_job(yaml, "again.yaml");
    ASSERT_TRUE(again) << "seed " << seed << "\n" << again.error().message << "\n" << yaml;
    ASSERT_EQ(*again, job) << "seed " << seed << "\n" << yaml;
  }
}

TEST(SpecRoundTrip, ATrialIsTheSameAfterWritingAndReading) {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    const TrialSpec trial = RandomJobs(seed).job().trial;
    auto again = parse_trial(to_yaml(trial), "trial");
    ASSERT_TRUE(again) << "seed " << seed << "\n" << again.error().message;
    ASSERT_EQ(*again, trial) << "seed " << seed;
  }
}

TEST(SpecRoundTrip, ProposalsAreTheSameAfterWritingAndReading) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    const JobSpec job = RandomJobs(seed).job();
    auto again = parse_job(to_yaml(job), "again.yaml");
    ASSERT_TRUE(again) << "seed " << seed << "\n" << again.error().message;
    const auto one = make_searcher(job), other = make_searcher(*again);
    ASSERT_EQ(one->size(), other->size()) << "seed " << seed;
    for (int64_t index = 0; index < std::min<int64_t>(20, one->size()); ++index) {
      ASSERT_EQ(one->propose(index).has_value(), other->propose(index).has_value()) << "seed " << seed;
      if (!one->propose(index)) break;  // it must hear first how the ones before ended
      ASSERT_EQ(one->propose(index)->params, other->propose(index)->params) << "seed " << seed << ", trial " << index;
      ASSERT_EQ(one->propose(index)->variant, other->propose(index)->variant) << "seed " << seed << ", trial " << index;
      auto trial = with_params(job.trial, one->propose(index)->params);
      ASSERT_TRUE(trial) << "seed " << seed << "\n" << trial.error().message;
    }
  }
}

TEST(SpecRoundTrip, EveryDefaultIsWrittenOut) {
  EXPECT_EQ(to_yaml(TrialSpec{}), R"(data:
  name: fashion-mnist
  path: ""
  normal_classes: [0, 1, 2, 3, 4]
  classes: []
  train_list: train.json
  test_list: test.json
  train_per_class: 0
  test_per_class: 0
  image_size: 224
  damaged: fail
  features: float32
backbone:
  name: efficientnet-lite0
  weights: ""
  stages: [1, 2, 3, 5]
  blocks: []
model:
  width: 256
  layers: 4
  heads: 8
  feed_forward: 1024
  dropout: 0.1
  neighbour_mask: 0
  jitter: 0
  expert_switching: true
  switch: predicted
  quantizer:
    hierarchical: true
    levels: 0
    prototypes: 512
    decay: 0.99
    codebook_switching: true
    start: normal
    revive_below: 0
loss:
  commitment: 0.5
  pot: 0.01
  classification: 1
train:
  epochs: 1000
  batch_size: 16
  lr: 1e-4
  weight_decay: 1e-4
  clip: 0.1
  lr_drop_epoch: 800
  lr_drop_factor: 0.1
  eval_every: 10
  checkpoint_every: 10
  checkpoint_seconds: 60
  precision: float32
  seed: 0
  start_from: ""
eval:
  score: max
  pot: 80
  pot_levels: []
  pictures: 1
gang:
  ranks: 0
  fuse: 1
  labels: {}
)");
}

std::string quick_yaml() {
  std::ifstream file(HIVQ_SOURCE_DIR "/jobs/specs/quick.yaml");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(SpecQuick, IsTheFiveRowsOfTable1) {
  auto job = parse_job(quick_yaml(), "jobs/specs/quick.yaml");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->trial.gang.ranks, 2);
  const auto searcher = make_searcher(*job);
  ASSERT_EQ(searcher->size(), 5);
  // hierarchical, codebook switching, expert switching, POT
  const bool rows[5][4] = {{false, false, false, false},
                           {false, true, false, false},
                           {true, true, false, false},
                           {true, true, true, false},
                           {true, true, true, true}};
  for (int64_t i = 0; i < 5; ++i) {
    auto trial = with_params(job->trial, searcher->propose(i)->params);
    ASSERT_TRUE(trial) << trial.error().message;
    EXPECT_EQ(trial->model.quantizer.hierarchical, rows[i][0]) << "row " << i;
    EXPECT_EQ(trial->model.quantizer.codebook_switching, rows[i][1]) << "row " << i;
    EXPECT_EQ(trial->model.expert_switching, rows[i][2]) << "row " << i;
    EXPECT_EQ(trial->loss.pot > 0, rows[i][3]) << "row " << i;
    EXPECT_EQ(trial->eval.pot > 0, rows[i][3]) << "row " << i;
  }
}

}  // namespace
}  // namespace hivq
