// hivq-worker predict: what a trained model says of image files.

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "worker/commands/commands.h"
#include "worker/commands/places.h"
#include "worker/commands/trained.h"
#include "worker/data/file.h"
#include "worker/data/image_file.h"
#include "worker/data/preprocess.h"
#include "worker/eval/score.h"
#include "worker/figures/heat.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBatch = 8;  // images

struct Options {
  std::string model, out = "predictions", class_name;
  std::vector<std::string> images;
  FeaturePlaces places = default_places();
  bool raw = false;
};

struct Prediction {
  std::string image, name;  // its file; what its outputs are called
  std::string class_name;
  double score = 0, max = 0, mean = 0, std = 0;
  at::Tensor pixels;  // uint8 [S, S, 3]
  at::Tensor map;     // [S, S]
};

/// The image files among the arguments; of a folder, all that have an image's extension.
Result<std::vector<std::string>> expand(const std::vector<std::string>& arguments) {
  std::vector<std::string> images;
  for (const std::string& argument : arguments) {
    if (!fs::exists(argument)) return error("{} does not exist; give image files or folders of them", argument);
    if (!fs::is_directory(argument)) {
      images.push_back(argument);
      continue;
    }
    const size_t before = images.size();
    for (const auto& entry : fs::recursive_directory_iterator(argument)) {
      if (entry.is_regular_file() && is_named_as_image(entry.path())) images.push_back(entry.path().string());
    }
    if (images.size() == before) return error("{} holds no image (.png, .jpg, .bmp, .tif)", argument);
    std::sort(images.begin() + static_cast<ptrdiff_t>(before), images.end());
  }
  return images;
}

/// Names for the outputs: the files' own without extension, numbered where two are alike.
std::vector<std::string> output_names(const std::vector<std::string>& images) {
  std::vector<std::string> names;
  std::set<std::string> taken;
  for (const std::string& image : images) {
    const std::string stem = fs::path(image).stem().string();
    std::string name = stem;
    for (int i = 2; !taken.insert(name).second; ++i) name = fmt::format("{}-{}", stem, i);
    names.push_back(name);
  }
  return names;
}

/// The class that is given, −1 where the classifier shall say.
Result<int64_t> class_of(const Options& options, const TrainedModel& trained) {
  if (options.class_name.empty()) {
    if (trained.has_classifier() && trained.spec.model.switch_by == "predicted") return -1;
    if (trained.classes.size() == 1) return 0;
    if (trained.has_classifier()) return -1;
    return error("the model has no classifier to tell the class of an image; name it: --class {}",
                 fmt::join(trained.classes, " | "));
  }
  const auto found = std::ranges::find(trained.classes, options.class_name);
  if (found != trained.classes.end()) return found - trained.classes.begin();
  return error("--class is `{}`; the model's classes are: {}", options.class_name, fmt::join(trained.classes, ", "));
}

Status score_batch(const TrainedModel& trained, const EfficientNet& backbone, int64_t label,
                   std::span<Prediction> batch) {
  const int64_t size = trained.spec.data.image_size;
  std::vector<at::Tensor> inputs;
  for (Prediction& each : batch) {
    const Result<at::Tensor> image = read_image(each.image);
    if (!image) return image.error();
    each.pixels = resized(*image, size);
    inputs.push_back(preprocess(*image, size));
  }
  const at::Tensor features = extract_features(backbone, at::stack(inputs));
  const at::Tensor h0 = features.flatten(2).transpose(1, 2).contiguous();
  const Scored scored = score(trained.model, trained.spec.eval, h0, at::full({h0.size(0)}, label, at::kLong));
  for (size_t i = 0; i < batch.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    Prediction& each = batch[i];
    each.class_name = trained.classes[static_cast<size_t>(scored.chosen[at].item<int64_t>())];
    each.score = chosen_scores(scored.scores, trained.spec.eval)[at].item<double>();
    each.max = scored.scores.max[at].item<double>();
    each.mean = scored.scores.mean[at].item<double>();
    each.std = scored.scores.std[at].item<double>();
    each.map = scored.map[at];
    if (!std::isfinite(each.max + each.mean + each.std)) {
      return error("the scores of {} are not finite: the model has diverged; use a checkpoint from before", each.image);
    }
  }
  return {};
}

/// `NAME_map.png`, `NAME_overlay.png` and, if asked, `NAME_map.safetensors`.
Status write_pictures(const Options& options, const Prediction& each, const HeatRange& range) {
  const std::string start = (fs::path(options.out) / each.name).string();
  if (Status done = write_png(start + "_map.png", heat(each.map, range)); !done) return done;
  if (Status done = write_png(start + "_overlay.png", heat_overlay(each.pixels, each.map, range)); !done) return done;
  if (!options.raw) return {};
  return save_safetensors(start + "_map.safetensors", std::vector<NamedTensor>{{"map", each.map}});
}

Status write_scores(const Options& options, const std::vector<Prediction>& predictions, const std::string& kind,
                    const HeatRange& range) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Prediction& each : predictions) {
    list.push_back({{"image", each.image},
                    {"class", each.class_name},
                    {"score", each.score},
                    {"max", each.max},
                    {"mean", each.mean},
                    {"std", each.std},
                    {"map", each.name + "_map.png"},
                    {"overlay", each.name + "_overlay.png"}});
  }
  const nlohmann::ordered_json all = {
      {"model", options.model}, {"score", kind}, {"scale", {range.low, range.high}}, {"images", list}};
  return write_file((fs::path(options.out) / "scores.json").string(),
                    all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

Result<int> run(const Options& options) {
  const c10::InferenceMode inference;
  const auto images = expand(options.images);
  if (!images) return images.error();
  auto trained = load_model(options.model, at::kFloat);
  if (!trained) return trained.error();
  const auto label = class_of(options, *trained);
  if (!label) return label.error();
  trained->model.spec.switch_by = *label >= 0 ? "label" : "predicted";
  const auto backbone = backbone_of(*trained, options.places);
  if (!backbone) return backbone.error();
  std::error_code failure;
  fs::create_directories(options.out, failure);
  if (failure) return error("cannot make the folder {}: {}", options.out, failure.message());

  std::vector<Prediction> predictions(images->size());
  const std::vector<std::string> names = output_names(*images);
  for (size_t i = 0; i < images->size(); ++i) predictions[i].image = (*images)[i], predictions[i].name = names[i];
  for (size_t at = 0; at < predictions.size(); at += kBatch) {
    const size_t count = std::min(kBatch, predictions.size() - at);
    if (Status done = score_batch(*trained, *backbone, *label, std::span(predictions).subspan(at, count)); !done) {
      return done.error();
    }
    show_progress("images", static_cast<int64_t>(at + count), static_cast<int64_t>(predictions.size()));
  }

  // One scale for all, so that a normal image beside an anomalous one stays cold.
  HeatRange range{predictions[0].map.min().item<double>(), predictions[0].map.max().item<double>()};
  for (const Prediction& each : predictions) {
    range.low = std::min(range.low, each.map.min().item<double>());
    range.high = std::max(range.high, each.map.max().item<double>());
  }
  const std::string& kind = trained->spec.eval.score;
  fmt::print("{:>10}  {:16}  image\n", "score", "class");
  for (const Prediction& each : predictions) {
    if (Status done = write_pictures(options, each, range); !done) return done.error();
    fmt::print("{:10.4f}  {:16}  {}\n", each.score, each.class_name, each.image);
  }
  if (Status done = write_scores(options, predictions, kind, range); !done) return done.error();
  fmt::print("maps, overlays and scores.json: {}\n", options.out);
  return 0;
}

}  // namespace

std::function<Result<int>()> declare_predict(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--model", options->model, "Model (hivq export), or a checkpoint")->required();
  app.add_option("--out", options->out, "Folder for NAME_map.png, NAME_overlay.png and scores.json")
      ->capture_default_str();
  app.add_option("--class", options->class_name, "Class of the images; by default the classifier tells it");
  app.add_flag("--raw", options->raw, "Write each map as numbers too: NAME_map.safetensors, `map` [S, S]");
  app.add_option("images", options->images, "Images (PNG, JPEG, BMP, TIFF), or folders of them")->required();
  add_places(app, options->places);
  app.footer("The colours run from the lowest to the highest value of all images of one call.");
  return [options] { return run(*options); };
}

}  // namespace hivq
