// From photos of textures to a model that finds their defects, and out of hivq again: every command of the way.

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/e2e/harness.h"

namespace hivq::e2e {
namespace {

namespace fs = std::filesystem;

constexpr const char* kJob = R"(
name: tiny-textures
data: {name: mvtec, path: PATH, image_size: 64, train_per_class: 12}
model: {width: 32, layers: 2, heads: 2, feed_forward: 64, quantizer: {prototypes: 32, start: k-means++, revive_below: 0.05}}
train: {epochs: 6, batch_size: 8, lr: 2.0e-3, eval_every: 3, checkpoint_every: 6}
gang: {ranks: 2}
)";

struct Science : testing::Test {
  Workspace space;
  std::string textures = space.path("textures"), data = space.path("data");

  std::string must(std::vector<std::string> command, int seconds = 120) {
    command.insert(command.begin(), program("hivq"));
    const auto ended = space.run(command, seconds);
    EXPECT_EQ(ended.code, 0) << command[1] << ": " << ended.output;
    return ended.output;
  }
  double metric(const nlohmann::json& metrics, const std::string& name) {
    EXPECT_TRUE(metrics.contains(name)) << name << " in " << metrics.dump();
    return metrics.value(name, -1.0);
  }
};

TEST_F(Science, FromPhotosToFiguresPredictionsAndExports) {
  must({"make-textures", textures, "--crop", "96", "--train", "12", "--test-good", "4", "--test-per-defect", "2"});
  std::string job = kJob;
  job.replace(job.find("PATH"), 4, textures);
  const std::string spec = space.write("textures.yaml", job);
  must({"run", spec, "--data", data}, 240);

  const auto shown = nlohmann::json::parse(must({"show", "1/0", "--data", data, "--json"}));
  const nlohmann::json& final = shown["final"];
  for (const char* name : {"auroc", "pixel_auroc", "pro", "ap", "f1_max", "auroc/brick", "pixel_auroc/grass",
                           "pro/gravel", "error_normal/brick", "error_anomalous/brick", "classifier_accuracy"}) {
    const double value = metric(final, name);
    EXPECT_GT(value, 0) << name;
    if (!std::string(name).starts_with("error")) {
      EXPECT_LE(value, 1) << name;
    }
  }
  EXPECT_GT(metric(final, "pixel_auroc"), metric(shown["initial"], "pixel_auroc")) << "training finds defects";

  must({"figures", "1/0", "--data", data, "--out", space.path("figures"), "--steps", "20"});
  for (const char* figure : {"figure1.png", "figure2.png"}) {
    EXPECT_GT(fs::file_size(space.path(std::string("figures/") + figure)), 2000u) << figure;
  }

  const std::string model = space.path("model.safetensors");
  must({"export", "1/0", "--data", data, "--out", model});
  must({"export", "1/0", "--data", data, "--out", space.path("model.pt"), "--format", "torchscript"});
  EXPECT_GT(fs::file_size(space.path("model.pt")), 100'000u);

  std::string image;
  for (const auto& entry : fs::recursive_directory_iterator(textures + "/brick/test")) {
    if (entry.is_regular_file() && entry.path().parent_path().filename() != "good") image = entry.path().string();
  }
  must({"predict", "--model", model, "--out", space.path("predictions"), image});
  const auto scores = nlohmann::json::parse(read_text(space.path("predictions/scores.json")));
  EXPECT_EQ(scores["images"][0]["image"], image);
  const std::string overlay = scores["images"][0]["overlay"];
  EXPECT_TRUE(fs::exists(space.path("predictions/" + overlay)));

  const auto again = nlohmann::json::parse(must({"evaluate", "--model", model, "--json"}));
  EXPECT_NEAR(metric(again, "pixel_auroc"), metric(final, "pixel_auroc"), 1e-4) << "the exported model is the trial's";
  EXPECT_NEAR(metric(again, "pro"), metric(final, "pro"), 1e-3);
  const auto some = nlohmann::json::parse(
      must({"evaluate", "--model", model, spec, "--set", "data.classes=[grass, gravel]", "--json"}));
  EXPECT_NEAR(metric(some, "pixel_auroc/grass"), metric(final, "pixel_auroc/grass"), 1e-4);
  EXPECT_FALSE(some.contains("pixel_auroc/brick"));
}

TEST_F(Science, SaysWhatIsWrongWithTheData) {
  must({"make-textures", textures, "--crop", "96", "--train", "4", "--test-good", "2", "--test-per-defect", "1"});
  std::string job = kJob;
  job.replace(job.find("PATH"), 4, textures);
  const std::string spec = space.write("textures.yaml", job);
  const auto failing = [&] {
    const auto ended =
        space.run({program("hivq"), "run", spec, "--data", space.path("failing"), "--set", "train.epochs=1"}, 120);
    EXPECT_NE(ended.code, 0);
    return ended.output;
  };
  space.write("textures/brick/train/good/broken.png", "no image");
  EXPECT_NE(failing().find("broken.png"), std::string::npos);
  fs::remove(textures + "/brick/train/good/broken.png");
  fs::remove_all(textures + "/grass/train/good");
  const std::string output = failing();
  EXPECT_NE(output.find("grass"), std::string::npos) << output;
}

}  // namespace
}  // namespace hivq::e2e
