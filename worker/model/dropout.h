#pragma once

// Dropout whose masks do not depend on how a batch is split over ranks: a mask is a pure function of the seed, the
// step, the place in the model, the image's position in the global batch and the element, by the counter-based
// generator Philox 4x32-10 (Salmon et al., SC 2011, "Parallel random numbers: as easy as 1, 2, 3").

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace hivq {

/// What the masks of one trial's step depend on.
struct DropoutStream {
  double rate = 0;  // share of the elements that are dropped, to 16 bits; 0: the identity
  uint64_t seed = 0;
  uint32_t step = 0;
  int64_t first_image = 0;  // position in the global batch of the first image
};

/// Dropout of one step. Each call is a place of its own ("site"), counted in the order of the calls. With several
/// streams the images are those of as many trials side by side, each trial's one after another.
struct Dropout {
  std::vector<DropoutStream> streams;  // none: nothing is dropped
  uint32_t site = 0;
  // [] int64, where a GPU is to find the step of all streams instead: in memory, since what it is given may be recorded
  // once and run at many steps.
  at::Tensor step = {};

  bool active() const;

  /// x [b, ...] → the same shape, elements set to 0 or divided by (1 − rate). Differentiable; the backward pass draws
  /// the mask again instead of keeping it.
  at::Tensor operator()(const at::Tensor& x);
};

/// The factor, 0 or 1/(1 − rate), of each element of `like` [b, ...]; the definition of the masks in tensor operations,
/// for any device. `dropout` must have the site that the call would use.
at::Tensor dropout_mask(const Dropout& dropout, const at::Tensor& like);

/// The same on the CPU for parts of a batch of `images`.
class MaskSource {
 public:
  MaskSource(const Dropout& dropout, int64_t images);
  /// out ← in times the factors of elements [first, first + count) of an image; `in` may be `out`.
  void apply(int64_t image, int64_t first, const float* in, float* out, int64_t count) const;
  void apply(int64_t image, int64_t first, const double* in, double* out, int64_t count) const;

  /// Of the elements of an image that stay.
  double scale(int64_t image) const;

 private:
  const DropoutStream& stream(int64_t image) const;
  template <typename T>
  void apply_parts(int64_t image, int64_t first, const T* in, T* out, int64_t count) const;

  const Dropout& dropout_;
  int64_t per_stream_;
};

/// Nothing where nothing is dropped.
std::optional<MaskSource> masks_of(const Dropout& dropout, int64_t images);

/// What a rate comes to.
struct DropoutMask {
  uint32_t threshold;  // 16 random bits below it drop their element
  double scale;        // of the elements that stay
};
DropoutMask mask_of_rate(double rate);

/// As autograd keeps it for the backward pass, and back.
c10::IValue to_value(const Dropout& dropout);
Dropout dropout_of(const c10::IValue& value);

}  // namespace hivq
