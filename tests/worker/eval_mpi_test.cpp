// Evaluation on the whole gang gives what it gives on one rank: not nearly, but the same bits.

#include "tests/worker/eval_fixture.h"
#include "tests/worker/trial_fixture.h"
#include "worker/eval/evaluate.h"

namespace hivq {
namespace {

class EvaluateOnRanks : public testing::Test {
 protected:
  FeatureSet features = made_up_defects(170, at::kFloat);
  TrialSpec spec = small_trial();
  Model model = make_model(spec.model, {6, 3, 3}, 4, at::kFloat);
  std::unique_ptr<Collective> gang = make_mpi_collective(), alone = make_single_collective();

  void expect_equal() {
    const Evaluation shared = evaluate(model, spec, features, *gang).value();
    const Evaluation whole = evaluate(model, spec, features, *alone).value();
    EXPECT_EQ(shared.failure, whole.failure);
    EXPECT_EQ(shared.metrics, whole.metrics);
  }
  /// The failure, which every rank must tell in the same words.
  std::string failure() {
    const Evaluation found = evaluate(model, spec, features, *gang).value();
    EXPECT_TRUE(found.metrics.empty());
    at::Tensor hash = at::full({1}, static_cast<int64_t>(std::hash<std::string>()(found.failure)), at::kLong);
    const int64_t mine = hash.item<int64_t>();
    EXPECT_TRUE(gang->broadcast(hash));
    EXPECT_EQ(hash.item<int64_t>(), mine) << found.failure;
    return found.failure;
  }
};

TEST_F(EvaluateOnRanks, WithMasks) {
  expect_equal();
  EXPECT_TRUE(evaluate(model, spec, features, *gang).value().metrics.contains("pro/screw"));
}

TEST_F(EvaluateOnRanks, WithoutMasks) {
  features.test_mask = nullptr;
  expect_equal();
  features.protocol = Protocol::many_class;
  expect_equal();
}

TEST_F(EvaluateOnRanks, WithFewerImagesThanRanks) {
  features = made_up_features(12, 1, 3, at::kFloat);
  expect_equal();
}

TEST_F(EvaluateOnRanks, ReadsEachMaskOnOneRank) {
  at::Tensor asked = at::zeros({170});
  features.test_mask = [&asked, mask = features.test_mask](int64_t i) {
    asked[i] += 1;
    return mask(i);
  };
  ASSERT_TRUE(evaluate(model, spec, features, *gang));
  ASSERT_TRUE(gang->all_reduce_sum(asked));
  const std::vector<float> expected(features.test_anomalous.begin(), features.test_anomalous.end());
  EXPECT_TRUE(at::equal(asked, at::tensor(expected)));
}

TEST_F(EvaluateOnRanks, EveryRankTellsWhyOneOfThemFailed) {
  features.test_mask = [&, mask = features.test_mask](int64_t i) -> Result<at::Tensor> {
    if (features.test_class[static_cast<size_t>(i)] == 2) return error("screw/ground_truth/ü_mask.png is damaged");
    return mask(i);
  };
  EXPECT_EQ(failure(), "screw/ground_truth/ü_mask.png is damaged");
}

TEST_F(EvaluateOnRanks, EveryRankTellsOfItsOwnFailureOrTheFirstRanks) {
  features.test_mask = [&](int64_t i) -> Result<at::Tensor> {
    return error("the mask of class {} is damaged", features.test_class[static_cast<size_t>(i)]);
  };
  EXPECT_NE(failure().find("is damaged"), std::string::npos);
}

TEST_F(EvaluateOnRanks, EveryRankNamesTheFirstImageThatIsNotFinite) {
  features.test[160][2][1][1] = features.test[50][2][1][1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(failure().find("/test/050.png` are not finite"), std::string::npos);
}

TEST_F(EvaluateOnRanks, ADamagedMaskFailsTheTrialAndNotTheGang) {
  features.test_mask = [](int64_t) -> Result<at::Tensor> { return error("the mask is damaged"); };
  const auto outcome = run_alone(spec, features, *gang, {}, {});
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->end, TrialOutcome::End::failed);
  EXPECT_EQ(outcome->reason, "the mask is damaged");
}

}  // namespace
}  // namespace hivq
