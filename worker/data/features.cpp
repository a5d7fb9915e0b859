#include <torch/torch.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include "common/sha256.h"
#include "worker/backbone/efficientnet.h"
#include "worker/backbone/weights.h"
#include "worker/data/feature_set.h"
#include "worker/data/image_set.h"
#include "worker/data/preprocess.h"
#include "worker/data/shared_features.h"
#include "worker/data/usable_images.h"

namespace hivq {
namespace {

constexpr int64_t kFeatureStride = 16;  // pixels per cell of the feature grid

/// All that the features depend on. A change of what the code computes changes the first line.
std::string key_of(const ImageSet& images, const DataSpec& data, const EfficientNet& network,
                   const BackboneWeights& weights) {
  return sha256_hex(fmt::format("hivq features 2 {}\n{}\nimage_size {}\n{} {}", data.features, images.identity,
                                data.image_size, network.settings, weights.digest));
}

/// Decodes images [first, first + count) and computes their features. A damaged image is an Error where `fail`, and
/// else a row marked as damaged.
Result<at::Tensor> features_of(const EfficientNet& network, const ImageSet& images, int64_t image_size, int64_t first,
                               int64_t count, bool fail) {
  std::vector<at::Tensor> batch;
  std::vector<int64_t> damaged;
  for (int64_t i = 0; i < count; ++i) {
    const Result<at::Tensor> image = images.decode(first + i);
    if (!image && fail) return damaged_error(image.error().message);
    if (!image) damaged.push_back(i);
    batch.push_back(image ? preprocess(*image, image_size) : at::zeros({3, image_size, image_size}));
  }
  const at::Tensor features = extract_features(network, at::stack(batch));
  mark_damaged(features, damaged);
  return features;
}

/// Rows [first, first + count) as a tensor that keeps the mapping alive.
at::Tensor view(const std::shared_ptr<const MappedFeatures>& mapped, int64_t first, int64_t count,
                const std::vector<int64_t>& row_shape) {
  std::vector<int64_t> shape = {count};
  shape.insert(shape.end(), row_shape.begin(), row_shape.end());
  if (count == 0) return at::empty(shape);
  auto* rows = const_cast<std::byte*>(mapped->bytes(first, count).data());
  return at::from_blob(
      rows, shape, [mapped](void*) {}, mapped->layout().bfloat16 ? at::kBFloat16 : at::kFloat);
}

Status check_image_size(int64_t size) {
  if (size >= kFeatureStride && size % kFeatureStride == 0) return {};
  return error("data.image_size is {}; it must be a multiple of {}, at least {}", size, kFeatureStride, kFeatureStride);
}

}  // namespace

Result<FeatureSet> load_features(const DataSpec& data, const BackboneSpec& backbone, const FeaturePlaces& places,
                                 const FeatureProgress& progress) {
  if (Status size = check_image_size(data.image_size); !size) return size.error();
  Result<ImageSet> loaded = load_images(data);
  if (!loaded) return loaded.error();
  const auto images = std::make_shared<const ImageSet>(std::move(*loaded));
  const Result<BackboneWeights> weights = load_backbone_weights(backbone, places.weights_dir);
  if (!weights) return weights.error();
  const Result<EfficientNet> network = make_efficientnet(backbone, weights->file, weights->path);
  if (!network) return network.error();

  const int64_t grid = data.image_size / kFeatureStride;
  const std::vector<int64_t> row_shape = {network->channels, grid, grid};
  const FeatureLayout layout{key_of(*images, data, *network, *weights), images->size(), network->channels * grid * grid,
                             data.features == "bfloat16"};
  const auto compute = [&](int64_t first, std::span<float> rows) -> Status {
    const int64_t count = static_cast<int64_t>(rows.size()) / layout.row_floats;
    const Result<at::Tensor> features =
        features_of(*network, *images, data.image_size, first, count, data.damaged == "fail");
    if (!features) return features.error();
    std::copy_n(features->const_data_ptr<float>(), rows.size(), rows.data());
    return {};
  };
  const auto mapped = shared_features(places.cache_dir, layout, compute, progress, places.cache_limit);
  if (!mapped) return mapped.error();

  const auto trained = static_cast<int64_t>(images->train.size());
  const at::Tensor train = view(*mapped, 0, trained, row_shape);
  const at::Tensor test = view(*mapped, trained, layout.rows - trained, row_shape);
  Result<UsableImages> usable = find_usable(*images, train, test, data.damaged == "fail");
  if (!usable) return usable.error();
  FeatureSet set = describe(images, *usable, data.image_size);
  set.train = rows_of(train, usable->train);
  set.test = rows_of(test, usable->test);
  return set;
}

}  // namespace hivq
