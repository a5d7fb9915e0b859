#include "jobs/init/proposal.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "jobs/table.h"
#include "jobs/views/format.h"

namespace hivq::init {

namespace {

constexpr int64_t most_tokens_side = 14;  // 224 pixels: the paper's
// Images that are trained in a run, over all its epochs: on CPUs those of jobs/specs/textures.yaml, which takes two
// cores two and a half minutes. Few images are not trained for longer: a model that knows them by heart knows defects
// too.
constexpr double cpu_passes = 6000, gpu_passes = 120'000;

/// Half of the images' shorter sides are at least so long.
int64_t middle_side(const std::vector<Example>& examples) {
  std::vector<int64_t> sides;
  for (const Example& example : examples) sides.push_back(std::min(example.width, example.height));
  std::nth_element(sides.begin(), sides.begin() + static_cast<ptrdiff_t>(sides.size() / 2), sides.end());
  return sides[sides.size() / 2];
}

/// The backbone whose weights are there: on GPUs the paper's first, else the small one that set-up fetches.
std::optional<std::string> choose_backbone(const Machine& machine) {
  const auto has = [&](const std::string& name) {
    return std::any_of(machine.weights.begin(), machine.weights.end(),
                       [&](const std::string& file) { return file == name + ".pth" || file == name + ".safetensors"; });
  };
  std::vector<std::string> wanted = {"efficientnet-lite0", "efficientnet-b0", "efficientnet-b4"};
  if (machine.gpus > 0) std::reverse(wanted.begin(), wanted.end());
  for (const char* other : {"b1", "b2", "b3", "b5", "b6", "b7", "lite1", "lite2", "lite3", "lite4"}) {
    wanted.push_back(fmt::format("efficientnet-{}", other));
  }
  const auto found = std::find_if(wanted.begin(), wanted.end(), has);
  return found == wanted.end() ? std::nullopt : std::optional(*found);
}

/// What a job may be called: letters, digits, - and _.
std::string job_name(const std::string& folder) {
  std::string name;
  for (const char c : folder) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    name += plain ? c : '-';
  }
  return name.empty() ? "images" : name.substr(0, 60);
}

/// In double quotes, which YAML reads as JSON does.
std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Lines of `key: value  # comment`, the comments in a column of their own.
class Lines {
 public:
  void add(const std::string& line, const std::string& comment = "") {
    constexpr size_t column = 36;
    text_ += line;
    if (!comment.empty())
      text_ += fmt::format("{:{}}  # {}", "", column > line.size() ? column - line.size() : 0, comment);
    text_ += '\n';
  }
  std::string text() && { return std::move(text_); }

 private:
  std::string text_;
};

void add_data(Lines& lines, const Dataset& dataset, const Proposal& proposal, const ListFiles& lists) {
  lines.add("data:");
  lines.add(fmt::format("  name: {}", dataset.lists ? "json-lines" : "mvtec"),
            dataset.lists ? "images by lists, a line of JSON each: filename, label, clsname, maskname"
                          : "folders CLASS/train/good, CLASS/test/KIND, CLASS/ground_truth/KIND");
  lines.add("  path: " + quoted(dataset.path));
  if (dataset.lists) {
    lines.add("  train_list: " + quoted(lists.train));
    lines.add("  test_list: " + quoted(lists.test));
  }
  if (!dataset.classes.empty()) {
    std::string names;
    for (const std::string& name : dataset.classes) names += (names.empty() ? "" : ", ") + quoted(name);
    lines.add(fmt::format("  classes: [{}]", names));
  }
  if (dataset.damaged) lines.add("  damaged: skip", "an image that cannot be decoded: not all were tried");
  const int64_t side = proposal.image_size / 16;
  lines.add(fmt::format("  image_size: {}", proposal.image_size),
            fmt::format("pixels; images are resized to it: {0} x {0} tokens", side));
}

void add_model(Lines& lines, const Proposal& proposal) {
  lines.add("\nbackbone:");
  lines.add("  name: " + proposal.backbone, "frozen; its weights are at hand");
  if (proposal.backbone == "efficientnet-b4")
    lines.add("  blocks: [1, 5, 9, 21]", "the paper's");
  else
    lines.add("  stages: [1, 2, 3, 5]", "whose outputs are the features");
  lines.add("\nmodel:");
  lines.add(proposal.large ? "  width: 256" : "  width: 128");
  lines.add(proposal.large ? "  layers: 4" : "  layers: 2", "of the encoder and of the decoder");
  lines.add(proposal.large ? "  heads: 8" : "  heads: 4");
  lines.add(proposal.large ? "  feed_forward: 1024" : "  feed_forward: 256");
  lines.add("  quantizer:");
  lines.add(proposal.large ? "    prototypes: 512" : "    prototypes: 128", "of each class and level");
  lines.add("    start: data", "from the images, where the paper draws at random: short runs need it");
  lines.add(proposal.large ? "    decay: 0.99" : "    decay: 0.9");
}

void add_training(Lines& lines, const Dataset& dataset, const Proposal& proposal) {
  const auto images = static_cast<int64_t>(dataset.train.size());
  const int64_t every = std::max<int64_t>(1, proposal.epochs / 4);
  lines.add("\ntrain:");
  lines.add(
      fmt::format("  epochs: {}", proposal.epochs),
      fmt::format("over {}; twice as many cost twice the time", count_text(static_cast<uint64_t>(images), "image")));
  lines.add(fmt::format("  batch_size: {}", proposal.batch_size), "over all ranks");
  lines.add(proposal.large ? "  lr: 4.0e-4" : "  lr: 1.0e-3");
  lines.add(fmt::format("  lr_drop_epoch: {}", std::max<int64_t>(1, proposal.epochs * 4 / 5)));
  lines.add(fmt::format("  eval_every: {}", every), "epochs");
  lines.add(fmt::format("  checkpoint_every: {}", every));
  lines.add("\neval:");
  lines.add("  score: max", dataset.has_masks
                                ? "of the map. Measured: image AUROC, AP; with the masks pixel AUROC, AP, PRO"
                                : "of the map. Measured: image AUROC, AP; pixel metrics want masks");
  lines.add("\ngang:");
  lines.add(fmt::format("  ranks: {}", proposal.ranks),
            proposal.large ? "a GPU each" : "processes that train together");
}

std::string size_text(const std::vector<Example>& examples) {
  int64_t least = INT64_MAX, most = 0;
  bool one = true;
  for (const Example& e : examples) {
    least = std::min({least, e.width, e.height});
    most = std::max({most, e.width, e.height});
    one = one && e.width == examples[0].width && e.height == examples[0].height;
  }
  if (one) return fmt::format("{} x {} pixels", examples[0].width, examples[0].height);
  return fmt::format("sides of {} to {} pixels", least, most);
}

/// `300 PNG, 12 JPEG`
std::string formats_text(const Dataset& dataset) {
  std::map<std::string, uint64_t> counts;
  for (const auto* examples : {&dataset.train, &dataset.test}) {
    for (const Example& example : *examples) {
      std::string ending = std::filesystem::path(example.file).extension().string().substr(1);
      std::transform(ending.begin(), ending.end(), ending.begin(),
                     [](char c) { return static_cast<char>(std::toupper(c)); });
      ++counts[ending == "JPG" ? "JPEG" : ending == "TIF" ? "TIFF" : ending];
    }
  }
  std::string text;
  for (const auto& [format, count] : counts) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, format);
  return text;
}

}  // namespace

int64_t fitting_size(int64_t pixels) { return std::clamp<int64_t>((pixels + 15) / 16 * 16, 32, 1024); }

Result<Proposal> propose(const Dataset& dataset, const Machine& machine) {
  const auto backbone = choose_backbone(machine);
  if (!backbone) {
    return error(
        "no backbone's weights are at hand, and nothing is trained without: `make setup` fetches efficientnet-lite0, "
        "HIVQ_WEIGHTS names another folder");
  }
  Proposal proposal;
  proposal.name = job_name(dataset.name);
  proposal.backbone = *backbone;
  proposal.large = machine.gpus > 0;
  const auto images = static_cast<int64_t>(dataset.train.size());
  proposal.image_size = std::clamp<int64_t>(fitting_size(middle_side(dataset.train)), 64, 16 * most_tokens_side);
  const double passes = proposal.large ? gpu_passes : cpu_passes;
  proposal.epochs =
      std::clamp<int64_t>(static_cast<int64_t>(passes / static_cast<double>(images)), 4, proposal.large ? 400 : 60);
  if (proposal.epochs > 10) proposal.epochs = proposal.epochs / 5 * 5;
  proposal.batch_size = std::min<int64_t>(proposal.large ? 16 : 8, images);
  const auto places = static_cast<int64_t>(proposal.large ? std::min<uint64_t>(machine.gpus, 8)
                                                          : static_cast<uint64_t>(std::clamp(machine.cpus, 1, 2)));
  proposal.ranks = std::min(places, proposal.batch_size);
  return proposal;
}

std::string to_yaml(const Dataset& dataset, const Proposal& proposal, const ListFiles& lists,
                    const std::string& command) {
  Lines lines;
  lines.add(fmt::format("# {}: {} to train on, {} to test.", printable(dataset.layout),
                        count_text(dataset.train.size(), "image"), dataset.test.size()));
  lines.add("#   " + command);
  lines.add("# What is not written here has its default; `hivq validate` shows all of it.\n");
  lines.add("name: " + quoted(proposal.name) + "\n");
  add_data(lines, dataset, proposal, lists);
  add_model(lines, proposal);
  add_training(lines, dataset, proposal);
  return std::move(lines).text();
}

std::string list_of(const std::vector<Example>& examples) {
  std::string text;
  for (const Example& example : examples) {
    nlohmann::ordered_json line = {
        {"filename", example.file}, {"label", example.defective ? 1 : 0}, {"clsname", example.class_name}};
    if (!example.mask.empty()) line["maskname"] = example.mask;
    text += line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }
  return text;
}

std::string describe(const Dataset& dataset) {
  std::string text = fmt::format("{}: {}; {}, {}\n\n", printable(dataset.name), dataset.layout, formats_text(dataset),
                                 size_text(dataset.train));
  Table table{{{"class", Align::left, true},
               {"train", Align::right},
               {"test good", Align::right},
               {"defective", Align::right},
               {"masks", Align::right}},
              {}};
  for (const ClassCount& each : count_classes(dataset)) {
    table.rows.push_back({each.name, std::to_string(each.train), std::to_string(each.test_good),
                          std::to_string(each.test_defective), std::to_string(each.masks)});
  }
  text += render(table);
  if (!dataset.notes.empty()) text += '\n';
  for (const std::string& note : dataset.notes) text += fmt::format("! {}\n", printable(note));
  return text;
}

}  // namespace hivq::init
