#include "worker/commands/trained.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "worker/data/file.h"

namespace hivq {
namespace {

Status check_channels(const TrainedModel& trained, int64_t channels) {
  if (channels == trained.model.input.channels) return {};
  return error(
      "{} gives {} channels with these taps, but the model takes {}; check backbone.stages and backbone.blocks",
      trained.spec.backbone.name, channels, trained.model.input.channels);
}

/// The set's trained classes in the model's order. A class of the model that the set lacks is one without images.
Status match_classes(const TrainedModel& trained, FeatureSet& features) {
  for (const int64_t index : features.trained_classes) {
    const std::string& name = features.class_names[static_cast<size_t>(index)];
    if (std::ranges::find(trained.classes, name) == trained.classes.end()) {
      return error(
          "the data set has the class `{}`, but the model knows: {}; leave it out (data.classes), or import the "
          "model with its classes' names (--classes)",
          name, fmt::join(trained.classes, ", "));
    }
  }
  features.trained_classes.clear();
  for (const std::string& name : trained.classes) {
    const auto found = std::ranges::find(features.class_names, name);
    features.trained_classes.push_back(found - features.class_names.begin());
    if (found == features.class_names.end()) features.class_names.push_back(name);
  }
  // train_class counts in the set's own order; only the test images matter from here on.
  features.train_class.clear();
  return {};
}

}  // namespace

Result<EfficientNet> backbone_of(const TrainedModel& trained, const FeaturePlaces& places) {
  const auto weights = load_backbone_weights(trained.spec.backbone, places.weights_dir);
  if (!weights) return weights.error();
  auto network = make_efficientnet(trained.spec.backbone, weights->file, weights->path);
  if (!network) return network.error();
  if (Status fits = check_channels(trained, network->channels); !fits) return fits.error();
  return network;
}

Result<FeatureSet> features_for(const TrainedModel& trained, const DataSpec& data, const FeaturePlaces& places) {
  auto features = load_features(data, trained.spec.backbone, places,
                                [](int64_t done, int64_t total) { show_progress("features", done, total); });
  if (!features) return features.error();
  if (Status fits = check_channels(trained, features->test.size(1)); !fits) return fits.error();
  if (features->test.size(2) != trained.model.input.grid) {
    return error("data.image_size is {}, but the model takes images of {} pixels", data.image_size,
                 16 * trained.model.input.grid);
  }
  if (Status matched = match_classes(trained, *features); !matched) return matched.error();
  return features;
}

void add_spec(CLI::App& app, SpecOption& spec) {
  app.add_option("spec", spec.file,
                 "Specification whose data, backbone and scores are taken; by default the model's own")
      ->type_name("FILE");
  app.add_option("--set", spec.sets, "Replace a value of the specification: --set data.path=DIR")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
}

Status take_spec(const SpecOption& option, TrainedModel& trained) {
  std::vector<Override> overrides;
  for (const std::string& set : option.sets) {
    const size_t at = set.find('=');
    if (at == std::string::npos) return error("--set {} has no value; write --set key=value", set);
    overrides.push_back({set.substr(0, at), set.substr(at + 1)});
  }
  JobSpec own;
  own.name = "model";
  own.trial = trained.spec;
  std::string text = to_yaml(own);
  if (!option.file.empty()) {
    Result<std::string> read = read_file(option.file);
    if (!read) return read.error();
    text = std::move(*read);
  }
  const std::string origin = option.file.empty() ? "the model's own specification" : option.file;
  const Result<JobSpec> job = parse_job(text, origin, overrides);
  if (!job) return job.error();
  trained.spec.data = job->trial.data;
  trained.spec.backbone = job->trial.backbone;
  trained.spec.eval = job->trial.eval;
  if (trained.has_classifier()) trained.spec.model.switch_by = job->trial.model.switch_by;
  trained.model.spec.switch_by = trained.spec.model.switch_by;
  return {};
}

void show_progress(std::string_view what, int64_t done, int64_t total) {
  if (isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "\r{} {}/{}{}", what, done, total, done == total ? "\n" : "");
  std::fflush(stderr);
}

}  // namespace hivq
