#include "worker/figures/test_pictures.h"

#include <numeric>
#include <set>

#include "tests/worker/eval_fixture.h"
#include "tests/worker/trial_fixture.h"
#include "worker/data/image_file.h"
#include "worker/eval/evaluate.h"
#include "worker/eval/score.h"

namespace hivq {
namespace {

using Images = std::vector<int64_t>;

TEST(TypicalImages, LieInTheMiddleByTheirScores) {
  const std::vector<float> scores = {9, 1, 5, 3, 7, 100};
  EXPECT_EQ(typical_images(Images{0, 1, 2, 3, 4}, scores, 1), Images{2});
  EXPECT_EQ(typical_images(Images{0, 1, 2, 3, 4}, scores, 3), (Images{3, 2, 4}));
  EXPECT_EQ(typical_images(Images{1, 3}, scores, 1), Images{3}) << "the upper of two";
  EXPECT_EQ(typical_images(Images{0, 1, 2, 3}, scores, 2), (Images{3, 2}));
  EXPECT_EQ(typical_images(Images{5, 1}, scores, 4), (Images{1, 5}));
  EXPECT_EQ(typical_images(Images{}, scores, 4), Images{});
}

class TestPictures : public testing::Test {
 protected:
  FeatureSet features = with_images(made_up_defects(170, at::kFloat));
  TrialSpec spec = small_trial();
  Model model = make_model(spec.model, {6, 3, 3}, 4, at::kFloat);
  std::unique_ptr<Collective> single = make_single_collective();

  static FeatureSet with_images(FeatureSet set) {
    set.test_image = [](int64_t i) -> Result<at::Tensor> {
      return at::full({60, 40, 3}, i, at::kByte);  // not square
    };
    return set;
  }
  std::vector<PictureItem> pictures() {
    const Evaluation found = evaluate(model, spec, features, *single).value();
    return test_pictures(model, spec.eval, features, found.scores, 12).value();
  }
  static at::Tensor pixels(const std::string& png) { return decode_image(png, "a picture").value(); }
  /// A grey PNG as [H, W].
  static at::Tensor grey(const std::string& png) { return pixels(png).select(2, 0); }
  int64_t image_of(const PictureItem& picture) const {
    return std::ranges::find(features.test_name, picture.name) - features.test_name.begin();
  }
};

TEST_F(TestPictures, AreTheImagesOfMedianScoreOfEachClassAndKind) {
  const TestScores found = evaluate(model, spec, features, *single).value().scores;
  const std::vector<PictureItem> shown = pictures();
  ASSERT_EQ(shown.size(), 7u) << "three classes of two kinds, and one image of a class of its own";
  std::set<std::pair<std::string, bool>> kinds;
  for (size_t i = 0; i < shown.size(); ++i) {
    const PictureItem& picture = shown[i];
    EXPECT_EQ(picture.number, i);
    EXPECT_EQ(picture.step, 12);
    kinds.emplace(picture.class_name, picture.anomalous);
    const auto image = static_cast<size_t>(image_of(picture));
    ASSERT_LT(image, features.test_name.size());
    EXPECT_EQ(picture.class_name, features.class_names[static_cast<size_t>(features.test_class[image])]);
    EXPECT_EQ(picture.anomalous, features.test_anomalous[image]);
    EXPECT_EQ(picture.score, found.max[image]);
    int64_t below = 0, above = 0;
    for (size_t other = 0; other < found.max.size(); ++other) {
      if (features.test_class[other] != features.test_class[image]) continue;
      if (features.test_anomalous[other] != picture.anomalous) continue;
      below += found.max[other] < picture.score;
      above += found.max[other] > picture.score;
    }
    EXPECT_LE(std::abs(below - above), 1) << picture.name;
  }
  EXPECT_EQ(kinds.size(), 7u);
  EXPECT_EQ(shown[0].class_name, "a b") << "in the order of the classes, the normal one first";
  EXPECT_FALSE(shown[0].anomalous);
  EXPECT_TRUE(shown[1].anomalous);
}

TEST_F(TestPictures, HaveTheMapThatTheEvaluationSawOnTheScaleOfAllMaps) {
  spec.eval.pot = 3;
  at::Tensor all;
  {
    const at::NoGradGuard no_gradients;
    Images every(170);
    std::iota(every.begin(), every.end(), 0);
    all = score(model, spec.eval, tokens_of(features.test, at::tensor(every)),
                at::tensor(trained_class_of_test(features)))
              .map;
  }
  const double low = all.min().item<double>(), high = all.max().item<double>();
  for (const PictureItem& picture : pictures()) {
    EXPECT_NEAR(picture.map_low, low, 1e-5);
    EXPECT_NEAR(picture.map_high, high, 1e-5 * high);
    const at::Tensor expected = ((all[image_of(picture)] - low) / (high - low)).mul(255);
    const at::Tensor shown = grey(picture.map).to(at::kFloat);
    ASSERT_EQ(shown.sizes(), expected.sizes());
    EXPECT_LE((shown - expected).abs().max().item<double>(), 0.51) << picture.name;
  }
}

TEST_F(TestPictures, HaveTheirImageAndWhereItIsDefective) {
  for (const PictureItem& picture : pictures()) {
    const int64_t image = image_of(picture);
    const at::Tensor shown = pixels(picture.image);
    EXPECT_EQ(shown.sizes(), (std::vector<int64_t>{48, 48, 3})) << "as the backbone sees it";
    EXPECT_TRUE(shown.eq(image).all().item<bool>());
    ASSERT_EQ(picture.truth.empty(), !picture.anomalous);
    if (picture.anomalous) {
      EXPECT_TRUE(at::equal(grey(picture.truth), features.test_mask(image).value() * 255));
    }
  }
}

TEST_F(TestPictures, LargeOnesShrinkAndKeepThinDefects) {
  torch::manual_seed(3);
  features.test = at::randn({170, 6, 20, 20});  // maps of 320 × 320
  features.test_mask = [](int64_t) -> Result<at::Tensor> {
    at::Tensor mask = at::zeros({320, 320}, at::kByte);
    mask.select(1, 101).fill_(1);
    return mask;
  };
  model = make_model(spec.model, {6, 20, 3}, 4, at::kFloat);
  for (const PictureItem& picture : pictures()) {
    EXPECT_EQ(pixels(picture.image).size(0), 256);
    EXPECT_EQ(grey(picture.map).size(1), 256);
    if (picture.truth.empty()) continue;
    const at::Tensor columns = grey(picture.truth).eq(255).all(0);
    EXPECT_EQ(columns.size(0), 256);
    EXPECT_GE(columns.sum().item<int64_t>(), 1) << "a line of one pixel of 320";
  }
}

TEST_F(TestPictures, AreAsManyAsAskedForAndNeverTooMany) {
  spec.eval.pictures = 3;
  EXPECT_EQ(pictures().size(), 3u * 6 + 1);
  spec.eval.pictures = 16;
  EXPECT_EQ(pictures().size(), 9u * 6 + 1) << "64 for 7 kinds: 9 of each";
  spec.eval.pictures = 0;
  EXPECT_TRUE(pictures().empty());
  spec.eval.pictures = 1;
  features.test_mask = nullptr;
  for (const PictureItem& picture : pictures()) EXPECT_TRUE(picture.truth.empty());
  features.test_image = nullptr;
  EXPECT_TRUE(pictures().empty());
}

TEST(ShownImages, OfMoreClassesThanPicturesAreThoseOfTheFirst) {
  FeatureSet features;
  for (int64_t i = 0; i < 200; ++i) {
    features.class_names.push_back(fmt::format("class{}", i / 2));
    features.test_class.push_back(i / 2);
    features.test_anomalous.push_back(i % 2 == 1);
  }
  const Images shown = shown_images(features, std::vector<float>(200, 1), 1);
  ASSERT_EQ(shown.size(), 64u);
  EXPECT_EQ(shown.back(), 63);
}

// ---- Of trials ----

class PicturesOfTrials : public TestPictures {
 protected:
  std::vector<Record> run(const std::vector<TrialSpec>& specs, const std::string& checkpoint = {}) {
    std::vector<Record> records(specs.size());
    std::vector<TrialRun> runs;
    for (size_t i = 0; i < specs.size(); ++i) runs.push_back(run_of(specs[i], records[i].hooks({}), checkpoint));
    const auto outcomes = run_trials(runs, features, *single).value();
    for (size_t i = 0; i < specs.size(); ++i) records[i].outcome = outcomes[i];
    return records;
  }
  static std::vector<std::string> maps(const Record& record) {
    std::vector<std::string> maps;
    for (const PictureItem& picture : record.pictures) maps.push_back(picture.map);
    return maps;
  }
};

TEST_F(PicturesOfTrials, ComeOnceAfterTheLastEvaluation) {
  const Record record = run({spec})[0];
  ASSERT_EQ(record.outcome.end, TrialOutcome::End::finished) << record.outcome.reason;
  EXPECT_EQ(record.curve("auroc").size(), 3u);
  ASSERT_EQ(record.pictures.size(), 7u);
  EXPECT_TRUE(record.warnings.empty());
  const int64_t last = record.metrics.back().first;
  for (const PictureItem& picture : record.pictures) EXPECT_EQ(picture.step, last);
  // A trial that lost its gang after its last checkpoint shows the same.
  EXPECT_EQ(maps(run({spec}, record.checkpoints.at(last))[0]), maps(record));
}

TEST_F(PicturesOfTrials, OfAPackAreThoseOfEachTrial) {
  std::vector<TrialSpec> specs(3, spec);
  specs[1].train.seed = 5, specs[1].eval.pictures = 2;
  specs[2].eval.pictures = 0;
  const std::vector<Record> records = run(specs);
  EXPECT_EQ(records[0].pictures.size(), 7u);
  EXPECT_EQ(records[1].pictures.size(), 13u);
  EXPECT_TRUE(records[2].pictures.empty());
  const Record alone = run({specs[0]})[0];
  for (size_t i = 0; i < 7; ++i) {
    EXPECT_EQ(records[0].pictures[i].name, alone.pictures[i].name);
    const at::Tensor difference =
        grey(records[0].pictures[i].map).to(at::kInt) - grey(alone.pictures[i].map).to(at::kInt);
    EXPECT_LE(difference.abs().max().item<int>(), 1) << "but for rounding";
  }
}

TEST_F(PicturesOfTrials, ThatCannotBeMadeAreAWarningAndNoFailure) {
  features.test_image = [](int64_t i) -> Result<at::Tensor> { return error("image {} is damaged", i); };
  const Record record = run({spec})[0];
  EXPECT_EQ(record.outcome.end, TrialOutcome::End::finished);
  EXPECT_TRUE(record.pictures.empty());
  ASSERT_EQ(record.warnings.size(), 1u);
  EXPECT_TRUE(record.warnings[0].starts_with("no pictures of test images: image ")) << record.warnings[0];
  EXPECT_TRUE(record.outcome.final_.contains("auroc"));
}

}  // namespace
}  // namespace hivq
