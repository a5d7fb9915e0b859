// The commands that use a trained model, called as hivq-worker calls them.

#include "worker/commands/commands.h"

#include <torch/script.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/worker/model_fixture.h"
#include "worker/commands/places.h"
#include "worker/commands/torchscript.h"
#include "worker/commands/trained.h"
#include "worker/data/file.h"
#include "worker/data/image_file.h"
#include "worker/data/preprocess.h"
#include "worker/eval/score.h"

namespace hivq {
namespace {

class Commands : public testing::Test {
 protected:
  std::string folder = testing::TempDir() + fmt::format("/hivq_commands_{}", ::getpid());
  std::string model = folder + "/model.safetensors";
  TrainedModel trained;

  void SetUp() override {
    std::filesystem::create_directories(folder);
    make("predicted");
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  /// A model with random parameters for 64-pixel images and EfficientNet-Lite0's 192 channels.
  void make(const std::string& switch_by) {
    trained.spec.data.image_size = 64;
    trained.spec.model.width = 16, trained.spec.model.heads = 2, trained.spec.model.feed_forward = 24;
    trained.spec.model.layers = 2, trained.spec.model.quantizer.prototypes = 6;
    trained.spec.model.switch_by = switch_by;
    trained.spec.loss.classification = switch_by == "label" ? 0 : 1;
    trained.spec.eval.score = "mean";
    trained.classes = {"nut", "pill"};
    trained.model = make_model(trained.spec.model, {192, 4, 2}, 5, at::kFloat);
    freeze(trained.model);
    ASSERT_TRUE(save_model(model, trained));
  }
  std::string image(const std::string& name, int64_t height, int64_t width) {
    const std::string path = folder + "/" + name;
    torch::manual_seed(static_cast<uint64_t>(height));
    EXPECT_TRUE(write_png(path, at::randint(256, {height, width, 3}, at::kLong).to(at::kByte)));
    return path;
  }
  int run(std::vector<std::string> arguments) {
    std::vector<const char*> argv;
    for (const std::string& each : arguments) argv.push_back(each.c_str());
    const auto command =
        std::ranges::find_if(subcommands(), [&](const Subcommand& each) { return each.name == arguments[0]; });
    return run_subcommand(*command, static_cast<int>(argv.size()), argv.data());
  }
  std::string refusal(std::vector<std::string> arguments, int code = 1) {
    testing::internal::CaptureStderr();
    const int ended = run(std::move(arguments));
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_EQ(ended, code) << said;
    return said;
  }
  Scored direct(const std::string& path, int64_t label) {
    const auto backbone = backbone_of(trained, default_places()).value();
    const at::Tensor features =
        extract_features(backbone, preprocess(read_image(path).value(), 64).unsqueeze(0)).flatten(2).transpose(1, 2);
    return score(trained.model, trained.spec.eval, features.contiguous(), at::tensor({label}, at::kLong));
  }
};

TEST_F(Commands, PredictWritesMapOverlayAndScore) {
  const std::string one = image("one.png", 80, 50), two = image("two.png", 64, 64);
  ASSERT_EQ(run({"predict", "--model", model, "--out", folder + "/out", "--raw", one, two}), 0);
  std::ifstream stream(folder + "/out/scores.json");
  const auto scores = nlohmann::json::parse(stream);
  ASSERT_EQ(scores["images"].size(), 2u);
  for (const auto& [name, path] : {std::pair{"one", one}, {"two", two}}) {
    const Scored expected = direct(path, -1);
    const auto& entry = scores["images"][name == std::string("one") ? 0 : 1];
    EXPECT_EQ(entry["image"], path);
    EXPECT_EQ(entry["class"], trained.classes[static_cast<size_t>(expected.chosen[0].item<int64_t>())]);
    EXPECT_NEAR(entry["score"].get<double>(), expected.scores.mean[0].item<double>(), 1e-4);
    EXPECT_NEAR(entry["max"].get<double>(), expected.scores.max[0].item<double>(), 1e-4);
    const std::string start = folder + "/out/" + name;
    EXPECT_EQ(read_image(start + "_map.png").value().sizes(), (std::vector<int64_t>{64, 64, 3}));
    EXPECT_EQ(read_image(start + "_overlay.png").value().sizes(), (std::vector<int64_t>{64, 64, 3}));
    EXPECT_CLOSE(load_safetensors(start + "_map.safetensors").value().tensors.at("map"), expected.map[0], 1e-4);
  }
}

TEST_F(Commands, PredictTakesFoldersAndTellsEqualNamesApart) {
  std::filesystem::create_directories(folder + "/in/a"), std::filesystem::create_directories(folder + "/in/b");
  image("in/a/x.png", 64, 64), image("in/b/x.png", 66, 64);
  ASSERT_EQ(run({"predict", "--model", model, "--out", folder + "/out", folder + "/in"}), 0);
  EXPECT_TRUE(std::filesystem::exists(folder + "/out/x_map.png"));
  EXPECT_TRUE(std::filesystem::exists(folder + "/out/x-2_map.png"));
}

TEST_F(Commands, PredictWithoutAClassifierWantsTheClass) {
  make("label");
  const std::string one = image("one.png", 64, 64);
  EXPECT_EQ(refusal({"predict", "--model", model, one}),
            "hivq: the model has no classifier to tell the class of an image; name it: --class nut | pill\n");
  EXPECT_EQ(refusal({"predict", "--model", model, "--class", "nuts", one}),
            "hivq: --class is `nuts`; the model's classes are: nut, pill\n");
  ASSERT_EQ(run({"predict", "--model", model, "--class", "pill", "--out", folder + "/out", one}), 0);
  std::ifstream stream(folder + "/out/scores.json");
  EXPECT_EQ(nlohmann::json::parse(stream)["images"][0]["class"], "pill");
}

TEST_F(Commands, PredictTakesTheGivenClassWhateverTheClassifierSays) {
  const std::string one = image("one.png", 64, 64);
  for (const std::string name : {"nut", "pill"}) {
    ASSERT_EQ(run({"predict", "--model", model, "--class", name, "--out", folder + "/out", one}), 0);
    std::ifstream stream(folder + "/out/scores.json");
    EXPECT_EQ(nlohmann::json::parse(stream)["images"][0]["class"], name);
  }
}

TEST_F(Commands, PredictNamesWhatItCannotRead) {
  EXPECT_EQ(refusal({"predict", "--model", model, folder + "/none.png"}),
            fmt::format("hivq: {}/none.png does not exist; give image files or folders of them\n", folder));
  ASSERT_TRUE(write_file(folder + "/bad.png", "no image"));
  EXPECT_NE(refusal({"predict", "--model", model, folder + "/bad.png"}).find("bad.png"), std::string::npos);
  EXPECT_NE(refusal({"predict", "--model", folder + "/bad.png", image("one.png", 64, 64)}).find("bad.png"),
            std::string::npos);
  EXPECT_NE(refusal({"predict"}, 2).find("hivq-worker predict --help"), std::string::npos);
}

TEST_F(Commands, ExportedTorchScriptGivesTheModelsAnswersForAnyBatch) {
  for (const std::string switch_by : {"predicted", "label"}) {
    make(switch_by);
    const std::string out = folder + "/model.pt";
    ASSERT_EQ(run({"export", "--checkpoint", model, "--out", out, "--format", "torchscript"}), 0);
    torch::jit::Module program = torch::jit::load(out);
    for (const int64_t batch : {1, 2, 5}) {
      const at::Tensor images = at::rand({batch, 3, 64, 64}), label = at::ones({batch}, at::kLong);
      std::vector<c10::IValue> inputs = {images};
      if (switch_by == "label") inputs.emplace_back(label);
      const c10::NoGradGuard no_gradients;
      const auto result = program.forward(inputs).toTuple();
      const auto backbone = backbone_of(trained, default_places()).value();
      const at::Tensor h0 = extract_features(backbone, normalised(images)).flatten(2).transpose(1, 2);
      const Scored expected = score(trained.model, trained.spec.eval, h0, label);
      EXPECT_CLOSE(result->elements()[0].toTensor(), expected.map, 1e-5) << batch;
      EXPECT_CLOSE(result->elements()[1].toTensor(), expected.scores.mean, 1e-5) << batch;
      EXPECT_TRUE(at::equal(result->elements()[2].toTensor(), expected.chosen)) << batch;
    }
  }
}

TEST_F(Commands, ExportedSafetensorsIsAModelWithoutTheOptimiser) {
  const std::string out = folder + "/small.safetensors";
  ASSERT_EQ(run({"export", "--checkpoint", model, "--out", out}), 0);
  const auto again = load_model(out, at::kFloat);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->spec, trained.spec);
  EXPECT_TRUE(at::equal(again->model.values, trained.model.values));
}

}  // namespace
}  // namespace hivq
