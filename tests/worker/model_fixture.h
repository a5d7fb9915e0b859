#pragma once

// What the tests of the model share: golden values, and small data made up from a seed.

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "worker/data/safetensors.h"
#include "worker/train/checkpoint.h"
#include "worker/train/step.h"

namespace hivq {

/// One case of golden/model.safetensors (make_model_golden.py): the reference's tensors and the trial that they are of.
struct GoldenCase {
  std::map<std::string, at::Tensor> tensors;
  TrialSpec spec;
  InputShape input;

  const at::Tensor& operator[](const std::string& name) const {
    const auto found = tensors.find(name);
    if (found == tensors.end()) panic("golden/model.safetensors has no " + name);
    return found->second;
  }
  Batch batch() const {
    const at::Tensor& classes = (*this)["classes"];
    const int64_t* begin = classes.const_data_ptr<int64_t>();
    return {(*this)["h0"], classes, 0, {begin, begin + classes.numel()}};
  }
  /// Training whose parameters and codebooks are the reference's before its step.
  Training training() const {
    Training made = make_training(std::span(&spec, 1), input, at::kDouble);
    std::vector<NamedTensor> state = named_parameters(made.model);
    for (const NamedTensor& buffer : named_codebooks(made.model)) state.push_back(buffer);
    for (const NamedTensor& target : state) target.tensor.copy_((*this)["before." + target.name]);
    for (Codebook& codebook : made.model.codebooks) refresh(codebook);
    return made;
  }
};

inline GoldenCase golden_case(const std::string& name) {
  const SafeTensors file = load_safetensors(HIVQ_SOURCE_DIR "/tests/worker/golden/model.safetensors").value();
  GoldenCase golden;
  for (const auto& [key, tensor] : file.tensors) {
    if (key.starts_with(name + ".")) golden.tensors[key.substr(name.size() + 1)] = tensor;
  }
  const bool full = name == "full";
  golden.input = {5, 2, 3};
  ModelSpec& model = golden.spec.model;
  model.width = 4, model.heads = 2, model.feed_forward = 6, model.layers = 2, model.dropout = 0;
  model.expert_switching = full;
  model.quantizer.hierarchical = full, model.quantizer.codebook_switching = full;
  model.quantizer.prototypes = 4, model.quantizer.decay = 0.9;
  golden.spec.loss = {0.5, full ? 0.01 : 0.0, 0.7};
  golden.spec.train.lr = 1e-3, golden.spec.train.weight_decay = 1e-2, golden.spec.train.clip = 0.1;
  return golden;
}

/// A step of one trial.
inline Result<StepReport> step_alone(Training& training, const TrialSpec& spec, const Batch& batch, double lr,
                                     Collective& collective, Wish wish = Wish::go_on) {
  const StepSetting setting{lr, wish};
  auto reports = train_step(training, std::span(&spec, 1), batch, std::span(&setting, 1), collective);
  if (!reports) return reports.error();
  return (*reports)[0];
}

inline std::string save_checkpoint(const Training& training, const TrialSpec& spec, const FeatureSet& features) {
  return write_checkpoint(take_snapshot(training, spec, features));
}

/// The greatest difference, relative to the greatest value (or to 1).
inline double deviation(const at::Tensor& value, const at::Tensor& expected) {
  if (value.sizes() != expected.sizes()) return std::numeric_limits<double>::infinity();
  if (value.numel() == 0) return 0;
  const double scale = std::max(1.0, expected.abs().max().item<double>());
  return (value.to(at::kDouble) - expected.to(at::kDouble)).abs().max().item<double>() / scale;
}
#define EXPECT_CLOSE(value, expected, tolerance) EXPECT_LE(hivq::deviation(value, expected), tolerance)

/// Features of made-up images: a class is a direction, plus noise; the last class is anomalous and never trained on.
inline FeatureSet made_up_features(int64_t train, int64_t test, int64_t classes, at::ScalarType type,
                                   uint64_t seed = 1) {
  torch::manual_seed(seed);
  constexpr int64_t kChannels = 6, kGrid = 3;
  const auto options = at::TensorOptions(type);
  const at::Tensor direction = 2 * at::randn({classes + 1, kChannels, kGrid, kGrid}, options);
  FeatureSet set;
  const auto draw = [&](int64_t count, int64_t kinds, std::vector<int64_t>& labels) {
    for (int64_t i = 0; i < count; ++i) labels.push_back((i * 7 + i / 3) % kinds);
    const at::Tensor noise = at::randn({count, kChannels, kGrid, kGrid}, options);
    return (direction.index_select(0, at::tensor(labels, at::kLong)) + noise).contiguous();
  };
  set.train = draw(train, classes, set.train_class);
  set.test = draw(test, classes + 1, set.test_class);
  for (const int64_t label : set.test_class) set.test_anomalous.push_back(label == classes);
  for (int64_t c = 0; c <= classes; ++c) set.class_names.push_back(fmt::format("class{}", c));
  for (int64_t c = 0; c < classes; ++c) set.trained_classes.push_back(c);
  return set;
}

/// A trial that takes milliseconds a step.
inline TrialSpec small_trial() {
  TrialSpec spec;
  spec.model.width = 8, spec.model.heads = 2, spec.model.feed_forward = 12, spec.model.layers = 2;
  spec.model.dropout = 0.2, spec.model.quantizer.prototypes = 5;
  spec.loss.pot = 0.01;
  spec.train.epochs = 3, spec.train.batch_size = 7, spec.train.lr = 3e-3, spec.train.lr_drop_epoch = 2;
  spec.train.eval_every = 1, spec.train.checkpoint_every = 1;
  return spec;
}

}  // namespace hivq
