// hivq-worker figures: Figures 1 and 2 of the paper, of a trained model on its data set.

#include "worker/figures/figures.h"

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "worker/commands/commands.h"
#include "worker/commands/places.h"
#include "worker/commands/trained.h"
#include "worker/eval/evaluate.h"
#include "worker/eval/score.h"
#include "worker/figures/heat.h"
#include "worker/figures/image_decoder.h"
#include "worker/figures/test_pictures.h"
#include "worker/train/step.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string checkpoint, out = "figures";
  SpecOption spec;
  FeaturePlaces places = default_places();
  DecoderOptions decoder;
};

/// A class, or where whole classes are anomalous a normal and an anomalous one, and their test images.
struct Pair {
  std::string name;
  std::vector<int64_t> normal, anomalous;  // test images
};

std::vector<Pair> pairs_of(const FeatureSet& features) {
  std::vector<Pair> by_class(features.class_names.size());
  for (size_t c = 0; c < by_class.size(); ++c) by_class[c].name = features.class_names[c];
  for (size_t i = 0; i < features.test_class.size(); ++i) {
    Pair& own = by_class[static_cast<size_t>(features.test_class[i])];
    (features.test_anomalous[i] ? own.anomalous : own.normal).push_back(static_cast<int64_t>(i));
  }
  std::vector<Pair> pairs, normal, anomalous;
  for (Pair& each : by_class) {
    if (!each.normal.empty() && !each.anomalous.empty())
      pairs.push_back(std::move(each));
    else if (!each.normal.empty())
      normal.push_back(std::move(each));
    else if (!each.anomalous.empty())
      anomalous.push_back(std::move(each));
  }
  for (size_t i = 0; i < std::min(normal.size(), anomalous.size()); ++i) {
    pairs.push_back({normal[i].name + " / " + anomalous[i].name, normal[i].normal, anomalous[i].anomalous});
  }
  return pairs;
}

Scored score_images(const TrainedModel& trained, const FeatureSet& features, const std::vector<int64_t>& images) {
  const std::vector<int64_t> all = trained_class_of_test(features);
  std::vector<int64_t> labels;
  for (const int64_t image : images) labels.push_back(all[static_cast<size_t>(image)]);
  return score(trained.model, trained.spec.eval, tokens_of(features.test, at::tensor(images, at::kLong)),
               at::tensor(labels, at::kLong));
}

Result<ExampleRow> example(const TrainedModel& trained, const FeatureSet& features, const TestScores& found,
                           const ImageDecoder& decoder, const Pair& pair) {
  const int64_t size = trained.spec.data.image_size, grid = trained.model.input.grid;
  const std::vector<float>& scores = chosen_scores(found, trained.spec.eval);
  const int64_t normal = typical_images(pair.normal, scores, 1)[0], bad = typical_images(pair.anomalous, scores, 1)[0];
  ExampleRow row{pair.name,
                 fs::path(features.test_name[static_cast<size_t>(bad)]).parent_path().filename().string() + "/" +
                     fs::path(features.test_name[static_cast<size_t>(bad)]).filename().string(),
                 {},
                 {},
                 {},
                 {},
                 {}};
  for (const auto& [image, target] : {std::pair{normal, &row.normal}, {bad, &row.anomalous}}) {
    const auto pixels = features.test_image(image);
    if (!pixels) return pixels.error();
    *target = resized(*pixels, size);
  }
  const Scored scored = score_images(trained, features, {bad});
  row.map = scored.map[0];
  row.reconstruction = decoder.paint(scored.reconstruction.transpose(1, 2).reshape({1, -1, grid, grid}))[0];
  if (features.test_mask) {
    const auto mask = features.test_mask(bad);
    if (!mask) return mask.error();
    row.truth = *mask;
  }
  return row;
}

Status figure1(const Options& options, const FeatureSet& features, const Evaluation& found) {
  const std::vector<std::string> names = metric_names(features.class_names);
  std::vector<ClassError> classes;
  const auto value = [&](const std::string& name) {
    const auto at = found.metrics.find(name);
    return at == found.metrics.end() ? std::optional<double>() : at->second;
  };
  for (size_t c = 0; c < names.size(); ++c) {
    ClassError each{features.class_names[c], value("error_normal/" + names[c]), value("error_anomalous/" + names[c])};
    if (each.normal || each.anomalous) classes.push_back(std::move(each));
  }
  const std::string path = (fs::path(options.out) / "figure1.png").string();
  if (Status drawn = draw_figure1(path, "Reconstruction error ‖h0 − h̃0‖² per class", classes); !drawn) return drawn;
  fmt::print("{}\n", path);
  return {};
}

Status figure2(const Options& options, const TrainedModel& trained, const FeatureSet& features,
               const TestScores& found) {
  const auto decoder = ImageDecoder::train(features, trained.spec.data.image_size, options.decoder,
                                           [](int64_t done, int64_t total) { show_progress("painting", done, total); });
  if (!decoder) return decoder.error();
  std::vector<ExampleRow> rows;
  for (const Pair& pair : pairs_of(features)) {
    auto row = example(trained, features, found, *decoder, pair);
    if (!row) return row.error();
    rows.push_back(std::move(*row));
  }
  if (rows.empty()) return error("there is no class with normal and anomalous test images to show in Figure 2");
  const std::string path = (fs::path(options.out) / "figure2.png").string();
  if (Status drawn = draw_figure2(path, "The image of median score of each kind", rows); !drawn) return drawn;
  fmt::print("{}  (the image decoder's mean squared error: {:.4f})\n", path, decoder->loss());
  return {};
}

Result<int> run(const Options& options) {
  auto trained = load_model(options.checkpoint, at::kFloat);
  if (!trained) return trained.error();
  if (Status taken = take_spec(options.spec, *trained); !taken) return taken.error();
  const auto features = features_for(*trained, trained->spec.data, options.places);
  if (!features) return features.error();
  std::error_code failure;
  fs::create_directories(options.out, failure);
  if (failure) return error("cannot make the folder {}: {}", options.out, failure.message());
  const auto single = make_single_collective();
  const auto found = evaluate(trained->model, trained->spec, *features, *single);
  if (!found) return found.error();
  if (!found->failure.empty()) return Error{found->failure};
  if (Status drawn = figure1(options, *features, *found); !drawn) return drawn.error();
  if (Status drawn = figure2(options, *trained, *features, found->scores); !drawn) return drawn.error();
  return 0;
}

}  // namespace

std::function<Result<int>()> declare_figures(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--checkpoint,--model", options->checkpoint, "Checkpoint of a trial, or a model")->required();
  app.add_option("--out", options->out, "Folder for figure1.png and figure2.png")->capture_default_str();
  app.add_option("--steps", options->decoder.steps, "Steps of training for the image decoder of Figure 2")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  add_spec(app, options->spec);
  add_places(app, options->places);
  return [options] { return run(*options); };
}

}  // namespace hivq
