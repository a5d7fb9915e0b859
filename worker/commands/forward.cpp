// hivq-worker forward: one evaluation pass over given features, for comparison with other implementations.

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "worker/commands/commands.h"
#include "worker/data/state_dict.h"
#include "worker/eval/score.h"
#include "worker/model/import.h"

namespace hivq {
namespace {

struct Options {
  std::string weights, features, out;
  ImportOptions import;
};

struct Input {
  at::Tensor features;  // [B, C, G, G]
  at::Tensor labels;    // [B] int64
};

Status check_features(const at::Tensor& features, const Model& model, const std::string& path) {
  const std::vector<int64_t> wanted = {features.dim() == 4 ? features.size(0) : 0, model.input.channels,
                                       model.input.grid, model.input.grid};
  if (!features.is_floating_point() || features.sizes() != at::IntArrayRef(wanted)) {
    return error("{}: `features` is {} [{}]; the weights want floats [B, {}, {}, {}]", path,
                 c10::toString(features.scalar_type()), fmt::join(features.sizes(), ", "), model.input.channels,
                 model.input.grid, model.input.grid);
  }
  for (int64_t i = 0; i < features.size(0); ++i) {
    if (!features[i].isfinite().all().item<bool>()) {
      return error("{}: the features of image {} are not finite (NaN or infinite); compute them again", path, i);
    }
  }
  return {};
}

Status check_labels(const at::Tensor& labels, int64_t images, int64_t classes, const std::string& path) {
  if (labels.dim() != 1 || labels.size(0) != images || !at::isIntegralType(labels.scalar_type(), false)) {
    return error("{}: `labels` is {} [{}]; it must be whole numbers [{}], one for each image", path,
                 c10::toString(labels.scalar_type()), fmt::join(labels.sizes(), ", "), images);
  }
  for (int64_t i = 0; i < images; ++i) {
    const int64_t label = labels[i].item<int64_t>();
    if (label < 0 || label >= classes) {
      return error("{}: image {} has the label {}, but the weights have the classes 0 to {}", path, i, label,
                   classes - 1);
    }
  }
  return {};
}

Result<Input> read_input(const std::string& path, const TrainedModel& trained, at::ScalarType type) {
  const Result<SafeTensors> file = load_safetensors(path);
  if (!file) return file.error();
  const auto features = file->tensors.find("features"), labels = file->tensors.find("labels");
  if (features == file->tensors.end()) return error("{} has no tensor `features`", path);
  if (Status fit = check_features(features->second, trained.model, path); !fit) return fit.error();
  Input input{features->second.to(type), {}};
  if (labels != file->tensors.end()) {
    const int64_t images = input.features.size(0), classes = trained.model.input.classes;
    if (Status fit = check_labels(labels->second, images, classes, path); !fit) return fit.error();
    input.labels = labels->second.to(at::kLong);
  } else if (trained.has_classifier()) {
    input.labels = at::full({input.features.size(0)}, -1, at::kLong);
  } else {
    return error("{} has no tensor `labels`, and the weights no classifier to tell the classes", path);
  }
  return input;
}

/// The names of the authors' code: index_4 of q4, index_43 of q43 and so on.
std::string index_name(int64_t layers, size_t level) {
  return level == 0 ? fmt::format("index_{}", layers)
                    : fmt::format("index_{}{}", layers, layers - static_cast<int64_t>(level));
}

Result<int> run(const Options& options) {
  const c10::InferenceMode inference;
  const Result<SafeTensors> state = load_state_dict(options.weights);
  if (!state) return state.error();
  // In double, whatever the file's type: codes near a tie are then decided by the values and not by rounding.
  const Result<TrainedModel> trained =
      import_state_dict(*state, options.import, options.weights, at::TensorOptions(at::kDouble));
  if (!trained) return trained.error();
  const Model& model = trained->model;
  const Result<Input> input = read_input(options.features, *trained, at::kDouble);
  if (!input) return input.error();

  const at::Tensor h0 = input->features.flatten(2).transpose(1, 2).contiguous();  // [B, N, C]
  const Scored scored = score(model, trained->spec.eval, h0, input->labels);

  const at::ScalarType type = state->tensors.at("quantize_conv_t.weight").scalar_type();
  std::vector<NamedTensor> result = {
      {"recon", scored.reconstruction.transpose(1, 2).reshape(input->features.sizes()).to(type)},
      {"map", scored.map.unsqueeze(1).to(type)},
      {"score_max", scored.scores.max.to(type)},
      {"score_mean", scored.scores.mean.to(type)},
      {"score_std", scored.scores.std.to(type)},
      {"labels", scored.chosen}};
  for (size_t level = 0; level < scored.levels.size(); ++level) {
    result.push_back({index_name(model.spec.layers, level), scored.levels[level].code});
  }
  if (Status saved = save_safetensors(options.out, result); !saved) return saved.error();
  fmt::print("{} images, {} classes, {} levels of {} prototypes: {}\n", h0.size(0), model.input.classes, model.levels(),
             model.spec.quantizer.prototypes, options.out);
  return 0;
}

}  // namespace

std::function<Result<int>()> declare_forward(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--preset", options->import.preset, "hvq-trans or hvq-trans-official: what the weights do not tell")
      ->capture_default_str();
  app.add_option("--heads", options->import.heads, "Heads of attention")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--weights", options->weights, "State dict: .safetensors or .pth, the authors' names or ours")
      ->required();
  app.add_option("--features", options->features,
                 "safetensors: `features` [B, C, 14, 14], `labels` [B] (optional where a classifier is in the weights)")
      ->required();
  app.add_option("--out", options->out,
                 "safetensors to write: recon [B, C, 14, 14], index_4, index_43, … [B, 196], map [B, 1, 224, 224], "
                 "score_max, score_mean, score_std [B]")
      ->required();
  return [options] { return run(*options); };
}

}  // namespace hivq
