#include "jobs/init/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "jobs/views/format.h"

namespace hivq::init {

namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

constexpr size_t most_named = 5;  // files, one by one
constexpr size_t one_in = 5;      // good images that are set aside for the test
constexpr uint64_t few = 10;      // training images of a class

// ---- Words that folders are called by ----

constexpr std::array<std::string_view, 10> good_words = {
    "good", "ok", "normal", "normals", "pass", "clean", "non_defective", "defect_free", "no_defect", "goods"};
constexpr std::array<std::string_view, 14> defect_words = {"bad",       "ng",       "nok",    "anomaly", "anomalies",
                                                           "anomalous", "abnormal", "defect", "defects", "defective",
                                                           "broken",    "fail",     "faulty", "not_good"};
constexpr std::array<std::string_view, 2> train_words = {"train", "training"};
constexpr std::array<std::string_view, 4> test_words = {"test", "testing", "val", "validation"};
constexpr std::array<std::string_view, 6> mask_words = {"ground_truth", "groundtruth", "ground-truth",
                                                        "gt",           "mask",        "masks"};

bool is_one_of(std::span<const std::string_view> words, std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](char c) {
    return c == '-' || c == ' ' ? '_' : c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  });
  return std::find(words.begin(), words.end(), name) != words.end();
}
bool is_good(const std::string& name) { return is_one_of(good_words, name); }
bool is_defect(const std::string& name) { return is_one_of(defect_words, name); }
bool is_train(const std::string& name) { return is_one_of(train_words, name); }
bool is_split(const std::string& name) { return is_train(name) || is_one_of(test_words, name); }
bool is_mask(const std::string& name) { return is_one_of(mask_words, name); }

// ---- Files by their folders ----

struct File {
  const Image* image;
  Names folders;  // from the top
  std::string stem;
};

File file_of(const Image& image) {
  const fs::path path = image.file;
  File file{&image, {}, path.stem().string()};
  for (const auto& part : path.parent_path()) file.folders.push_back(part.string());
  return file;
}

std::string folder_at(const File& file, size_t depth) { return depth < file.folders.size() ? file.folders[depth] : ""; }

/// What a file is, once the folders are understood.
struct Place {
  std::string class_name;
  enum class Split { none, train, test } split = Split::none;
  std::optional<bool> defective;  // nothing: its folder does not say
};

enum class Reading {
  class_split,   // CLASS/train/good, CLASS/test/KIND
  split_class,   // train/CLASS, test/CLASS/KIND
  split,         // train/good, test/KIND
  class_kind,    // CLASS/good, CLASS/KIND
  kind,          // good, KIND
  loose_kind,    // good images, and folders KIND
  class_defect,  // CLASS of good images, and defects or defects/CLASS
  classes,       // CLASS, each of good images
  flat           // good images
};
/// With the name of the one class, where there is but one.
struct Chosen {
  Reading reading;
  std::string class_name;
};

Place::Split split_of(const std::string& name) { return is_train(name) ? Place::Split::train : Place::Split::test; }

/// The place of a file whose kind is told by the folder at `depth`; a training image needs none.
Place place_of_kind(const File& file, std::string class_name, Place::Split split, size_t depth) {
  const std::string kind = folder_at(file, depth);
  Place place{std::move(class_name), split, std::nullopt};
  if (!kind.empty()) place.defective = !is_good(kind);
  if (kind.empty() && split == Place::Split::train) place.defective = false;
  return place;
}

/// Nothing: the file is outside of what is understood.
std::optional<Place> place_of(const File& file, const Chosen& chosen) {
  constexpr auto none = Place::Split::none;
  const std::string first = folder_at(file, 0), second = folder_at(file, 1);
  switch (chosen.reading) {
    case Reading::class_split:
      if (!is_split(second)) return std::nullopt;
      return place_of_kind(file, first, split_of(second), 2);
    case Reading::split_class:
      if (!is_split(first) || second.empty()) return std::nullopt;
      return place_of_kind(file, second, split_of(first), 2);
    case Reading::split:
      if (!is_split(first)) return std::nullopt;
      return place_of_kind(file, chosen.class_name, split_of(first), 1);
    case Reading::class_kind:
      if (second.empty()) return std::nullopt;
      return place_of_kind(file, first, none, 1);
    case Reading::kind:
      if (first.empty()) return std::nullopt;
      return place_of_kind(file, chosen.class_name, none, 0);
    case Reading::loose_kind:
      if (first.empty()) return Place{chosen.class_name, none, false};
      return place_of_kind(file, chosen.class_name, none, 0);
    case Reading::class_defect:
      if (first.empty()) return std::nullopt;
      if (!is_defect(first)) return Place{first, none, false};
      return Place{chosen.class_name.empty() ? second : chosen.class_name, none, true};
    case Reading::classes:
      if (first.empty()) return std::nullopt;
      return Place{first, none, false};
    case Reading::flat:
      return Place{chosen.class_name, none, false};
  }
  return std::nullopt;
}

bool any(const std::vector<File>& files, const std::function<bool(const File&)>& holds) {
  return std::any_of(files.begin(), files.end(), holds);
}

/// Without folders train and test, and without any that is called good: what the top folders are.
Result<Chosen> choose_by_top(const std::vector<File>& files, const std::string& name) {
  std::set<std::string> classes, defects;
  bool loose = false;
  for (const File& file : files) {
    const std::string first = folder_at(file, 0);
    if (first.empty())
      loose = true;
    else
      (is_defect(first) ? defects : classes).insert(first);
  }
  if (classes.empty() && defects.empty()) return Chosen{Reading::flat, name};
  if (defects.empty()) return Chosen{Reading::classes, ""};
  if (classes.empty() && loose) return Chosen{Reading::loose_kind, name};
  if (classes.size() == 1) return Chosen{Reading::class_defect, *classes.begin()};
  const bool told = !classes.empty() && !any(files, [&](const File& f) {
    return is_defect(folder_at(f, 0)) && !classes.contains(folder_at(f, 1));
  });
  if (told) return Chosen{Reading::class_defect, ""};
  return error(
      "{0}/ holds defective images, but of which class? Put them into CLASS/{0}/ and the good ones into CLASS/good/",
      *defects.begin());
}

/// How the images' folders are to be read; `name` is that of the whole. Errors: defects that are of no class.
Result<Chosen> choose_reading(const std::vector<File>& files, const std::string& name) {
  if (any(files, [](const File& f) { return is_split(folder_at(f, 1)) && !is_split(folder_at(f, 0)); })) {
    return Chosen{Reading::class_split, ""};
  }
  if (any(files, [](const File& f) { return is_split(folder_at(f, 0)); })) {
    const bool by_class = any(files, [](const File& f) {
      const std::string below = folder_at(f, 1);
      return is_train(folder_at(f, 0)) && !below.empty() && !is_good(below) && !is_defect(below);
    });
    return by_class ? Chosen{Reading::split_class, ""} : Chosen{Reading::split, name};
  }
  if (any(files, [](const File& f) { return is_good(folder_at(f, 0)); })) return Chosen{Reading::kind, name};
  if (any(files, [](const File& f) { return is_good(folder_at(f, 1)); })) return Chosen{Reading::class_kind, ""};
  return choose_by_top(files, name);
}

const char* describe(Reading reading) {
  switch (reading) {
    case Reading::class_split:
      return "CLASS/train, CLASS/test/KIND";
    case Reading::split_class:
      return "train/CLASS, test/CLASS/KIND";
    case Reading::split:
      return "one class: train, test/KIND";
    case Reading::class_kind:
      return "CLASS/good, CLASS/KIND";
    case Reading::kind:
      return "one class: good, and a folder of each kind of defect";
    case Reading::loose_kind:
      return "one class: good images, and a folder of defective ones";
    case Reading::class_defect:
      return "a folder of good images for each class, and one of defective ones";
    case Reading::classes:
      return "a folder of good images for each class";
    case Reading::flat:
      return "one class: a folder of good images";
  }
  return "";
}

// ---- Masks ----

/// Without what masks are called by: `000_mask` → `000`.
std::string plain_stem(std::string stem) {
  for (const char* ending : {"_mask", "-mask", "_gt", "-gt"}) {
    if (stem.ends_with(ending)) return stem.substr(0, stem.size() - std::string_view(ending).size());
  }
  return stem;
}

using Masks = std::map<std::pair<Names, std::string>, const Image*>;  // by the other folders, and the image's stem

Names without(const Names& folders, bool (*left_out)(const std::string&)) {
  Names rest;
  for (const std::string& folder : folders) {
    if (!left_out(folder)) rest.push_back(folder);
  }
  return rest;
}

/// The mask of a defective image: in the same folders, but for `ground_truth` in place of `test`.
const Image* mask_of(const File& file, const Masks& masks) {
  Names folders = without(file.folders, is_split);
  while (true) {
    if (const auto found = masks.find({folders, file.stem}); found != masks.end()) return found->second;
    if (folders.empty()) return nullptr;
    folders.pop_back();
  }
}

// ---- Notes ----

/// `a.png, b.png and 12 more`
std::string named(const Names& files) {
  std::string text;
  for (size_t i = 0; i < std::min(files.size(), most_named); ++i) text += (i == 0 ? "" : ", ") + files[i];
  if (files.size() > most_named) text += fmt::format(" and {} more", files.size() - most_named);
  return text;
}

void note_unusable(const Survey& survey, Dataset& dataset) {
  size_t told = 0, unusable = 0;
  for (const Image& image : survey.images) {
    if (image.problem.empty()) continue;
    if (++unusable > most_named) continue;
    dataset.notes.push_back(fmt::format("{} {}", image.file, image.problem));
    ++told;
  }
  if (unusable > told) dataset.notes.push_back(fmt::format("{} more images cannot be used", unusable - told));
  if (survey.decoded < survey.images.size()) {
    dataset.notes.push_back(
        fmt::format("only {} of {} images were decoded to their end; the rest may hold damaged ones", survey.decoded,
                    survey.images.size()));
  }
  if (!survey.other.empty()) {
    dataset.notes.push_back(
        fmt::format("{} no image by name: {}",
                    survey.other.size() == 1 ? "1 file is" : fmt::format("{} files are", survey.other.size()),
                    named(survey.other)));
  }
}

// ---- From files to a data set ----

struct Split {
  std::map<std::string, std::vector<Example>> train, test;  // by class
  Names outside, unclear, without_mask, wrong_mask;         // files
};

Split place_all(const std::vector<File>& files, const Masks& masks, const Chosen& chosen) {
  Split split;
  for (const File& file : files) {
    const Image& image = *file.image;
    const auto place = place_of(file, chosen);
    if (!place) {
      split.outside.push_back(image.file);
      continue;
    }
    if (!place->defective) {
      split.unclear.push_back(image.file);
      continue;
    }
    Example example{place->class_name, image.file, *place->defective, "", image.width, image.height};
    if (example.defective) {
      const Image* mask = mask_of(file, masks);
      if (mask == nullptr) {
        split.without_mask.push_back(image.file);
      } else if (mask->width != image.width || mask->height != image.height) {
        split.wrong_mask.push_back(mask->file);
      } else {
        example.mask = mask->file;
      }
    }
    const bool tested = example.defective || place->split == Place::Split::test;
    (tested ? split.test : split.train)[place->class_name].push_back(std::move(example));
  }
  return split;
}

/// Gives the test one in five good images of each class that has none there, spread over its list. Whether it did.
bool set_aside(Split& split) {
  bool did = false;
  for (auto& [name, images] : split.train) {
    auto& tested = split.test[name];
    const bool has_good = std::any_of(tested.begin(), tested.end(), [](const Example& e) { return !e.defective; });
    if (has_good || images.size() < 2) continue;
    std::vector<Example> kept;
    const size_t step = std::min(images.size(), one_in);
    for (size_t i = 0; i < images.size(); ++i) {
      (i % step == step - 1 ? tested : kept).push_back(std::move(images[i]));
    }
    images = std::move(kept);
    did = true;
  }
  return did;
}

/// Masks are used where at least half of the defective images have one: those without are then left out, since a set's
/// pixels are measured on all of its images.
void settle_masks(Split& split, Dataset& dataset) {
  const size_t without_one = split.without_mask.size() + split.wrong_mask.size();
  size_t with_one = 0;
  for (const auto& [name, images] : split.test) {
    with_one += static_cast<size_t>(
        std::count_if(images.begin(), images.end(), [](const Example& e) { return !e.mask.empty(); }));
  }
  dataset.has_masks = with_one > 0 && with_one >= without_one;
  if (!split.wrong_mask.empty()) {
    dataset.notes.push_back(fmt::format("masks of another size than their image: {}", named(split.wrong_mask)));
  }
  if (with_one == 0 || without_one == 0) return;
  if (!split.without_mask.empty()) {
    dataset.notes.push_back(fmt::format("defective images without a mask{}: {}",
                                        dataset.has_masks ? ", which are left out" : "", named(split.without_mask)));
  }
  for (auto& [name, images] : split.test) {
    if (dataset.has_masks)
      std::erase_if(images, [](const Example& e) { return e.defective && e.mask.empty(); });
    else
      for (Example& image : images) image.mask.clear();
  }
}

/// Whether the loader of MVTec-AD's folders finds just this.
bool is_mvtec(const std::vector<File>& files, const Dataset& dataset) {
  for (const File& file : files) {
    const std::string part = folder_at(file, 1), kind = folder_at(file, 2);
    const bool known = file.folders.size() == 3 && (part == "test" || (part == "train" && kind == "good"));
    if (!known) return false;
    if (part == "test" && kind != "good" && is_good(kind)) return false;
  }
  for (const Example& example : dataset.test) {
    if (!example.defective || !dataset.has_masks) continue;
    const fs::path image = example.file;
    const fs::path wanted = fs::path(example.class_name) / "ground_truth" / image.parent_path().filename() /
                            (image.stem().string() + "_mask.png");
    if (wanted != example.mask) return false;
  }
  return true;
}

/// MVTec-AD's loader wants CLASS/train/good below data.path: of a folder that is one class, that is the folder above.
void move_up(Dataset& dataset, std::vector<File>& files) {
  dataset.path = fs::path(dataset.path).parent_path().string();
  for (auto* examples : {&dataset.train, &dataset.test}) {
    for (Example& example : *examples) {
      example.file = dataset.name + "/" + example.file;
      if (!example.mask.empty()) example.mask = dataset.name + "/" + example.mask;
    }
  }
  for (File& file : files) file.folders.insert(file.folders.begin(), dataset.name);
}

void note_classes(Dataset& dataset) {
  uint64_t defective = 0;
  for (const ClassCount& each : count_classes(dataset)) {
    defective += each.test_defective;
    if (each.train < few) {
      dataset.notes.push_back(fmt::format("class {} has {} only: a model wants some tens of each class", each.name,
                                          count_text(each.train, "training image")));
    }
  }
  if (defective == 0) {
    dataset.notes.push_back(
        "no image is defective: training works, but nothing tells how good the model is (no AUROC); put some into a "
        "folder beside the good ones");
  }
}

}  // namespace

std::string known_layouts() {
  return "  CLASS/train/good/*.png  CLASS/test/good/*.png  CLASS/test/DEFECT/*.png  "
         "CLASS/ground_truth/DEFECT/*_mask.png\n"
         "  CLASS/good/*.png  CLASS/DEFECT/*.png        one in five good images is set aside for the test\n"
         "  good/*.png  DEFECT/*.png                    the same with one class\n"
         "  *.png                                       good images only: trains, and measures nothing\n"
         "masks, where there are any: ground_truth/DEFECT/NAME_mask.png or masks/DEFECT/NAME.png beside the images' "
         "folders";
}

std::vector<ClassCount> count_classes(const Dataset& dataset) {
  std::map<std::string, ClassCount> counts;
  for (const Example& example : dataset.train) ++counts[example.class_name].train;
  for (const Example& example : dataset.test) {
    ClassCount& count = counts[example.class_name];
    ++(example.defective ? count.test_defective : count.test_good);
    count.masks += !example.mask.empty();
  }
  std::vector<ClassCount> list;
  for (auto& [name, count] : counts) {
    count.name = name;
    list.push_back(count);
  }
  return list;
}

Result<Dataset> read_layout(const std::string& folder, const Survey& survey) {
  Dataset dataset;
  dataset.path = folder;
  dataset.name = fs::path(folder).filename().string();
  note_unusable(survey, dataset);
  std::vector<File> files, all;
  Masks masks;
  bool any_mask = false;
  for (const Image& image : survey.images) {
    File file = file_of(image);
    const bool masked = std::any_of(file.folders.begin(), file.folders.end(), is_mask);
    if (masked && image.problem.empty()) {
      masks[{without(without(file.folders, is_mask), is_split), plain_stem(file.stem)}] = &image;
    }
    any_mask = any_mask || masked;
    if (masked) continue;
    all.push_back(file);
    if (image.problem.empty()) files.push_back(std::move(file));
  }
  if (files.empty()) {
    return error(
        "{} holds no image that can be used{}; put PNG, JPEG, BMP or TIFF files there in one of these ways:\n{}",
        folder, all.empty() ? "" : fmt::format(" (the first of {}: {})", all.size(), dataset.notes.front()),
        known_layouts());
  }
  const auto chosen = choose_reading(files, dataset.name);
  if (!chosen)
    return error("{}: {}\nthe ways that are understood:\n{}", folder, chosen.error().message, known_layouts());

  Split split = place_all(files, masks, *chosen);
  dataset.layout = describe(chosen->reading);
  if (!split.outside.empty()) {
    dataset.notes.push_back(
        fmt::format("outside of the folders that were understood ({}): {}", dataset.layout, named(split.outside)));
  }
  if (!split.unclear.empty()) {
    dataset.notes.push_back(
        fmt::format("in no folder that says whether they are good or defective: {}", named(split.unclear)));
  }
  settle_masks(split, dataset);
  const bool masks_go = any_mask && (!dataset.has_masks || !split.without_mask.empty() || !split.wrong_mask.empty());
  const bool changed = set_aside(split) || masks_go || files.size() < all.size();
  bool left_out = false;
  for (auto& [name, tested] : split.test) {
    if (!split.train[name].empty()) continue;
    if (!tested.empty())
      dataset.notes.push_back(fmt::format("class {} has no good images to train on: it is left out", name));
    tested.clear();
    left_out = true;
  }
  for (auto& [name, images] : split.train) {
    std::move(images.begin(), images.end(), std::back_inserter(dataset.train));
    std::move(split.test[name].begin(), split.test[name].end(), std::back_inserter(dataset.test));
  }
  if (dataset.train.empty()) {
    return error(
        "{} holds no images that are known to be good, and a model learns from these; the ways that are "
        "understood:\n{}",
        folder, known_layouts());
  }
  dataset.damaged = survey.decoded < survey.images.size();
  const bool one_class = chosen->reading == Reading::split;
  if (one_class) move_up(dataset, all);
  dataset.lists = changed || !(one_class || chosen->reading == Reading::class_split) || !is_mvtec(all, dataset);
  if ((left_out || one_class) && !dataset.lists) {
    for (const ClassCount& each : count_classes(dataset)) dataset.classes.push_back(each.name);
  }
  note_classes(dataset);
  return dataset;
}

}  // namespace hivq::init
