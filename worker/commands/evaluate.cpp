// hivq-worker evaluate: a trained model's metrics on the data set of a specification.

#include "worker/eval/evaluate.h"

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "worker/commands/commands.h"
#include "worker/commands/places.h"
#include "worker/commands/trained.h"
#include "worker/data/file.h"

namespace hivq {
namespace {

struct Options {
  std::string model, spec;
  std::vector<std::string> sets;
  FeaturePlaces places = default_places();
  bool json = false;
};

/// The trial that the specification describes, as far as evaluation goes: its data and scores with the model's shape.
Status take_spec(const Options& options, TrainedModel& trained) {
  const Result<std::string> text = read_file(options.spec);
  if (!text) return text.error();
  std::vector<Override> overrides;
  for (const std::string& set : options.sets) {
    const size_t at = set.find('=');
    if (at == std::string::npos) return error("--set {} has no value; write --set key=value", set);
    overrides.push_back({set.substr(0, at), set.substr(at + 1)});
  }
  const Result<JobSpec> job = parse_job(*text, options.spec, overrides);
  if (!job) return job.error();
  trained.spec.data = job->trial.data;
  trained.spec.backbone = job->trial.backbone;
  trained.spec.eval = job->trial.eval;
  if (trained.has_classifier()) trained.spec.model.switch_by = job->trial.model.switch_by;
  trained.model.spec.switch_by = trained.spec.model.switch_by;
  return {};
}

Result<int> run(const Options& options) {
  auto trained = load_model(options.model, at::kFloat);
  if (!trained) return trained.error();
  if (!options.spec.empty()) {
    if (Status taken = take_spec(options, *trained); !taken) return taken.error();
  }
  const auto features = features_for(*trained, trained->spec.data, options.places);
  if (!features) return features.error();
  for (const std::string& warning : features->warnings) fmt::print(stderr, "hivq: {}\n", warning);
  const auto single = make_single_collective();
  const auto found = evaluate(trained->model, trained->spec, *features, *single);
  if (!found) return found.error();
  if (!found->failure.empty()) return Error{found->failure};
  if (options.json) {
    fmt::print("{}\n", nlohmann::json(found->metrics).dump(2));
  } else {
    for (const auto& [name, value] : found->metrics) fmt::print("{:40} {:.4f}\n", name, value);
  }
  return 0;
}

}  // namespace

std::function<Result<int>()> declare_evaluate(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--model", options->model, "Model (hivq export, hivq import), or a checkpoint")->required();
  app.add_option("spec", options->spec,
                 "Specification whose data, backbone and scores are taken; by default the model's own")
      ->type_name("FILE");
  app.add_option("--set", options->sets, "Replace a value of the specification: --set data.path=DIR")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
  app.add_flag("--json", options->json, "Print JSON");
  add_places(app, options->places);
  return [options] { return run(*options); };
}

}  // namespace hivq
