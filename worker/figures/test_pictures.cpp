#include "worker/figures/test_pictures.h"

#include <torch/torch.h>

#include <algorithm>

#include "worker/data/image_file.h"
#include "worker/eval/score.h"
#include "worker/figures/heat.h"
#include "worker/train/step.h"

namespace hivq {
namespace {

constexpr size_t kBatch = 16;  // images that are scored at once

/// The test images of each class that there are: normal ones, anomalous ones.
std::vector<std::vector<int64_t>> kinds_of(const FeatureSet& features) {
  std::vector<std::vector<int64_t>> kinds(2 * features.class_names.size());
  for (size_t i = 0; i < features.test_class.size(); ++i) {
    const size_t kind = features.test_anomalous[i] ? 1 : 0;
    kinds[2 * static_cast<size_t>(features.test_class[i]) + kind].push_back(static_cast<int64_t>(i));
  }
  std::erase_if(kinds, [](const auto& images) { return images.empty(); });
  return kinds;
}

/// The maps [b, 16G, 16G] of some test images, on the CPU.
at::Tensor maps_of(const Model& model, const EvalSpec& spec, const FeatureSet& features,
                   std::span<const int64_t> images) {
  const at::NoGradGuard no_gradients;
  const std::vector<int64_t> classes = trained_class_of_test(features);
  std::vector<at::Tensor> maps;
  for (size_t at = 0; at < images.size(); at += kBatch) {
    const auto batch = images.subspan(at, std::min(kBatch, images.size() - at));
    std::vector<int64_t> labels;
    for (const int64_t image : batch) labels.push_back(classes[static_cast<size_t>(image)]);
    const at::Device device = features.test.device();
    const at::Tensor index = at::tensor(at::ArrayRef<int64_t>(batch.data(), batch.size()), at::kLong).to(device);
    const at::Tensor label = at::tensor(labels, at::kLong).to(device);
    maps.push_back(score(model, spec, tokens_of(features.test, index), label).map.to(at::kCPU, at::kFloat));
  }
  return at::cat(maps);
}

/// map [S, S] → uint8 [side, side]: black at `low`, white at `high`.
at::Tensor grey(const at::Tensor& map, int64_t side, float low, float high) {
  const float span = std::max(high - low, 1e-12f);
  at::Tensor level = ((map - low) / span).clamp(0, 1).mul(255);
  if (side < level.size(0)) {
    level = at::_upsample_bilinear2d_aa(level.unsqueeze(0).unsqueeze(0), {side, side}, /*align_corners=*/false)[0][0];
  }
  return level.clamp(0, 255).round().to(at::kByte);
}

/// mask uint8 [S, S] → uint8 [side, side]: white where it is defective. However thin, a defect stays when it shrinks.
at::Tensor white(const at::Tensor& mask, int64_t side) {
  const at::Tensor truth = mask.ne(0).to(at::kFloat).unsqueeze(0);
  const at::Tensor shown = side < mask.size(0) ? std::get<0>(at::adaptive_max_pool2d(truth, {side, side})) : truth;
  return shown[0].mul(255).to(at::kByte);
}

}  // namespace

std::vector<int64_t> typical_images(std::span<const int64_t> images, std::span<const float> scores, size_t count) {
  std::vector<int64_t> sorted(images.begin(), images.end());
  std::ranges::stable_sort(sorted, {}, [&](int64_t image) { return scores[static_cast<size_t>(image)]; });
  if (sorted.size() <= count) return sorted;
  // Of one image it is the median, the upper one of two.
  const size_t first = std::min((sorted.size() - count + 1) / 2, sorted.size() - count);
  return {sorted.begin() + static_cast<ptrdiff_t>(first), sorted.begin() + static_cast<ptrdiff_t>(first + count)};
}

std::vector<int64_t> shown_images(const FeatureSet& features, std::span<const float> scores, int64_t per_kind) {
  const std::vector<std::vector<int64_t>> kinds = kinds_of(features);
  std::vector<int64_t> shown;
  if (kinds.empty() || per_kind <= 0) return shown;
  const size_t count = std::clamp<size_t>(most_pictures / kinds.size(), 1, static_cast<size_t>(per_kind));
  for (const auto& images : kinds) {
    const std::vector<int64_t> some = typical_images(images, scores, count);
    if (shown.size() + some.size() > most_pictures) break;
    shown.insert(shown.end(), some.begin(), some.end());
  }
  return shown;
}

Result<std::vector<PictureItem>> test_pictures(const Model& model, const EvalSpec& spec, const FeatureSet& features,
                                               const TestScores& found, int64_t step) {
  std::vector<PictureItem> pictures;
  if (!features.test_image) return pictures;
  const std::vector<float>& scores = chosen_scores(found, spec);
  const std::vector<int64_t> images = shown_images(features, scores, spec.pictures);
  if (images.empty()) return pictures;
  const at::Tensor maps = maps_of(model, spec, features, images);
  const int64_t side = std::min<int64_t>(most_picture_side, maps.size(2));
  for (size_t i = 0; i < images.size(); ++i) {
    const auto at = static_cast<size_t>(images[i]);
    PictureItem& picture = pictures.emplace_back();
    picture.number = i;
    picture.step = step;
    picture.name = test_name(features, images[i]).substr(0, most_picture_name);
    picture.class_name =
        features.class_names[static_cast<size_t>(features.test_class[at])].substr(0, most_picture_name);
    picture.anomalous = features.test_anomalous[at];
    picture.score = scores[at];
    const auto pixels = features.test_image(images[i]);
    if (!pixels) return pixels.error();
    picture.image = encode_png(resized(*pixels, side));
    if (picture.anomalous && features.test_mask) {
      const auto mask = features.test_mask(images[i]);
      if (!mask) return mask.error();
      picture.truth = encode_png(white(*mask, side));
    }
    picture.map = encode_png(grey(maps[static_cast<int64_t>(i)], side, found.map_low, found.map_high));
    picture.map_low = found.map_low;
    picture.map_high = found.map_high;
  }
  return pictures;
}

}  // namespace hivq
