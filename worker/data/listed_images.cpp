#include "worker/data/listed_images.h"

#include <sys/stat.h>
#include <torch/torch.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <memory>

#include "common/sha256.h"
#include "jobs/spec_fields.h"
#include "worker/data/file.h"
#include "worker/data/image_file.h"

namespace hivq {
namespace {

std::string path_in(const std::string& folder, const std::string& file) {
  return (std::filesystem::path(folder) / file).string();
}

/// Classes by name: all, or those that data.classes asks for.
Result<std::vector<std::string>> choose_classes(const DataSpec& data, const ListedImages& listed) {
  std::vector<std::string> known;
  for (const auto* images : {&listed.train, &listed.test}) {
    for (const ListedImage& image : *images) known.push_back(image.class_name);
  }
  std::ranges::sort(known);
  known.erase(std::unique(known.begin(), known.end()), known.end());
  for (auto it = data.classes.begin(); it != data.classes.end(); ++it) {
    if (std::find(data.classes.begin(), it, *it) != it) return error("data.classes names {} twice", *it);
    if (std::ranges::binary_search(known, *it)) continue;
    const std::optional<std::string> nearest = nearest_key(*it, known);
    return error("data.classes names {}, which is no class of {}; {}", *it, listed.folder,
                 nearest ? fmt::format("did you mean {}?", *nearest)
                         : fmt::format("its classes are: {}", fmt::join(known, ", ")));
  }
  if (data.classes.empty()) return known;
  std::vector<std::string> chosen = data.classes;
  std::ranges::sort(chosen);
  return chosen;
}

/// The images of the wanted classes, at most `per_class` (0: all) of each, spread evenly over its list.
std::vector<ListedImage> choose_images(const std::vector<ListedImage>& images, const DataSpec& data,
                                       int64_t per_class) {
  std::map<std::string_view, int64_t> count, seen;
  for (const ListedImage& image : images) ++count[image.class_name];
  std::vector<ListedImage> chosen;
  for (const ListedImage& image : images) {
    if (!is_wanted(data, image.class_name)) continue;
    const int64_t of_class = count[image.class_name], i = seen[image.class_name]++;
    const int64_t wanted = per_class == 0 ? of_class : std::min(per_class, of_class);
    // Image i is taken where it holds the middle of one of `wanted` equal parts of the list.
    const auto middles_before = [&](int64_t j) { return (2 * wanted * j + of_class - 1) / (2 * of_class); };
    if (middles_before(i) < middles_before(i + 1)) chosen.push_back(image);
  }
  return chosen;
}

Status check_classes(const std::vector<std::string>& classes, const ListedImages& listed) {
  for (const std::string& name : classes) {
    const auto is_class = [&](const ListedImage& image) { return image.class_name == name; };
    if (std::ranges::none_of(listed.train, is_class)) {
      return error("class {} of {} has no training images; add some, or leave it out of data.classes", name,
                   listed.folder);
    }
  }
  if (listed.test.empty()) return error("{} has no test images, so nothing could be measured", listed.folder);
  return {};
}

Error missing(const ListedImage& image, const std::string& what, const std::string& path, int error_number) {
  const std::string from = image.where.empty() ? "" : image.where + ": ";
  return error("{}{}", from, file_error("read the " + what, path, error_number).message);
}

/// A line that changes when the file's content does.
Result<std::string> state_of(const ListedImage& image, const std::string& folder) {
  const std::string path = path_in(folder, image.image);
  struct stat file = {};
  if (::stat(path.c_str(), &file) != 0) return missing(image, "image", path, errno);
  return fmt::format("{} {} {}.{} {}.{}\n", image.image, file.st_size, file.st_mtim.tv_sec, file.st_mtim.tv_nsec,
                     file.st_ctim.tv_sec, file.st_ctim.tv_nsec);
}

Result<std::string> identity_of(const ListedImages& listed) {
  std::string states;
  for (const auto* images : {&listed.train, &listed.test}) {
    for (const ListedImage& image : *images) {
      const Result<std::string> state = state_of(image, listed.folder);
      if (!state) return state.error();
      states += *state;
    }
  }
  return fmt::format("files {} train {} test {}", sha256_hex(states), listed.train.size(), listed.test.size());
}

Status check_mask_size(const ListedImage& image, const std::string& folder, ImageSize mask, ImageSize whole) {
  if (mask == whole) return {};
  return error("the mask {} has {} × {} pixels, but its image {} has {} × {}", path_in(folder, image.mask), mask.width,
               mask.height, image.image, whole.width, whole.height);
}

/// Finds at the start what would otherwise end a training at its first evaluation.
Status check_masks(const ListedImages& listed) {
  for (const ListedImage& image : listed.test) {
    if (!image.anomalous || image.mask.empty()) continue;
    const std::string path = path_in(listed.folder, image.mask);
    struct stat file = {};
    if (::stat(path.c_str(), &file) != 0) return missing(image, "mask of " + image.image, path, errno);
    const Result<ImageSize> mask = read_image_size(path);
    if (!mask) return error("{} (the mask of {})", mask.error().message, image.image);
    const Result<ImageSize> whole = read_image_size(path_in(listed.folder, image.image));
    if (!whole) continue;  // a damaged image, which data.damaged decides on
    if (Status size = check_mask_size(image, listed.folder, *mask, *whole); !size) return size;
  }
  return {};
}

/// The ground truth of one test image, of the image's size.
Result<at::Tensor> read_truth(const ListedImage& image, const std::string& folder) {
  const Result<ImageSize> size = read_image_size(path_in(folder, image.image));
  if (!size) return size.error();
  if (!image.anomalous || image.mask.empty()) {
    return at::full({size->height, size->width}, image.anomalous ? 1 : 0, at::kByte);
  }
  Result<at::Tensor> mask = read_mask(path_in(folder, image.mask));
  if (!mask) return mask;
  if (Status same = check_mask_size(image, folder, {mask->size(0), mask->size(1)}, *size); !same) return same.error();
  return mask;
}

std::vector<ImageRecord> records_of(const std::vector<ListedImage>& images, const std::vector<std::string>& classes) {
  std::vector<ImageRecord> records;
  for (const ListedImage& image : images) {
    const auto position = std::ranges::lower_bound(classes, image.class_name);
    records.push_back({position - classes.begin(), image.anomalous, image.image});
  }
  return records;
}

}  // namespace

Result<std::string> folder_of(const DataSpec& data, std::string_view layout) {
  if (data.path.empty()) return error("data.path is empty; set it to the folder that holds {}", layout);
  std::error_code failure;
  if (!std::filesystem::is_directory(data.path, failure)) {
    return error("data.path is {}, which is no folder; it must be the folder that holds {}", data.path, layout);
  }
  return data.path;
}

bool is_wanted(const DataSpec& data, std::string_view class_name) {
  return data.classes.empty() || std::ranges::find(data.classes, class_name) != data.classes.end();
}

Result<ImageSet> make_image_set(const DataSpec& data, ListedImages listed) {
  const Result<std::vector<std::string>> classes = choose_classes(data, listed);
  if (!classes) return classes.error();
  listed.train = choose_images(listed.train, data, data.train_per_class);
  listed.test = choose_images(listed.test, data, data.test_per_class);
  if (Status checked = check_classes(*classes, listed); !checked) return checked.error();
  Result<std::string> identity = identity_of(listed);
  if (!identity) return identity.error();
  if (listed.has_masks) {
    if (Status masks = check_masks(listed); !masks) return masks.error();
  }

  ImageSet set;
  set.protocol = Protocol::defects;
  set.class_names = *classes;
  for (size_t c = 0; c < classes->size(); ++c) set.trained_classes.push_back(static_cast<int64_t>(c));
  set.train = records_of(listed.train, *classes);
  set.test = records_of(listed.test, *classes);
  set.identity = std::move(*identity);
  const auto files = std::make_shared<const ListedImages>(std::move(listed));
  set.decode = [files](int64_t index) {
    const auto i = static_cast<size_t>(index), trained = files->train.size();
    return read_image(path_in(files->folder, (i < trained ? files->train[i] : files->test.at(i - trained)).image));
  };
  if (files->has_masks) {
    set.mask = [files](int64_t index) { return read_truth(files->test.at(static_cast<size_t>(index)), files->folder); };
  }
  return set;
}

}  // namespace hivq
