#include "worker/eval/evaluate.h"

#include "tests/worker/eval_fixture.h"
#include "worker/eval/anomaly_map.h"
#include "worker/eval/pixel_metrics.h"
#include "worker/eval/ranking.h"
#include "worker/eval/score.h"
#include "worker/model/forward.h"
#include "worker/model/pot.h"

namespace hivq {
namespace {

TEST(AnomalyMap, AndScoresAreTheReferences) {
  for (const char* name : {"full", "single"}) {
    const GoldenCase golden = golden_case(name);
    const at::Tensor map = anomaly_map(golden["h0"], golden["reconstruction"]);
    const MapScoring scoring = make_map_scoring(2, at::kDouble);
    EXPECT_CLOSE(upsampled(scoring, map), golden["map"], 1e-9);
    const ImageScores scores = image_scores(scoring, map);
    EXPECT_CLOSE(scores.max, golden["score_max"], 1e-9);
    EXPECT_CLOSE(scores.mean, golden["score_mean"], 1e-9);
    EXPECT_CLOSE(scores.std, golden["score_std"], 1e-9);
  }
}

TEST(ImageScores, OfAConstantMapAreTheConstant) {
  for (const int64_t grid : {1, 2, 7, 14}) {
    const ImageScores scores =
        image_scores(make_map_scoring(grid, at::kDouble), at::full({2, grid, grid}, 3.0, at::kDouble));
    EXPECT_NEAR(scores.max[1].item<double>(), 3, 1e-9) << grid;
    EXPECT_NEAR(scores.mean[0].item<double>(), 3, 1e-9) << grid;
    EXPECT_NEAR(scores.std[0].item<double>(), 0, 1e-9) << grid;
  }
}

class Evaluate : public testing::Test {
 protected:
  FeatureSet features = made_up_features(12, 70, 3, at::kDouble);  // more test images than fit one batch
  TrialSpec spec = small_trial();
  Model model = make_model(spec.model, {6, 3, 3}, 4, at::kDouble);
  std::unique_ptr<Collective> single = make_single_collective();

  std::map<std::string, double> metrics() {
    const Evaluation found = evaluate(model, spec, features, *single).value();
    EXPECT_EQ(found.failure, "");
    return found.metrics;
  }
  std::string failure() {
    const Evaluation found = evaluate(model, spec, features, *single).value();
    EXPECT_TRUE(found.metrics.empty());
    return found.failure;
  }
  at::Tensor classes(bool label) {
    at::Tensor predicted = classify(model, tokens_of(features.test, at::arange(70))).argmax(1);
    for (int64_t i = 0; label && i < 70; ++i) {
      if (features.test_class[static_cast<size_t>(i)] < 3) predicted[i] = features.test_class[static_cast<size_t>(i)];
    }
    return predicted;
  }
};

TEST_F(Evaluate, IsWhatTheDefinitionsSay) {
  for (const bool label : {false, true}) {
    for (const double pot : {0.0, 80.0}) {
      model.spec.switch_by = label ? "label" : "predicted";
      spec.eval.pot = pot;
      const at::Tensor h0 = tokens_of(features.test, at::arange(70)), chosen = classes(label);
      Dropout none;
      const Forward out = forward(model, h0, chosen, none);
      at::Tensor map = (out.reconstruction - h0).square().sum(2).sqrt();
      if (pot > 0) map = map + pot * pot_score(model.codebooks[2], out.levels[2], chosen);
      const ImageScores scores = image_scores(make_map_scoring(3, at::kDouble), map.view({70, 3, 3}));
      const std::vector<uint8_t> anomalous(features.test_anomalous.begin(), features.test_anomalous.end());
      const auto auroc_of = [&](const at::Tensor& values) {
        const at::Tensor floats = values.detach().to(at::kFloat).contiguous();
        return ranking({floats.const_data_ptr<float>(), 70}, anomalous).value().auroc;
      };
      double error_normal = 0, error_anomalous = 0, right = 0, normal = 0;
      for (int64_t i = 0; i < 70; ++i) {
        const double error = (out.reconstruction[i] - h0[i]).square().mean().item<double>();
        const auto at = static_cast<size_t>(i);
        (features.test_anomalous[at] ? error_anomalous : error_normal) += error;
        normal += !features.test_anomalous[at];
        right += classes(false)[i].item<int64_t>() == features.test_class[at];
      }
      for (const char* score : {"max", "mean", "std"}) {
        spec.eval.score = score;
        const auto found = metrics();
        EXPECT_DOUBLE_EQ(found.at("auroc"), found.at(std::string("auroc_") + score));
        EXPECT_NEAR(found.at("auroc_max"), auroc_of(scores.max), 1e-9);
        EXPECT_NEAR(found.at("auroc_mean"), auroc_of(scores.mean), 1e-9);
        EXPECT_NEAR(found.at("auroc_std"), auroc_of(scores.std), 1e-9);
        EXPECT_NEAR(found.at("error_normal"), error_normal / normal, 1e-9);
        EXPECT_NEAR(found.at("error_anomalous"), error_anomalous / (70 - normal), 1e-9);
        EXPECT_NEAR(found.at("classifier_accuracy"), right / normal, 1e-12);
      }
    }
  }
}

TEST_F(Evaluate, LeavesOutWhatTheImagesDoNotAllow) {
  features.test_anomalous.assign(70, false);
  const auto normal = metrics();
  EXPECT_FALSE(normal.contains("auroc"));
  EXPECT_FALSE(normal.contains("error_anomalous"));
  EXPECT_TRUE(normal.contains("error_normal"));
  features.test_anomalous.assign(70, true);
  const auto anomalous = metrics();
  EXPECT_FALSE(anomalous.contains("auroc"));
  EXPECT_FALSE(anomalous.contains("classifier_accuracy"));
  features.test = features.test.narrow(0, 0, 0);
  features.test_anomalous.clear(), features.test_class.clear();
  EXPECT_TRUE(metrics().empty());
}

TEST_F(Evaluate, OfManyClassesIsOverAllImagesTogether) {
  const auto found = metrics();
  EXPECT_TRUE(found.contains("ap") && found.contains("f1_max"));
  for (const auto& [name, value] : found) {
    EXPECT_FALSE(name.starts_with("auroc/") || name.starts_with("ap/") || name.find("pixel") != name.npos) << name;
  }
  double weighted = 0;
  for (int64_t c = 0; c < 3; ++c) {
    const double images = static_cast<double>(std::ranges::count(features.test_class, c));
    weighted += images * found.at(fmt::format("error_normal/class{}", c));
    EXPECT_FALSE(found.contains(fmt::format("error_anomalous/class{}", c)));
  }
  EXPECT_NEAR(weighted / static_cast<double>(std::ranges::count(features.test_anomalous, false)),
              found.at("error_normal"), 1e-9);
  EXPECT_DOUBLE_EQ(found.at("error_anomalous/class3"), found.at("error_anomalous"));
}

TEST_F(Evaluate, CountsWhatTheClassifierTakesEachClassFor) {
  const auto found = metrics();
  const at::Tensor predicted = classes(false);
  double right = 0, all = 0;
  for (int64_t truth = 0; truth < 3; ++truth) {
    for (int64_t taken = 0; taken < 3; ++taken) {
      double expected = 0;
      for (size_t i = 0; i < 70; ++i) {
        expected += features.test_class[i] == truth && predicted[static_cast<int64_t>(i)].item<int64_t>() == taken;
      }
      const std::string name = fmt::format("confusion/class{}/class{}", truth, taken);
      EXPECT_EQ(found.contains(name) ? found.at(name) : 0, expected) << name;
      EXPECT_EQ(found.contains(name), expected > 0) << name;
      all += expected, right += truth == taken ? expected : 0;
    }
  }
  EXPECT_DOUBLE_EQ(found.at("classifier_accuracy"), right / all);
}

TEST_F(Evaluate, RefusesLevelsThatTheModelLacks) {
  spec.eval.pot_levels = {0, 3};
  EXPECT_EQ(failure(), "eval.pot_levels holds 3, but the model's levels are 0 (the top) to 2");
  spec.eval.pot_levels = {-1};
  EXPECT_NE(failure().find("holds -1"), std::string::npos);
  spec.eval.pot_levels = {1, 1};
  EXPECT_NE(failure().find("level 1 twice"), std::string::npos);
  spec.eval.pot_levels = {};
  spec.eval.score = "median";
  EXPECT_NE(failure().find("`median`"), std::string::npos);
}

TEST_F(Evaluate, NamesTheImageWhoseFeaturesAreNotFinite) {
  features.test_name.assign(70, "fine.png");
  features.test_name[33] = "broken.png", features.test_name[40] = "later.png";
  features.test[33][2][1][1] = std::numeric_limits<double>::quiet_NaN();
  features.test[40][2][1][1] = std::numeric_limits<double>::infinity();
  EXPECT_EQ(failure(), "the features of test image `broken.png` are not finite; replace the image, or leave it out");
}

TEST_F(Evaluate, SaysThatTheModelHasDiverged) {
  model.values.mul_(std::numeric_limits<double>::quiet_NaN());
  const std::string reason = failure();
  EXPECT_NE(reason.find("test image `0`"), std::string::npos) << reason;  // a set without names
  EXPECT_NE(reason.find("diverged"), std::string::npos) << reason;
}

TEST_F(Evaluate, ChangesNothing) {
  const at::Tensor values = model.values.clone(), embed = model.codebooks[1].embed.clone();
  metrics();
  EXPECT_TRUE(at::equal(model.values, values));
  EXPECT_TRUE(at::equal(model.codebooks[1].embed, embed));
}

TEST_F(Evaluate, ScoreAddsTheTransportOfTheChosenLevels) {
  const at::Tensor h0 = tokens_of(features.test, at::arange(5)), labels = at::tensor({0, 1, 2, -1, 1}, at::kLong);
  model.spec.switch_by = "label";
  spec.eval.pot = 0;
  const Scored plain = score(model, spec.eval, h0, labels);
  spec.eval.pot = 10, spec.eval.pot_levels = {0, 2};
  const Scored both = score(model, spec.eval, h0, labels);
  at::Tensor transport = at::zeros({5, 9}, at::kDouble);
  for (const size_t level : {0, 2}) {
    transport += pot_score(model.codebooks[level], plain.levels[level], plain.chosen);
  }
  const at::Tensor expected = upsampled(make_map_scoring(3, at::kDouble), 10 * transport.view({5, 3, 3}));
  EXPECT_CLOSE(both.map - plain.map, expected, 1e-9);
  EXPECT_CLOSE(both.scores.mean, both.map.mean({1, 2}), 1e-12);
  EXPECT_EQ(both.map.sizes(), (std::vector<int64_t>{5, 48, 48}));
  EXPECT_EQ(plain.chosen[3].item<int64_t>(), plain.predicted[3].item<int64_t>());
  EXPECT_TRUE(at::equal(plain.chosen.index_select(0, at::tensor({0, 1, 2, 4}, at::kLong)),
                        at::tensor({0, 1, 2, 1}, at::kLong)));
  EXPECT_FALSE(both.map.requires_grad());

  spec.eval.pot_levels = {};
  const Scored finest = score(model, spec.eval, h0, labels);
  spec.eval.pot_levels = {2};
  EXPECT_TRUE(at::equal(finest.map, score(model, spec.eval, h0, labels).map));
}

class EvaluateDefects : public Evaluate {
 protected:
  EvaluateDefects() { features = made_up_defects(70, at::kDouble); }

  std::vector<int64_t> images_of(int64_t class_index) const {
    std::vector<int64_t> images;
    for (size_t i = 0; i < 70; ++i) {
      if (features.test_class[i] == class_index) images.push_back(static_cast<int64_t>(i));
    }
    return images;
  }
};

TEST_F(EvaluateDefects, IsPerClassWhatTheDefinitionsSay) {
  const auto found = metrics();
  const std::vector<std::string> names = {"a_b", "T-shirt_top", "screw"};
  for (size_t c = 0; c < 3; ++c) {
    const std::vector<int64_t> images = images_of(static_cast<int64_t>(c));
    const at::Tensor h0 = tokens_of(features.test, at::tensor(images, at::kLong));
    const Scored scored = score(model, spec.eval, h0, at::full({h0.size(0)}, -1, at::kLong));
    const at::Tensor maps = scored.map.to(at::kFloat).contiguous(), scores = scored.scores.max.to(at::kFloat);
    std::vector<uint8_t> anomalous;
    PixelScores pixels;
    for (size_t i = 0; i < images.size(); ++i) {
      anomalous.push_back(features.test_anomalous[static_cast<size_t>(images[i])]);
      const at::Tensor mask = anomalous.back() ? features.test_mask(images[i]).value() : at::zeros({48, 48}, at::kByte);
      ASSERT_TRUE(pixels.add({maps.const_data_ptr<float>() + i * 48 * 48, 48 * 48},
                             {mask.const_data_ptr<uint8_t>(), 48 * 48}, 48, 48));
    }
    const Ranking whole = ranking({scores.const_data_ptr<float>(), images.size()}, anomalous).value();
    const PixelMetrics local = pixels.compute().value().value();
    EXPECT_NEAR(found.at("auroc/" + names[c]), whole.auroc, 1e-6);
    EXPECT_NEAR(found.at("ap/" + names[c]), whole.average_precision, 1e-6);
    EXPECT_NEAR(found.at("f1_max/" + names[c]), whole.f1_max, 1e-6);
    EXPECT_NEAR(found.at("pixel_auroc/" + names[c]), local.ranking.auroc, 1e-6);
    EXPECT_NEAR(found.at("pixel_ap/" + names[c]), local.ranking.average_precision, 1e-6);
    EXPECT_NEAR(found.at("pixel_f1_max/" + names[c]), local.ranking.f1_max, 1e-6);
    EXPECT_NEAR(found.at("pro/" + names[c]), local.area_under_pro, 1e-6);
  }
}

TEST_F(EvaluateDefects, WithoutASuffixIsTheMeanOverTheClassesThatHaveBothKinds) {
  const auto found = metrics();
  for (const char* name : {"auroc", "ap", "f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max", "pro"}) {
    const std::string metric = name;
    const double mean =
        (found.at(metric + "/a_b") + found.at(metric + "/T-shirt_top") + found.at(metric + "/screw")) / 3;
    EXPECT_NEAR(found.at(metric), mean, 1e-12) << metric;
    EXPECT_FALSE(found.contains(metric + "/lonely")) << metric;
  }
  EXPECT_DOUBLE_EQ(found.at("auroc"), found.at("auroc_max"));
  EXPECT_TRUE(found.contains("error_normal/lonely") || found.contains("error_anomalous/lonely"));
}

TEST_F(EvaluateDefects, WithoutMasksHasTheSameImageMetrics) {
  const auto with = metrics();
  features.test_mask = nullptr;
  const auto without = metrics();
  EXPECT_FALSE(without.contains("pro") || without.contains("pixel_auroc/screw"));
  for (const auto& [name, value] : without) EXPECT_NEAR(with.at(name), value, 1e-9) << name;
}

TEST_F(EvaluateDefects, AsksForTheMasksOfDefectiveImagesOnly) {
  std::set<int64_t> asked;
  features.test_mask = [&asked, mask = features.test_mask](int64_t i) {
    asked.insert(i);
    return mask(i);
  };
  metrics();
  for (int64_t i = 0; i < 70; ++i) EXPECT_EQ(asked.contains(i), features.test_anomalous[static_cast<size_t>(i)]) << i;
}

TEST_F(EvaluateDefects, TellsWhyAMaskCannotBeUsed) {
  const auto anomalous = std::ranges::find(features.test_anomalous, true) - features.test_anomalous.begin();
  const auto mask = features.test_mask;
  features.test_mask = [&](int64_t i) -> Result<at::Tensor> {
    if (i == anomalous) return error("bottle/ground_truth/x_mask.png is damaged");
    return mask(i);
  };
  EXPECT_EQ(failure(), "bottle/ground_truth/x_mask.png is damaged");
  features.test_mask = [&](int64_t i) -> Result<at::Tensor> {
    return i == anomalous ? at::zeros({48, 47}, at::kByte) : mask(i);
  };
  const std::string name = features.test_name[static_cast<size_t>(anomalous)];
  EXPECT_EQ(failure(), "the mask of test image `" + name + "` has the shape 48 × 47, but its anomaly map is 48 × 48");
}

TEST(MetricNames, HoldNothingThatHarmsAndAllDiffer) {
  EXPECT_EQ(metric_names({"T-shirt/top", "metal nut", "pcb1", "", "ü"}),
            (std::vector<std::string>{"T-shirt_top", "metal_nut", "pcb1", "_", "__"}));
  EXPECT_EQ(metric_names({"a b", "a_b", "a/b", "a_b_2"}),
            (std::vector<std::string>{"a_b", "a_b_1", "a_b_2", "a_b_2_3"}));
  const std::vector<std::string> cut = metric_names({std::string(300, 'x'), std::string(400, 'x')});
  EXPECT_EQ(cut[0].size(), 64u);
  EXPECT_NE(cut[0], cut[1]);
  EXPECT_LE(("confusion/" + cut[0] + "/" + cut[1]).size(), 200u);
}

}  // namespace
}  // namespace hivq
