#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "jobs/roots.h"
#include "worker/data/defect_sets.h"
#include "worker/data/file.h"
#include "worker/data/listed_images.h"

namespace hivq {
namespace {

using Json = nlohmann::json;
constexpr std::string_view kLayout = "the images, and the lists that data.train_list and data.test_list name";

/// The text under a key; nothing where it is absent, null or empty.
Result<std::optional<std::string>> text_of(const Json& item, const char* key, const std::string& where) {
  const auto found = item.find(key);
  if (found == item.end() || found->is_null()) return std::optional<std::string>();
  if (!found->is_string()) return error("{}: {} is no text", where, key);
  std::string text = found->get<std::string>();
  return text.empty() ? std::optional<std::string>() : std::optional(std::move(text));
}

Result<bool> is_anomalous(const Json& item, const std::string& where) {
  const auto label = item.find("label");
  if (label == item.end()) return error("{}: label is missing; it must be 0 (normal) or 1 (defective)", where);
  if (*label != 0 && *label != 1) {
    return error("{}: label is {}; it must be 0 (normal) or 1 (defective)", where,
                 label->dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  return *label == 1;
}

Result<ListedImage> read_line(const std::string& line, const std::string& where) {
  const Json item = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!item.is_object()) return error("{}: this is no JSON object", where);
  const auto image = text_of(item, "filename", where), mask = text_of(item, "maskname", where),
             class_name = text_of(item, "clsname", where);
  for (const auto* field : {&image, &mask, &class_name}) {
    if (!*field) return field->error();
  }
  const Result<bool> anomalous = is_anomalous(item, where);
  if (!anomalous) return anomalous.error();
  if (!*image) return error("{}: filename is missing", where);
  const std::string& file = **image;
  const size_t slash = file.find('/');
  if (!*class_name && (slash == 0 || slash == file.npos)) {
    return error("{}: clsname is missing, and {} is in no folder that would name its class", where, file);
  }
  return ListedImage{class_name->value_or(file.substr(0, slash)), file, *anomalous, mask->value_or(""), where};
}

Result<std::vector<ListedImage>> read_list(const std::string& folder, const std::string& name) {
  const std::string path = (std::filesystem::path(folder) / name).string();
  const Result<std::string> text = read_file(path);
  if (!text) return error("{}; data.path must be the folder that holds {}", text.error().message, kLayout);
  std::vector<ListedImage> images;
  std::istringstream lines(*text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    Result<ListedImage> image = read_line(line, fmt::format("{}:{}", path, number));
    if (!image) return image.error();
    for (const std::string& file : {image->image, image->mask}) {
      if (leaves_folder(file)) return error("{}: '{}' leads out of the folder {}", image->where, file, folder);
    }
    images.push_back(std::move(*image));
  }
  return images;
}

}  // namespace

Result<ImageSet> load_json_lines(const DataSpec& data) {
  const Result<std::string> folder = folder_of(data, kLayout);
  if (!folder) return folder.error();
  Result<std::vector<ListedImage>> train = read_list(*folder, data.train_list),
                                   test = read_list(*folder, data.test_list);
  if (!train) return train.error();
  if (!test) return test.error();
  for (const ListedImage& image : *train) {
    if (image.anomalous) return error("{}: label is 1, but training images must be normal", image.where);
  }
  ListedImages listed{*folder, std::move(*train), std::move(*test), false};
  listed.has_masks = std::ranges::any_of(listed.test, [&](const ListedImage& i) {
    return is_wanted(data, i.class_name) && i.anomalous && !i.mask.empty();
  });
  return make_image_set(data, std::move(listed));
}

}  // namespace hivq
