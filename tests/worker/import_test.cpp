#include "worker/model/import.h"

#include <filesystem>

#include "tests/worker/model_fixture.h"
#include "worker/commands/commands.h"
#include "worker/data/state_dict.h"

namespace hivq {
namespace {

/// golden/official.safetensors (make_official_golden.py), split into the files that `hivq-worker forward` takes.
struct Official : testing::Test {
  SafeTensors golden = load_safetensors(HIVQ_SOURCE_DIR "/tests/worker/golden/official.safetensors").value();
  std::string folder = testing::TempDir() + fmt::format("/hivq_import_{}", ::getpid());
  std::string weights = folder + "/weights.safetensors", features = folder + "/features.safetensors",
              out = folder + "/out.safetensors";
  std::map<std::string, at::Tensor> state;

  void SetUp() override {
    std::filesystem::create_directories(folder);
    for (const auto& [name, tensor] : golden.tensors) {
      if (name.starts_with("state.")) state[name.substr(6)] = tensor;
    }
    write_weights();
    write_features(golden.tensors.at("features"), golden.tensors.at("labels"));
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  void write_weights() {
    std::vector<NamedTensor> list;
    for (const auto& [name, tensor] : state) list.push_back({name, tensor});
    ASSERT_TRUE(save_safetensors(weights, list));
  }
  void write_features(const at::Tensor& h0, const at::Tensor& labels) {
    ASSERT_TRUE(save_safetensors(features, std::vector<NamedTensor>{{"features", h0}, {"labels", labels}}));
  }
  int forward(std::string preset = "hvq-trans-official") {
    const std::vector<const char*> argv = {"forward",    "--preset",       preset.c_str(), "--weights", weights.c_str(),
                                           "--features", features.c_str(), "--out",        out.c_str()};
    const auto command =
        std::ranges::find_if(subcommands(), [](const Subcommand& each) { return each.name == std::string("forward"); });
    return run_subcommand(*command, static_cast<int>(argv.size()), argv.data());
  }
  /// What forward says on standard error when it refuses.
  std::string refusal() {
    testing::internal::CaptureStderr();
    const int code = forward();
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_EQ(code, 1) << said;
    return said;
  }
  Result<TrainedModel> import(ImportOptions options = {}) {
    return import_state_dict(load_state_dict(weights).value(), options, "weights", at::kDouble);
  }
};

TEST_F(Official, EvaluationPassIsTheReferences) {
  ASSERT_EQ(forward(), 0);
  const SafeTensors result = load_safetensors(out).value();
  for (const char* name : {"index_4", "index_43", "index_42", "index_41", "index_40"}) {
    EXPECT_TRUE(at::equal(result.tensors.at(name), golden.tensors.at(name))) << name;
  }
  EXPECT_CLOSE(result.tensors.at("recon"), golden.tensors.at("recon"), 1e-10);
  EXPECT_CLOSE(result.tensors.at("score_max"), golden.tensors.at("score_max"), 1e-10);
  const at::Tensor map = result.tensors.at("map");
  EXPECT_EQ(map.sizes(), (std::vector<int64_t>{3, 1, 224, 224}));
  EXPECT_CLOSE(map.slice(2, 0, 224, 7).slice(3, 0, 224, 7), golden.tensors.at("map"), 1e-10);
}

TEST_F(Official, StateDictTellsItsShape) {
  const auto trained = import();
  ASSERT_TRUE(trained) << trained.error().message;
  const ModelSpec& spec = trained->spec.model;
  EXPECT_EQ(spec.width, 16);
  EXPECT_EQ(spec.layers, 4);
  EXPECT_EQ(spec.feed_forward, 24);
  EXPECT_EQ(spec.quantizer.prototypes, 12);
  EXPECT_EQ(trained->model.levels(), 5);
  EXPECT_TRUE(spec.expert_switching && spec.quantizer.codebook_switching);
  EXPECT_EQ(trained->spec.data.image_size, 224);
  EXPECT_EQ(trained->classes, (std::vector<std::string>{"0", "1", "2"}));
  EXPECT_EQ(spec.switch_by, "label");
  EXPECT_FALSE(trained->has_classifier());
  EXPECT_DOUBLE_EQ(trained->spec.loss.commitment, 0.25);
  EXPECT_DOUBLE_EQ(trained->spec.eval.pot, 80);
}

TEST_F(Official, ImportedModelSurvivesItsFile) {
  const auto trained = import({"hvq-trans-official", {"nut", "pill", "a \"b\""}, 8});
  ASSERT_TRUE(trained) << trained.error().message;
  ASSERT_TRUE(save_model(out, *trained));
  const auto again = load_model(out, at::kDouble);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->classes, trained->classes);
  EXPECT_EQ(again->spec, trained->spec);
  EXPECT_TRUE(at::equal(again->model.values, trained->model.values));
  EXPECT_TRUE(at::equal(again->model.codebooks[4].embed, trained->model.codebooks[4].embed));
  EXPECT_TRUE(at::equal(again->model.codebooks[4].squared_norm, trained->model.codebooks[4].squared_norm));
}

TEST_F(Official, RefusesWhatIsNoStateDictOfTheModel) {
  state.erase("module.encoder.layers.2.norm1.weight"), write_weights();
  EXPECT_EQ(import().error().message, "weights has no tensor `encoder.layers.2.norm1.weight`");
  state["module.encoder.layers.2.norm1.weight"] = at::ones({15}, at::kDouble), write_weights();
  EXPECT_EQ(import().error().message,
            "weights has `encoder.layers.2.norm1.weight` as Double [15]; it must be floats [16]");
  state["module.encoder.layers.2.norm1.weight"] = at::ones({16}, at::kDouble);
  state["module.encoder.norm.weight"] = at::ones({16}, at::kDouble), write_weights();
  EXPECT_EQ(
      import().error().message,
      "weights has the tensor `encoder.norm.weight`, which HVQ-Trans with 4 layers, 5 levels and 3 classes has not");
  state.erase("module.encoder.norm.weight"), state.erase("module.quantize_conv_t.weight"), write_weights();
  EXPECT_EQ(import().error().message, "weights has no tensor `quantize_conv_t.weight`");
}

TEST_F(Official, RefusesAnotherNumberOfNames) {
  EXPECT_EQ(import({"hvq-trans-official", {"nut", "pill"}, 8}).error().message,
            "weights has 3 classes, but 2 names are given; give one for each, in the order of their numbers");
}

TEST_F(Official, ForwardNamesANanImage) {
  at::Tensor h0 = golden.tensors.at("features").clone();
  h0[1][2][3][4] = std::numeric_limits<double>::quiet_NaN();
  write_features(h0, golden.tensors.at("labels"));
  EXPECT_EQ(refusal(), fmt::format("hivq: {}: the features of image 1 are not finite (NaN or infinite); compute them "
                                   "again\n",
                                   features));
}

TEST_F(Official, ForwardNamesALabelOutsideTheRange) {
  write_features(golden.tensors.at("features"), at::tensor({0, 3, 1}, at::kLong));
  EXPECT_EQ(refusal(),
            fmt::format("hivq: {}: image 1 has the label 3, but the weights have the classes 0 to 2\n", features));
  write_features(golden.tensors.at("features"), at::tensor({0, 1}, at::kLong));
  EXPECT_EQ(refusal(), fmt::format("hivq: {}: `labels` is Long [2]; it must be whole numbers [3], one for each image\n",
                                   features));
}

TEST_F(Official, ForwardSaysWhichFeaturesTheWeightsWant) {
  write_features(at::zeros({3, 9, 14, 14}), golden.tensors.at("labels"));
  EXPECT_EQ(refusal(), fmt::format("hivq: {}: `features` is Float [3, 9, 14, 14]; the weights want floats [B, 10, 14, "
                                   "14]\n",
                                   features));
}

}  // namespace
}  // namespace hivq
