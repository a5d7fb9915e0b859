#include "worker/train/checkpoint.h"

#include "tests/worker/model_fixture.h"

namespace hivq {
namespace {

class Checkpoint : public testing::Test {
 protected:
  FeatureSet features = made_up_features(30, 1, 3, at::kFloat);
  TrialSpec spec = small_trial();
  std::unique_ptr<Collective> single = make_single_collective();

  Training fresh() { return make_training(std::span(&spec, 1), {6, 3, 3}, at::kFloat); }
  /// `steps` batches further in the epoch; the losses.
  std::vector<double> train(Training& training, int64_t steps) {
    std::vector<double> losses;
    for (int64_t i = 0; i < steps; ++i, ++training.batch) {
      const std::vector<int64_t> order = epoch_order(30, 1, training.epoch);
      const auto images = std::span(order).subspan(static_cast<size_t>(7 * training.batch), 7);
      losses.push_back(
          step_alone(training, spec, load_batch(features, images, 0, 1), 1e-3, *single).value().losses.total);
    }
    return losses;
  }
  std::string message(std::string_view bytes, int64_t images = 30) {
    Training training = fresh();
    const Status restored = restore_checkpoint(training, bytes, images);
    return restored ? "no error" : restored.error().message;
  }
};

TEST_F(Checkpoint, ResumedInTheMiddleOfAnEpochIsBitIdentical) {
  Training straight = fresh(), first = fresh(), resumed = fresh();
  const std::vector<double> losses = train(straight, 4);
  const std::vector<double> early = train(first, 2);
  ASSERT_TRUE(restore_checkpoint(resumed, save_checkpoint(first, spec, features), 30));
  EXPECT_EQ(resumed.batch, 2);
  const std::vector<double> late = train(resumed, 2);
  EXPECT_EQ(losses, (std::vector<double>{early[0], early[1], late[0], late[1]}));
  EXPECT_EQ(save_checkpoint(resumed, spec, features), save_checkpoint(straight, spec, features));
}

TEST_F(Checkpoint, HoldsWhatItRestores) {
  Training training = fresh(), restored = fresh();
  train(training, 3);
  const std::string bytes = save_checkpoint(training, spec, features);
  ASSERT_TRUE(restore_checkpoint(restored, bytes, 30));
  EXPECT_TRUE(at::equal(restored.model.values, training.model.values));
  EXPECT_TRUE(at::equal(restored.model.encoder[1].linear1.weight, training.model.encoder[1].linear1.weight));
  EXPECT_TRUE(at::equal(restored.model.codebooks[2].embed, training.model.codebooks[2].embed));
  EXPECT_TRUE(at::equal(restored.optimizer.exp_avg_sq, training.optimizer.exp_avg_sq));
  EXPECT_TRUE(at::equal(restored.use[1], training.use[1]));
  EXPECT_TRUE(at::equal(restored.distance, training.distance));
  EXPECT_EQ(restored.step, 3);
  const SafeTensors file = read_safetensors(bytes, "test").value();
  EXPECT_EQ(file.tensors.at("quantize_list_3.2.embed").sizes(), (std::vector<int64_t>{8, 5}));
  EXPECT_EQ(file.tensors.at("quantize_conv_t.weight").sizes(), (std::vector<int64_t>{8, 6, 1, 1}));
  EXPECT_EQ(file.tensors.at("output_proj_list.1.weight").sizes(), (std::vector<int64_t>{6, 16}));
}

TEST_F(Checkpoint, SaysWhatDoesNotMatch) {
  Training training = fresh();
  const std::string bytes = save_checkpoint(training, spec, features);
  EXPECT_EQ(message(bytes), "no error");
  EXPECT_EQ(message(bytes, 31),
            "the trial's checkpoint comes from 30 training images, but the data has 31; it belongs to another trial: "
            "start this one without it");
  spec.model.width = 16;
  EXPECT_NE(message(bytes).find("has `quantize_conv_t.weight` as Float [8, 6, 1, 1], but the trial's model as Float "
                                "[16, 6, 1, 1]"),
            std::string::npos)
      << message(bytes);
  spec = small_trial();
  spec.model.layers = 3;
  EXPECT_NE(message(bytes).find("has no tensor `encoder.layers.2."), std::string::npos) << message(bytes);
  spec.model.layers = 1;
  EXPECT_NE(message(bytes), "no error");
  spec = small_trial();
  spec.model.quantizer.hierarchical = false;
  EXPECT_NE(message(bytes).find("has `metrics.codebook_distance` as Double [3]"), std::string::npos) << message(bytes);
}

TEST_F(Checkpoint, EveryDamageIsAnError) {
  Training training = fresh();
  const std::string bytes = save_checkpoint(training, spec, features);
  EXPECT_NE(message("").find("too few"), std::string::npos) << message("");
  EXPECT_NE(message("not a checkpoint at all"), "no error");
  for (size_t length = 0; length < bytes.size(); length += bytes.size() / 50) {
    EXPECT_NE(message(bytes.substr(0, length)), "no error") << length;
  }
  EXPECT_NE(message(write_safetensors({})).find("is no `hivq checkpoint 1`"), std::string::npos);
  for (const char* key : {"step", "epoch", "batch", "train_images"}) {
    for (const char* value : {"", "-1", "x", "3.5", "99999999999999999999", "7 "}) {
      SafeTensors file = read_safetensors(bytes, "test").value();
      file.metadata[key] = value;
      std::vector<NamedTensor> tensors;
      for (const auto& [name, tensor] : file.tensors) tensors.push_back({name, tensor});
      EXPECT_NE(message(write_safetensors(tensors, file.metadata)).find(fmt::format("`{}`", key)), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace hivq
