#include "worker/model/import.h"

#include <torch/torch.h>

#include <set>

namespace hivq {
namespace {

const std::vector<std::string> kMvtecClasses = {"bottle",   "cable",      "capsule",    "carpet", "grid",
                                                "hazelnut", "leather",    "metal_nut",  "pill",   "screw",
                                                "tile",     "toothbrush", "transistor", "wood",   "zipper"};

using Tensors = std::map<std::string, at::Tensor>;

/// The first free number of `prefix.<number>.…`.
int64_t count_of(const Tensors& tensors, const std::string& prefix) {
  int64_t count = 0;
  const auto has = [&](const std::string& start) {
    const auto at = tensors.lower_bound(start);
    return at != tensors.end() && at->first.starts_with(start);
  };
  while (has(fmt::format("{}.{}.", prefix, count))) ++count;
  return count;
}

/// A dimension of a tensor of so many dimensions. The first mistake sticks in `problem`, so that the shape below reads
/// without a check per line.
struct ShapeReader {
  const Tensors& tensors;
  std::string problem;

  int64_t size(const std::string& name, int64_t dimensions, int64_t which) {
    const auto found = tensors.find(name);
    if (found != tensors.end() && found->second.dim() == dimensions && found->second.size(which) > 0) {
      return found->second.size(which);
    }
    if (problem.empty()) {
      problem = found == tensors.end() ? fmt::format("has no tensor `{}`", name)
                                       : fmt::format("has `{}` of shape [{}]; it must have {} dimensions", name,
                                                     fmt::join(found->second.sizes(), ", "), dimensions);
    }
    return 1;
  }
};

/// What the tensors' shapes tell of the model.
InputShape read_shape(ShapeReader& reader, ModelSpec& spec) {
  const Tensors& tensors = reader.tensors;
  spec.width = reader.size("quantize_conv_t.weight", 4, 0);
  spec.layers = std::max<int64_t>(count_of(tensors, "encoder.layers"), 1);
  spec.feed_forward = reader.size("encoder.layers.0.linear1.weight", 2, 0);
  const auto codebooks = [&](int64_t level) {
    return count_of(tensors, fmt::format("quantize_list_{}", spec.layers + 1 - level));
  };
  spec.quantizer.prototypes = reader.size(fmt::format("quantize_list_{}.0.embed", spec.layers + 1), 2, 1);
  spec.quantizer.codebook_switching = codebooks(0) > 1;
  int64_t levels = 1;
  while (levels <= spec.layers && codebooks(levels) > 0) ++levels;
  spec.quantizer.hierarchical = levels > 1;
  spec.quantizer.levels = levels > 1 && levels <= spec.layers ? levels : 0;
  const int64_t heads = count_of(tensors, "output_proj_list");
  spec.expert_switching = heads > 1;
  return {reader.size("quantize_conv_t.weight", 4, 1), reader.size("pos_embed.row_embed.weight", 2, 0),
          std::max(codebooks(0), heads)};
}

/// What no part of the model takes.
bool is_left_out(const std::string& name) {
  return name.starts_with("enc.") || name.starts_with("backbone.") || name.starts_with("input_proj.");
}

Status check_names(const Tensors& tensors, const Model& model, std::string_view origin) {
  std::set<std::string> known;
  for (const NamedTensor& tensor : named_parameters(model)) known.insert(tensor.name);
  for (const NamedTensor& tensor : named_codebooks(model)) known.insert(tensor.name);
  for (const auto& [name, tensor] : tensors) {
    if (!known.contains(name) && !is_left_out(name)) {
      return error("{} has the tensor `{}`, which HVQ-Trans with {} layers, {} levels and {} classes has not", origin,
                   name, model.spec.layers, model.levels(), model.input.classes);
    }
  }
  return {};
}

/// The classifier is hivq's own.
bool add_classifier(Tensors& tensors, const Model& model) {
  if (tensors.contains("classifier.linear1.weight")) return true;
  for (const NamedTensor& parameter : named_parameters(model)) {
    if (parameter.name.starts_with("classifier.")) tensors[parameter.name] = at::zeros_like(parameter.tensor);
  }
  return false;
}

Result<std::vector<std::string>> names_of(const ImportOptions& options, int64_t classes, std::string_view origin) {
  std::vector<std::string> names = options.classes;
  if (names.empty() && classes == static_cast<int64_t>(kMvtecClasses.size())) names = kMvtecClasses;
  for (int64_t i = 0; names.size() < static_cast<size_t>(classes) && options.classes.empty(); ++i) {
    names.push_back(std::to_string(i));
  }
  if (names.size() == static_cast<size_t>(classes)) return names;
  return error("{} has {} classes, but {} names are given; give one for each, in the order of their numbers", origin,
               classes, names.size());
}

}  // namespace

Result<TrainedModel> import_state_dict(const SafeTensors& state, const ImportOptions& options, std::string_view origin,
                                       const at::TensorOptions& type) {
  if (state.metadata.contains(kTrialKey)) return read_model(state, origin, type);
  if (options.preset != "hvq-trans" && options.preset != "hvq-trans-official") {
    return error("--preset is `{}`; it must be hvq-trans or hvq-trans-official", options.preset);
  }
  TrainedModel trained;
  trained.spec = defaults_of(options.preset);
  trained.spec.model.heads = options.heads;
  ShapeReader reader{state.tensors, {}};
  const InputShape shape = read_shape(reader, trained.spec.model);
  if (!reader.problem.empty()) return error("{} {}", origin, reader.problem);
  if (Status possible = check_model(trained.spec.model, shape); !possible) return possible.error();
  trained.spec.data.image_size = 16 * shape.grid;
  auto names = names_of(options, shape.classes, origin);
  if (!names) return names.error();
  trained.classes = std::move(*names);

  trained.model = make_model(trained.spec.model, shape, 0, type);
  if (Status known = check_names(state.tensors, trained.model, origin); !known) return known.error();
  Tensors tensors = state.tensors;
  if (!add_classifier(tensors, trained.model)) {
    trained.spec.loss.classification = 0;
    trained.spec.model.switch_by = "label";
  }
  if (Status filled = fill_model(trained.model, tensors, origin); !filled) return filled.error();
  trained.model.spec = trained.spec.model;
  freeze(trained.model);
  return trained;
}

}  // namespace hivq
