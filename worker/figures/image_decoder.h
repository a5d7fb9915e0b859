#pragma once

// Paints an image from features, for people to see what the model reconstructs (Figure 2's "Recon"). A small
// convolutional network, trained after the model on the normal training images; no part of scoring.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "common/result.h"
#include "worker/data/feature_set.h"

namespace hivq {

struct DecoderOptions {
  int64_t steps = 400;   // of AdamW; the learning rate falls to 0 along half a cosine
  int64_t batch = 8;     // images
  int64_t images = 512;  // training images at most, spread over the classes
  double lr = 3e-3;
  uint64_t seed = 0;
};

class ImageDecoder {
 public:
  /// Learns h0 → image on the training images of `features`, at image_size × image_size pixels. `progress`: steps done,
  /// in all. Errors: an image that cannot be decoded; no training images.
  static Result<ImageDecoder> train(const FeatureSet& features, int64_t image_size, const DecoderOptions& options,
                                    const std::function<void(int64_t done, int64_t total)>& progress);

  /// [b, C, G, G] → uint8 [b, S, S, 3].
  at::Tensor paint(const at::Tensor& features) const;
  /// Mean squared error of the last tenth of the steps, pixels in 0 … 1.
  double loss() const { return loss_; }

 private:
  struct Network;
  std::shared_ptr<Network> network_;
  double loss_ = 0;
};

}  // namespace hivq
