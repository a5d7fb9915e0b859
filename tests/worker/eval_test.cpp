#include "worker/eval/evaluate.h"

#include "tests/worker/model_fixture.h"
#include "worker/eval/anomaly_map.h"
#include "worker/eval/auroc.h"
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

  std::map<std::string, double> metrics() { return evaluate(model, spec, features, *single).value(); }
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
      spec.model.switch_by = label ? "label" : "predicted";
      spec.eval.pot = pot;
      const at::Tensor h0 = tokens_of(features.test, at::arange(70)), chosen = classes(label);
      Dropout none;
      const Forward out = forward(model, h0, chosen, none);
      at::Tensor map = (out.reconstruction - h0).square().sum(2).sqrt();
      if (pot > 0) map = map + pot * pot_score(model.codebooks[2], out.levels[2].tokens, chosen);
      const ImageScores scores = image_scores(make_map_scoring(3, at::kDouble), map.view({70, 3, 3}));
      const std::vector<uint8_t> anomalous(features.test_anomalous.begin(), features.test_anomalous.end());
      const auto auroc_of = [&](const at::Tensor& values) {
        const at::Tensor floats = values.detach().to(at::kFloat).contiguous();
        return *auroc({floats.const_data_ptr<float>(), 70}, anomalous);
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

TEST_F(Evaluate, ChangesNothing) {
  const at::Tensor values = model.values.clone(), embed = model.codebooks[1].embed.clone();
  metrics();
  EXPECT_TRUE(at::equal(model.values, values));
  EXPECT_TRUE(at::equal(model.codebooks[1].embed, embed));
}

}  // namespace
}  // namespace hivq
