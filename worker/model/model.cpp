#include "worker/model/model.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/torch.h>

#include <cmath>
#include <numeric>

namespace hivq {
namespace {

/// How a parameter starts.
enum class Start { xavier, zero, one, uniform };

/// A parameter of the model: where its leaf is held, its name and shape. `stacked`: the first dimension counts tensors
/// of their own, whose number replaces `{}` in the name.
struct Declared {
  at::Tensor* leaf;
  std::string name;
  std::vector<int64_t> shape;
  Start start;
  bool stacked = false;

  int64_t numel() const { return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()); }
};

class Declarations {
 public:
  std::vector<Declared> list;

  void add(at::Tensor& leaf, std::string name, std::vector<int64_t> shape, Start start) {
    list.push_back({&leaf, std::move(name), std::move(shape), start});
  }
  void linear(Linear& layer, const std::string& name, int64_t in, int64_t out) {
    add(layer.weight, name + ".weight", {out, in}, Start::xavier);
    add(layer.bias, name + ".bias", {out}, Start::zero);
  }
  void norm(LayerNorm& layer, const std::string& name, int64_t width) {
    add(layer.weight, name + ".weight", {width}, Start::one);
    add(layer.bias, name + ".bias", {width}, Start::zero);
  }
  void attention(Attention& layer, const std::string& name, int64_t width) {
    add(layer.in_proj_weight, name + ".in_proj_weight", {3 * width, width}, Start::xavier);
    add(layer.in_proj_bias, name + ".in_proj_bias", {3 * width}, Start::zero);
    linear(layer.out_proj, name + ".out_proj", width, width);
  }
};

/// Every parameter of the model, in the order in which they lie in `values`.
std::vector<Declared> declare(Model& model) {
  const int64_t width = model.spec.width, hidden = model.spec.feed_forward, channels = model.input.channels;
  Declarations d;
  d.add(model.quantize_conv_t.weight, "quantize_conv_t.weight", {width, channels, 1, 1}, Start::xavier);
  d.add(model.quantize_conv_t.bias, "quantize_conv_t.bias", {width}, Start::zero);
  d.add(model.row_embed, "pos_embed.row_embed.weight", {model.input.grid, width / 2}, Start::uniform);
  d.add(model.col_embed, "pos_embed.col_embed.weight", {model.input.grid, width / 2}, Start::uniform);
  for (size_t i = 0; i < model.encoder.size(); ++i) {
    EncoderLayer& layer = model.encoder[i];
    const std::string name = fmt::format("encoder.layers.{}", i);
    d.attention(layer.self_attn, name + ".self_attn", width);
    d.linear(layer.linear1, name + ".linear1", width, hidden);
    d.linear(layer.linear2, name + ".linear2", hidden, width);
    d.norm(layer.norm1, name + ".norm1", width);
    d.norm(layer.norm2, name + ".norm2", width);
  }
  for (size_t i = 0; i < model.decoder.size(); ++i) {
    DecoderLayer& layer = model.decoder[i];
    const std::string name = fmt::format("decoder.layers.{}", i);
    d.attention(layer.self_attn, name + ".self_attn", 2 * width);
    d.attention(layer.multihead_attn, name + ".multihead_attn", 2 * width);
    d.linear(layer.linear1, name + ".linear1", 2 * width, hidden);
    d.linear(layer.linear2, name + ".linear2", hidden, 2 * width);
    d.norm(layer.norm1, name + ".norm1", 2 * width);
    d.norm(layer.norm2, name + ".norm2", 2 * width);
    d.norm(layer.norm3, name + ".norm3", 2 * width);
  }
  d.norm(model.decoder_norm, "decoder.norm", 2 * width);
  const int64_t experts = model.spec.expert_switching ? model.input.classes : 1;
  d.list.push_back({&model.output_proj.weight,
                    "output_proj_list.{}.weight",
                    {experts, channels, 2 * width},
                    Start::xavier,
                    /*stacked=*/true});
  d.list.push_back({&model.output_proj.bias,
                    "output_proj_list.{}.bias",
                    {experts, channels},
                    Start::zero,
                    /*stacked=*/true});
  d.norm(model.classifier_norm, "classifier.norm", channels);
  d.linear(model.classifier1, "classifier.linear1", channels, width);
  d.linear(model.classifier2, "classifier.linear2", width, model.input.classes);
  return d.list;
}

/// Values of a parameter's start, drawn on the CPU.
at::Tensor draw(const Declared& parameter, at::Generator& generator) {
  const auto options = at::TensorOptions(at::kFloat);
  switch (parameter.start) {
    case Start::zero:
      return at::zeros(parameter.shape, options);
    case Start::one:
      return at::ones(parameter.shape, options);
    case Start::uniform:
      return at::rand(parameter.shape, generator, options);
    case Start::xavier:
      break;
  }
  const size_t out = parameter.stacked ? 1 : 0;
  const double bound = std::sqrt(6.0 / static_cast<double>(parameter.shape[out] + parameter.shape[out + 1]));
  return at::rand(parameter.shape, generator, options).mul_(2 * bound).sub_(bound);
}

/// Each parameter's part of a flat tensor [T, P], in its shape; with T first where there are several trials.
std::vector<at::Tensor> parts_of(const at::Tensor& flat, const std::vector<Declared>& parameters) {
  std::vector<at::Tensor> parts;
  int64_t at = 0;
  for (const Declared& parameter : parameters) {
    std::vector<int64_t> shape = parameter.shape;
    if (flat.size(0) > 1) shape.insert(shape.begin(), flat.size(0));
    parts.push_back(flat.narrow(1, at, parameter.numel()).view(shape));
    at += parameter.numel();
  }
  return parts;
}

/// Lets the leaves lie in `values`.
void place_values(Model& model, const at::Tensor& values, bool differentiable) {
  const std::vector<Declared> parameters = declare(model);
  const std::vector<at::Tensor> parts = parts_of(values, parameters);
  for (size_t i = 0; i < parts.size(); ++i) *parameters[i].leaf = parts[i].detach().requires_grad_(differentiable);
  model.values = values;
}

std::vector<NamedTensor> named_parts(const Model& model, const at::Tensor& flat) {
  check(model.trials == 1, "names belong to one trial's parameters");
  const std::vector<Declared> parameters = declare(const_cast<Model&>(model));
  const std::vector<at::Tensor> parts = parts_of(flat, parameters);
  std::vector<NamedTensor> named;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!parameters[i].stacked) named.push_back({parameters[i].name, parts[i]});
    for (int64_t j = 0; parameters[i].stacked && j < parts[i].size(0); ++j) {
      named.push_back({fmt::format(fmt::runtime(parameters[i].name), j), parts[i][j]});
    }
  }
  return named;
}

}  // namespace

Status check_model(const ModelSpec& spec, const InputShape& input) {
  if (spec.width % 2 != 0 || spec.width % spec.heads != 0) {
    return error("model.width is {}; it must be even and a multiple of model.heads, which is {}", spec.width,
                 spec.heads);
  }
  if (spec.neighbour_mask > 0 && spec.neighbour_mask / 2 >= input.grid / 2) {
    return error(
        "model.neighbour_mask is {}, which leaves the middle of {} × {} tokens nothing to attend to; it must be "
        "below {}",
        spec.neighbour_mask, input.grid, input.grid, input.grid / 2 * 2);
  }
  return {};
}

Model make_model(const ModelSpec& spec, const InputShape& input, uint64_t seed, const at::TensorOptions& options) {
  return make_model(spec, input, std::span(&seed, 1), options);
}

Model make_model(const ModelSpec& spec, const InputShape& input, std::span<const uint64_t> seeds,
                 const at::TensorOptions& options) {
  Model model;
  model.spec = spec;
  model.input = input;
  model.trials = static_cast<int64_t>(seeds.size());
  model.encoder.resize(static_cast<size_t>(spec.layers));
  model.decoder.resize(static_cast<size_t>(spec.layers));

  const std::vector<Declared> parameters = declare(model);
  int64_t count = 0;
  for (const Declared& parameter : parameters) count += parameter.numel();
  place_values(model, at::empty({model.trials, count}, options), true);
  place_gradients(model, at::zeros({model.trials, count}, options));
  if (spec.neighbour_mask > 0) model.attention_mask = neighbour_mask(input.grid, spec.neighbour_mask, options);

  const int64_t all = spec.layers + 1;
  const int64_t levels = !spec.quantizer.hierarchical ? 1 : spec.quantizer.levels > 0 ? spec.quantizer.levels : all;
  const int64_t codebooks = spec.quantizer.codebook_switching ? input.classes : 1;
  std::vector<std::vector<at::Tensor>> embed(static_cast<size_t>(levels));  // by level and trial
  for (int64_t trial = 0; trial < model.trials; ++trial) {
    at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seeds[static_cast<size_t>(trial)]);
    const std::vector<at::Tensor> parts = parts_of(model.values.narrow(0, trial, 1), parameters);
    for (size_t i = 0; i < parts.size(); ++i) parts[i].copy_(draw(parameters[i], generator));
    for (int64_t level = 0; level < levels; ++level) {
      const int64_t width = level == 0 ? spec.width : 2 * spec.width;
      embed[static_cast<size_t>(level)].push_back(
          at::randn({codebooks, spec.quantizer.prototypes, width}, generator, at::kFloat).to(options));
    }
  }
  for (const std::vector<at::Tensor>& level : embed) {
    model.codebooks.push_back(make_codebook(level.size() == 1 ? level[0] : at::cat(level), 0));
  }
  return model;
}

Model trial_of(const Model& model, int64_t trial) {
  Model one = model;
  one.trials = 1;
  place_values(one, model.values.narrow(0, trial, 1), false);
  one.gradients = at::Tensor();
  const int64_t per_level = model.codebooks_per_level();
  for (Codebook& codebook : one.codebooks) {
    for (at::Tensor* part : {&codebook.embed, &codebook.cluster_size, &codebook.embed_avg, &codebook.squared_norm}) {
      *part = part->narrow(0, trial * per_level, per_level);
    }
  }
  return one;
}

Model copy_trials(const Model& model, const std::vector<int64_t>& trials) {
  Model some = model;
  some.trials = static_cast<int64_t>(trials.size());
  const at::Tensor which = at::tensor(trials, at::kLong).to(model.values.device());
  place_values(some, model.values.index_select(0, which), true);
  place_gradients(some, at::zeros_like(some.values));
  const int64_t per_level = model.codebooks_per_level();
  for (Codebook& codebook : some.codebooks) {
    for (at::Tensor* part : {&codebook.embed, &codebook.cluster_size, &codebook.embed_avg, &codebook.squared_norm}) {
      *part = part->unflatten(0, {model.trials, per_level}).index_select(0, which).flatten(0, 1);
    }
  }
  return some;
}

at::Tensor place_of(const Model& model, const at::Tensor& classes, int64_t per_trial) {
  if (model.trials == 1) return classes;
  const at::Tensor trial = at::arange(model.trials, classes.options()).view({-1, 1}) * per_trial;
  const at::Tensor own = classes.view({model.trials, -1});
  return (per_trial == 1 ? trial.expand_as(own) : trial + own).reshape(-1);
}

std::vector<at::Tensor> parameters_of(const Model& model) {
  std::vector<at::Tensor> leaves;
  for (const Declared& parameter : declare(const_cast<Model&>(model))) leaves.push_back(*parameter.leaf);
  return leaves;
}

void freeze(Model& model) {
  for (const Declared& parameter : declare(model)) parameter.leaf->requires_grad_(false);
  model.gradients = at::Tensor();
}

void place_gradients(Model& model, const at::Tensor& gradients) {
  const std::vector<Declared> parameters = declare(model);
  const std::vector<at::Tensor> parts = parts_of(gradients, parameters);
  for (size_t i = 0; i < parts.size(); ++i) parameters[i].leaf->mutable_grad() = parts[i];
  model.gradients = gradients;
}

std::vector<NamedTensor> named_parameters(const Model& model) { return named_parts(model, model.values); }

std::vector<NamedTensor> named_gradients(const Model& model) { return named_parts(model, model.gradients); }

std::vector<NamedTensor> named_codebooks(const Model& model) {
  std::vector<NamedTensor> named;
  for (int64_t level = 0; level < model.levels(); ++level) {
    const Codebook& codebook = model.codebooks[static_cast<size_t>(level)];
    for (int64_t s = 0; s < codebook.codebooks(); ++s) {
      const std::string name = fmt::format("quantize_list_{}.{}.", model.spec.layers + 1 - level, s);
      named.push_back({name + "embed", codebook.embed[s].t()});
      named.push_back({name + "cluster_size", codebook.cluster_size[s]});
      named.push_back({name + "embed_avg", codebook.embed_avg[s].t()});
    }
  }
  return named;
}

}  // namespace hivq
