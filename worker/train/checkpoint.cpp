#include "worker/train/checkpoint.h"

#include <torch/torch.h>

#include <charconv>

#include "worker/data/safetensors.h"
#include "worker/model/model_file.h"

namespace hivq {
namespace {

const char* const kFormat = "hivq checkpoint 1";
constexpr std::string_view kOrigin = "the trial's checkpoint";
const char* const kDistance = "metrics.codebook_distance";
const char* const kRemedy = "it belongs to another trial: start this one without it";

/// Every tensor of the state, as views that share its memory.
std::vector<NamedTensor> named_state(const Training& training) {
  std::vector<NamedTensor> state = named_parameters(training.model);
  for (const NamedTensor& buffer : named_codebooks(training.model)) state.push_back(buffer);
  state.push_back({"optimizer.exp_avg", training.optimizer.exp_avg});
  state.push_back({"optimizer.exp_avg_sq", training.optimizer.exp_avg_sq});
  for (size_t level = 0; level < training.use.size(); ++level) {
    state.push_back({fmt::format("metrics.codebook_use.{}", level), training.use[level]});
  }
  state.push_back({kDistance, training.distance[0]});
  return state;
}

/// A count in the metadata, in [0, limit].
Result<int64_t> read_count(const SafeTensors& file, const std::string& key, int64_t limit) {
  const auto found = file.metadata.find(key);
  if (found == file.metadata.end()) return error("{} does not tell its `{}`", kOrigin, key);
  const std::string& text = found->second;
  int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size() || value < 0 || value > limit) {
    return error("{} has `{}` as its `{}`; it must be a count of at most {}", kOrigin, text, key, limit);
  }
  return value;
}

Result<at::Tensor> find_tensor(const SafeTensors& file, const std::string& name, const at::Tensor& like) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end()) return error("{} has no tensor `{}`; {}", kOrigin, name, kRemedy);
  const at::Tensor& tensor = found->second;
  if (tensor.sizes() != like.sizes() || tensor.scalar_type() != like.scalar_type()) {
    return error("{} has `{}` as {} [{}], but the trial's model as {} [{}]; {}", kOrigin, name,
                 c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "),
                 c10::toString(like.scalar_type()), fmt::join(like.sizes(), ", "), kRemedy);
  }
  return tensor;
}

}  // namespace

TrainingSnapshot take_snapshot(const Training& training, const TrialSpec& spec, const FeatureSet& features) {
  TrainingSnapshot snapshot{training.step, named_state(training), {}};
  for (NamedTensor& each : snapshot.tensors)
    each.tensor = each.tensor.detach().to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);
  std::vector<std::string> classes;
  for (const int64_t index : features.trained_classes) {
    classes.push_back(features.class_names[static_cast<size_t>(index)]);
  }
  std::map<std::string, std::string>& metadata = snapshot.metadata;
  metadata = describe_model(spec, classes);
  metadata["format"] = kFormat;
  metadata["step"] = std::to_string(training.step);
  metadata["epoch"] = std::to_string(training.epoch);
  metadata["batch"] = std::to_string(training.batch);
  metadata["train_images"] = std::to_string(features.train.size(0));
  return snapshot;
}

std::string write_checkpoint(const TrainingSnapshot& snapshot) {
  return write_safetensors(snapshot.tensors, snapshot.metadata);
}

Status restore_checkpoint(Training& training, std::string_view bytes, int64_t train_images) {
  const at::NoGradGuard no_grad;
  const Result<SafeTensors> file = read_safetensors(bytes, kOrigin);
  if (!file) return error("{}; start the trial without it", file.error().message);
  const auto format = file->metadata.find("format");
  if (format == file->metadata.end() || format->second != kFormat) {
    return error("{} is no `{}`; start the trial without it", kOrigin, kFormat);
  }
  constexpr int64_t kMost = int64_t{1} << 32;
  const auto images = read_count(*file, "train_images", int64_t{1} << 48);
  const auto step = read_count(*file, "step", kMost), epoch = read_count(*file, "epoch", kMost);
  const auto batch = read_count(*file, "batch", train_images);
  for (const auto* count : {&images, &step, &epoch, &batch}) {
    if (!*count) return count->error();
  }
  if (*images != train_images) {
    return error("{} comes from {} training images, but the data has {}; {}", kOrigin, *images, train_images, kRemedy);
  }

  const std::vector<NamedTensor> state = named_state(training);
  for (const NamedTensor& target : state) {
    const auto source = find_tensor(*file, target.name, target.tensor);
    if (!source) return source.error();
    target.tensor.copy_(*source);
  }
  if (file->tensors.size() != state.size()) {
    return error("{} has {} tensors, but the trial's state has {}; {}", kOrigin, file->tensors.size(), state.size(),
                 kRemedy);
  }
  for (Codebook& codebook : training.model.codebooks) refresh(codebook);
  training.step = *step, training.epoch = *epoch, training.batch = *batch;
  return {};
}

Status warm_start(Model& model, std::string_view bytes) {
  constexpr std::string_view kWarmOrigin = "the checkpoint of train.start_from";
  const Result<SafeTensors> file = read_safetensors(bytes, kWarmOrigin);
  if (!file) return file.error();
  return fill_model(model, file->tensors, kWarmOrigin);
}

}  // namespace hivq
