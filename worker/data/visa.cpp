#include <algorithm>
#include <array>
#include <sstream>

#include "worker/data/defect_sets.h"
#include "worker/data/file.h"
#include "worker/data/listed_images.h"

namespace hivq {
namespace {

constexpr std::string_view kLayout = "VisA's class folders and split_csv/1cls.csv";
constexpr std::array<std::string_view, 5> kColumns = {"object", "split", "label", "image", "mask"};
enum Column : size_t { kObject, kSplit, kLabel, kImage, kMask };

std::vector<std::string> split_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  std::vector<std::string> fields;
  for (size_t at = 0;;) {
    const size_t comma = line.find(',', at);
    fields.emplace_back(line.substr(at, comma - at));
    if (comma == line.npos) return fields;
    at = comma + 1;
  }
}

Status add_row(const std::vector<std::string>& row, const std::string& where, ListedImages& to) {
  if (row.size() != kColumns.size()) return error("{}: {} fields, not {}", where, row.size(), kColumns.size());
  const bool train = row[kSplit] == "train", anomalous = row[kLabel] == "anomaly";
  if (!train && row[kSplit] != "test") return error("{}: split is `{}`; it must be train or test", where, row[kSplit]);
  if (!anomalous && row[kLabel] != "normal") {
    return error("{}: label is `{}`; it must be normal or anomaly", where, row[kLabel]);
  }
  if (row[kObject].empty() || row[kImage].empty()) return error("{}: object or image is empty", where);
  if (train && anomalous) return error("{}: an anomaly is among the training images, which must be normal", where);
  if (anomalous && row[kMask].empty()) return error("{}: the anomaly has no mask", where);
  (train ? to.train : to.test).push_back({row[kObject], row[kImage], anomalous, row[kMask], where});
  return {};
}

}  // namespace

Result<ImageSet> load_visa(const DataSpec& data) {
  const Result<std::string> folder = folder_of(data, kLayout);
  if (!folder) return folder.error();
  const std::string path = *folder + "/split_csv/1cls.csv";
  const Result<std::string> text = read_file(path);
  if (!text) return error("{}; data.path must be the folder that holds {}", text.error().message, kLayout);

  ListedImages listed;
  listed.folder = *folder;
  listed.has_masks = true;
  std::istringstream lines(*text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    const std::vector<std::string> row = split_line(line);
    const std::string where = fmt::format("{}:{}", path, number);
    if (number == 1) {
      if (!std::ranges::equal(row, kColumns))
        return error("{}: the columns must be {}", where, fmt::join(kColumns, ","));
    } else if (row != std::vector<std::string>{""}) {
      if (Status added = add_row(row, where, listed); !added) return added.error();
    }
  }
  return make_image_set(data, std::move(listed));
}

}  // namespace hivq
