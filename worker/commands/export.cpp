// hivq-worker export: a checkpoint as a model to keep, or as a program to serve.

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "worker/commands/commands.h"
#include "worker/commands/places.h"
#include "worker/commands/torchscript.h"
#include "worker/commands/trained.h"

namespace hivq {
namespace {

struct Options {
  std::string checkpoint, out, format = "safetensors";
  FeaturePlaces places = default_places();
};

Result<int> run(const Options& options) {
  const auto trained = load_model(options.checkpoint, at::kFloat);
  if (!trained) return trained.error();
  if (options.format == "safetensors") {
    if (Status saved = save_model(options.out, *trained); !saved) return saved.error();
    fmt::print("{}: use it with `hivq predict --model` and `hivq evaluate --model`\n", options.out);
    return 0;
  }
  const auto backbone = backbone_of(*trained, options.places);
  if (!backbone) return backbone.error();
  if (Status saved = save_torchscript(*trained, *backbone, options.out); !saved) return saved.error();
  const int64_t size = trained->spec.data.image_size;
  fmt::print("{}: image [B, 3, {}, {}] (RGB, 0 to 1){} -> map [B, {}, {}], score [B], class [B]\n", options.out, size,
             size, takes_label(*trained) ? ", class [B]" : "", size, size);
  return 0;
}

}  // namespace

std::function<Result<int>()> declare_export(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--checkpoint,--model", options->checkpoint, "Checkpoint of a trial, or a model")->required();
  app.add_option("--out", options->out, "File to write")->required();
  app.add_option("--format", options->format,
                 "safetensors: parameters and codebooks by name; torchscript: image in, map, score and class out, "
                 "backbone included, for torch.jit.load")
      ->check(CLI::IsMember({"safetensors", "torchscript"}))
      ->capture_default_str();
  add_places(app, options->places);
  return [options] { return run(*options); };
}

}  // namespace hivq
