// hivq-worker evaluate: a trained model's metrics on the data set of a specification.

#include "worker/eval/evaluate.h"

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "worker/commands/commands.h"
#include "worker/commands/places.h"
#include "worker/commands/trained.h"

namespace hivq {
namespace {

struct Options {
  std::string model;
  SpecOption spec;
  FeaturePlaces places = default_places();
  bool json = false;
};

Result<int> run(const Options& options) {
  auto trained = load_model(options.model, at::kFloat);
  if (!trained) return trained.error();
  if (Status taken = take_spec(options.spec, *trained); !taken) return taken.error();
  const auto features = features_for(*trained, trained->spec.data, options.places);
  if (!features) return features.error();
  for (const std::string& warning : features->warnings) fmt::print(stderr, "hivq: {}\n", warning);
  const auto single = make_single_collective();
  const auto found = evaluate(trained->model, trained->spec, *features, *single);
  if (!found) return found.error();
  if (!found->failure.empty()) return Error{found->failure};
  if (options.json) {
    fmt::print("{}\n", nlohmann::json(found->metrics).dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    for (const auto& [name, value] : found->metrics) fmt::print("{:40} {:.4f}\n", name, value);
  }
  return 0;
}

}  // namespace

std::function<Result<int>()> declare_evaluate(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--model", options->model, "Model (hivq export, hivq import), or a checkpoint")->required();
  add_spec(app, options->spec);
  app.add_flag("--json", options->json, "Print JSON");
  add_places(app, options->places);
  return [options] { return run(*options); };
}

}  // namespace hivq
