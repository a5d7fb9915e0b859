#include "worker/data/textures.h"

#include <torch/torch.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "worker/data/defects.h"
#include "worker/data/image_file.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;

struct Photo {
  std::string name;   // of its class
  at::Tensor pixels;  // uint8 [H, W, 3]

  at::Tensor upper() const { return pixels.narrow(0, 0, pixels.size(0) / 2); }
  at::Tensor lower() const { return pixels.narrow(0, pixels.size(0) / 2, pixels.size(0) / 2); }
};

Status check_options(const TextureOptions& options) {
  if (options.crop < 32) return error("the crop is {} pixels; it must be at least 32", options.crop);
  const int64_t fewest = std::min({options.train, options.test_good, options.test_per_defect});
  if (fewest < 1) return error("there must be at least 1 image of each kind, not {}", fewest);
  std::error_code failure;
  if (fs::exists(options.out, failure) &&
      !(fs::is_directory(options.out, failure) && fs::is_empty(options.out, failure))) {
    return error("{} is there and not empty; remove it or choose another folder", options.out);
  }
  return {};
}

Result<Photo> read_photo(const fs::path& file, int64_t crop) {
  Result<at::Tensor> pixels = read_image(file.string());
  if (!pixels) return pixels.error();
  if (pixels->size(0) < 2 * crop || pixels->size(1) < crop) {
    return error("{} has {} × {} pixels; crops of {} pixels want at least {} × {}", file.string(), pixels->size(1),
                 pixels->size(0), crop, crop, 2 * crop);
  }
  return Photo{file.stem().string(), std::move(*pixels)};
}

/// By name, so that a seed means the same everywhere.
Result<std::vector<Photo>> read_photos(const std::string& folder, int64_t crop) {
  std::vector<fs::path> files;
  std::error_code failure;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end; it.increment(failure)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored) && !it->path().filename().string().starts_with('.')) files.push_back(it->path());
  }
  if (failure) return error("cannot read the photos in {}: {}", folder, failure.message());
  if (files.empty()) return error("{} holds no photos; cmake/setup.sh puts some into .deps/photos", folder);
  std::ranges::sort(files);
  std::vector<Photo> photos;
  for (const fs::path& file : files) {
    Result<Photo> photo = read_photo(file, crop);
    if (!photo) return photo.error();
    photos.push_back(std::move(*photo));
  }
  return photos;
}

/// A crop at a random place, mirrored or not.
at::Tensor random_crop(const at::Tensor& from, int64_t crop, Dice& dice) {
  const int64_t y = dice.below(from.size(0) - crop + 1), x = dice.below(from.size(1) - crop + 1);
  const at::Tensor piece = from.narrow(0, y, crop).narrow(1, x, crop);
  return dice.below(2) == 0 ? piece.contiguous() : piece.flip(1).contiguous();
}

Status write_numbered(const fs::path& folder, int64_t number, const std::string& ending, const at::Tensor& image) {
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure) return error("cannot make {}: {}", folder.string(), failure.message());
  return write_png((folder / fmt::format("{:03}{}.png", number, ending)).string(), image);
}

Status write_normal(const at::Tensor& from, const fs::path& folder, int64_t count, int64_t crop, Dice& dice) {
  for (int64_t i = 0; i < count; ++i) {
    if (Status written = write_numbered(folder, i, "", random_crop(from, crop, dice)); !written) return written;
  }
  return {};
}

Status write_class(const TextureOptions& options, const std::vector<Photo>& photos, size_t index) {
  const Photo& photo = photos[index];
  Dice dice(options.seed + 0x9e3779b97f4a7c15 * (index + 1));
  const fs::path root = fs::path(options.out) / photo.name;
  Status written = write_normal(photo.upper(), root / "train/good", options.train, options.crop, dice);
  if (written) written = write_normal(photo.lower(), root / "test/good", options.test_good, options.crop, dice);
  for (const DefectKind& kind : defect_kinds()) {
    if (kind.needs_other && photos.size() == 1) continue;
    for (int64_t i = 0; written && i < options.test_per_defect; ++i) {
      const Photo& other =
          photos[(index + 1 + static_cast<size_t>(i) % std::max<size_t>(1, photos.size() - 1)) % photos.size()];
      const at::Tensor image = random_crop(photo.lower(), options.crop, dice);
      const at::Tensor foreign = kind.needs_other ? random_crop(other.lower(), options.crop, dice) : at::Tensor();
      const Defective defective = kind.paint(image, foreign, dice);
      written = write_numbered(root / "test" / kind.name, i, "", defective.image);
      if (written) written = write_numbered(root / "ground_truth" / kind.name, i, "_mask", defective.mask);
    }
  }
  return written;
}

}  // namespace

Status make_textures(const TextureOptions& options) {
  if (Status checked = check_options(options); !checked) return checked;
  const Result<std::vector<Photo>> photos = read_photos(options.photos, options.crop);
  if (!photos) return photos.error();
  for (size_t i = 0; i < photos->size(); ++i) {
    if (Status written = write_class(options, *photos, i); !written) return written;
  }
  return {};
}

}  // namespace hivq
