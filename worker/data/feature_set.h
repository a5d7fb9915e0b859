#pragma once

// The features of a data set: what training and evaluation read. The backbone is frozen and nothing is augmented, so an
// image's features never change; they are computed once and mapped from a file that every rank and gang of the host
// shares.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/result.h"
#include "jobs/spec.h"
#include "worker/data/image_set.h"

namespace hivq {

struct FeatureSet {
  at::Tensor
      train;  // [n, C, G, G] h0 of each training image (MODEL.md, "Tensors"); float32, or bfloat16 to save memory
  std::vector<int64_t> train_class;      // [n] index into trained_classes
  at::Tensor test;                       // [m, C, G, G] as `train`
  std::vector<int64_t> test_class;       // [m] index into class_names
  std::vector<bool> test_anomalous;      // [m]
  std::vector<std::string> class_names;  // of every class of the data set
  std::vector<int64_t> trained_classes;  // indices into class_names; the model's classes, in this order
  Protocol protocol = Protocol::many_class;
  std::vector<std::string> test_name;  // [m] for people
  /// Test image i as uint8 [H, W, 3], and its ground truth as uint8 [S, S], 1 where it is defective, S =
  /// data.image_size (nearest neighbour). Null where there are no images, or no masks.
  std::function<Result<at::Tensor>(int64_t i)> test_image, test_mask;
  std::function<Result<at::Tensor>(int64_t i)> train_image;
  std::vector<std::string> warnings;  // of images that are left out: which, and why

  /// Of what is computed with them: bfloat16 is how they are kept only.
  at::TensorOptions options() const {
    return train.scalar_type() == at::kBFloat16 ? train.options().dtype(at::kFloat) : train.options();
  }
};

/// Where the backbone's weights and the cached features lie.
struct FeaturePlaces {
  std::string weights_dir;  // holds <backbone>.safetensors or <backbone>.pth
  std::string cache_dir;    // made where absent
  size_t cache_limit = 0;   // bytes in it; 0: no limit
};

/// Progress of the extraction, called on the rank that computes: images done, images in all.
using FeatureProgress = std::function<void(int64_t done, int64_t total)>;

/// Loads the features from the cache, or computes them and fills the cache. Safe to call from several processes at
/// once: one of them computes, or they share the work; the others wait and then map the finished file. Errors name the
/// file and the remedy: data set missing, weights missing or damaged, cache folder not writable; with data.damaged
/// `fail` also the first image that cannot be used.
Result<FeatureSet> load_features(const DataSpec& data, const BackboneSpec& backbone, const FeaturePlaces& places,
                                 const FeatureProgress& progress);

}  // namespace hivq
