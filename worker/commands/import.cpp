// hivq-worker import: a state dict from elsewhere as a model of hivq.

#include "worker/model/import.h"

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "worker/commands/commands.h"
#include "worker/data/state_dict.h"

namespace hivq {
namespace {

struct Options {
  std::string file, out, backbone = "efficientnet-b4", backbone_weights;
  std::vector<int64_t> blocks = {1, 5, 9, 21};
  ImportOptions import;
};

Result<int> run(const Options& options) {
  const auto state = load_state_dict(options.file);
  if (!state) return state.error();
  auto trained = import_state_dict(*state, options.import, options.file, at::kFloat);
  if (!trained) return trained.error();
  trained->spec.backbone.name = options.backbone;
  trained->spec.backbone.weights = options.backbone_weights;
  trained->spec.backbone.blocks = options.blocks;
  if (Status saved = save_model(options.out, *trained); !saved) return saved.error();
  const ModelSpec& model = trained->spec.model;
  fmt::print("{}: {} channels, {} classes ({}), width {}, {} layers, {} levels of {} prototypes, switched by {}\n",
             options.out, trained->model.input.channels, trained->classes.size(), fmt::join(trained->classes, ", "),
             model.width, model.layers, trained->model.levels(), model.quantizer.prototypes, model.switch_by);
  return 0;
}

}  // namespace

std::function<Result<int>()> declare_import(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("file", options->file, "State dict or checkpoint: .pth, .pth.tar or .safetensors")->required();
  app.add_option("--out", options->out, "Model to write, .safetensors")->required();
  app.add_option("--preset", options->import.preset, "hvq-trans or hvq-trans-official: what the file does not tell")
      ->capture_default_str();
  app.add_option("--classes", options->import.classes,
                 "Names of the classes in the order of their numbers; by default MVTec-AD's for 15 classes")
      ->delimiter(',');
  app.add_option("--heads", options->import.heads, "Heads of its attention")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--backbone", options->backbone, "Backbone whose features the model takes")->capture_default_str();
  app.add_option("--backbone-weights", options->backbone_weights, "Its weights; by default in the weights' folder");
  app.add_option("--blocks", options->blocks, "Its tapped blocks, 0-based")->delimiter(',')->capture_default_str();
  app.footer(
      "Example:\n  hivq import ckpt_best.pth.tar --out hvq.safetensors\n"
      "  hivq evaluate --model hvq.safetensors jobs/specs/mvtec.yaml");
  return [options] { return run(*options); };
}

}  // namespace hivq
