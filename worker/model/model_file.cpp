#include "worker/model/model_file.h"

#include <torch/torch.h>

#include <nlohmann/json.hpp>

namespace hivq {
namespace {

const char* const kClasses = "classes";  // names, a JSON list

Result<std::vector<std::string>> classes_of(const std::string& text, std::string_view origin) {
  const auto list = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  std::vector<std::string> names;
  for (const auto& name : list.is_array() ? list : nlohmann::json::array()) {
    if (name.is_string()) names.push_back(name.get<std::string>());
  }
  if (names.empty() || names.size() != list.size()) return error("{} does not name its classes", origin);
  return names;
}

/// The sizes that the data gave.
Result<InputShape> shape_of(const SafeTensors& file, int64_t classes, std::string_view origin) {
  const auto conv = file.tensors.find("quantize_conv_t.weight");
  const auto rows = file.tensors.find("pos_embed.row_embed.weight");
  if (conv == file.tensors.end() || conv->second.dim() != 4 || rows == file.tensors.end() || rows->second.dim() != 2) {
    return error("{} has no `quantize_conv_t.weight` and `pos_embed.row_embed.weight` of a model", origin);
  }
  return InputShape{conv->second.size(1), rows->second.size(0), classes};
}

std::vector<NamedTensor> named_tensors(const Model& model) {
  std::vector<NamedTensor> tensors = named_parameters(model);
  for (NamedTensor& buffer : named_codebooks(model)) tensors.push_back(std::move(buffer));
  return tensors;
}

}  // namespace

std::map<std::string, std::string> describe_model(const TrialSpec& spec, const std::vector<std::string>& classes) {
  return {{kTrialKey, to_yaml(spec)},
          {kClasses, nlohmann::json(classes).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)}};
}

Status save_model(const std::string& path, const TrainedModel& trained) {
  auto metadata = describe_model(trained.spec, trained.classes);
  metadata["format"] = "hivq model 1";
  return save_safetensors(path, named_tensors(trained.model), metadata);
}

Status fill_model(Model& model, const std::map<std::string, at::Tensor>& tensors, std::string_view origin) {
  const at::NoGradGuard no_grad;
  for (const NamedTensor& target : named_tensors(model)) {
    const auto source = tensors.find(target.name);
    if (source == tensors.end()) return error("{} has no tensor `{}`", origin, target.name);
    if (source->second.sizes() != target.tensor.sizes() || !source->second.is_floating_point()) {
      return error("{} has `{}` as {} [{}]; it must be floats [{}]", origin, target.name,
                   c10::toString(source->second.scalar_type()), fmt::join(source->second.sizes(), ", "),
                   fmt::join(target.tensor.sizes(), ", "));
    }
    target.tensor.copy_(source->second);
  }
  for (Codebook& codebook : model.codebooks) refresh(codebook);
  return {};
}

Result<TrainedModel> read_model(const SafeTensors& file, std::string_view origin, const at::TensorOptions& options) {
  const auto yaml = file.metadata.find(kTrialKey), names = file.metadata.find(kClasses);
  if (yaml == file.metadata.end() || names == file.metadata.end()) {
    return error(
        "{} is no model of hivq; export one (hivq export TRIAL --out …), or import a foreign one (hivq import)",
        origin);
  }
  TrainedModel trained;
  auto spec = parse_trial(yaml->second, fmt::format("the trial in {}", origin));
  if (!spec) return spec.error();
  trained.spec = std::move(*spec);
  auto classes = classes_of(names->second, origin);
  if (!classes) return classes.error();
  trained.classes = std::move(*classes);
  const auto shape = shape_of(file, static_cast<int64_t>(trained.classes.size()), origin);
  if (!shape) return shape.error();
  if (Status possible = check_model(trained.spec.model, *shape); !possible) return possible.error();
  trained.model = make_model(trained.spec.model, *shape, 0, options);
  if (Status filled = fill_model(trained.model, file.tensors, origin); !filled) return filled.error();
  freeze(trained.model);
  return trained;
}

Result<TrainedModel> load_model(const std::string& path, const at::TensorOptions& options) {
  const Result<SafeTensors> file = load_safetensors(path);
  if (!file) return file.error();
  return read_model(*file, path, options);
}

}  // namespace hivq
