#include <algorithm>
#include <filesystem>

#include "worker/data/defect_sets.h"
#include "worker/data/image_file.h"
#include "worker/data/listed_images.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kLayout =
    "a folder for each class with train/good/*.png, test/good/*.png, test/<defect>/*.png and "
    "ground_truth/<defect>/<stem>_mask.png";

/// Names in a folder by name, of its folders or of its images; none where the folder is absent.
Result<std::vector<std::string>> names_in(const fs::path& folder, bool folders) {
  std::vector<std::string> names;
  std::error_code failure;
  if (!fs::is_directory(folder, failure)) return names;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end; it.increment(failure)) {
    std::error_code ignored;
    const bool is_folder = it->is_directory(ignored);
    if (folders ? is_folder : !is_folder && is_named_as_image(it->path())) {
      names.push_back(it->path().filename().string());
    }
  }
  if (failure) return error("cannot read {}: {}", folder.string(), failure.message());
  std::ranges::sort(names);
  return names;
}

/// Appends the images of <class>/<part>/<kind>.
Status list_images(const fs::path& root, const std::string& class_name, const std::string& part,
                   const std::string& kind, bool with_masks, std::vector<ListedImage>& to) {
  const fs::path folder = fs::path(class_name) / part / kind;
  const Result<std::vector<std::string>> names = names_in(root / folder, /*folders=*/false);
  if (!names) return names.error();
  for (const std::string& name : *names) {
    ListedImage image{class_name, (folder / name).string(), kind != "good", "", ""};
    if (image.anomalous && with_masks) {
      const std::string mask = fs::path(name).stem().string() + "_mask.png";
      image.mask = (fs::path(class_name) / "ground_truth" / kind / mask).string();
    }
    to.push_back(std::move(image));
  }
  return {};
}

Status list_class(const fs::path& root, const std::string& name, bool with_masks, ListedImages& to) {
  if (Status train = list_images(root, name, "train", "good", false, to.train); !train) return train;
  const Result<std::vector<std::string>> kinds = names_in(root / name / "test", /*folders=*/true);
  if (!kinds) return kinds.error();
  for (const std::string& kind : *kinds) {
    if (Status test = list_images(root, name, "test", kind, with_masks, to.test); !test) return test;
  }
  return {};
}

}  // namespace

Result<ImageSet> load_mvtec(const DataSpec& data) {
  const Result<std::string> folder = folder_of(data, kLayout);
  if (!folder) return folder.error();
  const fs::path root = *folder;
  Result<std::vector<std::string>> classes = names_in(root, /*folders=*/true);
  if (!classes) return classes.error();
  std::error_code ignored;
  std::erase_if(*classes, [&](const std::string& name) {  // one without training images is a class too: it is told of
    return !fs::is_directory(root / name / "train/good", ignored) && !fs::is_directory(root / name / "test", ignored);
  });
  if (classes->empty()) return error("data.path is {}, which holds no class; it must hold {}", *folder, kLayout);

  ListedImages listed;
  listed.folder = *folder;
  listed.has_masks = std::ranges::any_of(*classes, [&](const std::string& name) {
    return is_wanted(data, name) && fs::is_directory(root / name / "ground_truth", ignored);
  });
  for (const std::string& name : *classes) {
    if (Status images = list_class(root, name, listed.has_masks, listed); !images) return images.error();
  }
  return make_image_set(data, std::move(listed));
}

}  // namespace hivq
