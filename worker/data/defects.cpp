#include "worker/data/defects.h"

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

namespace hivq {
namespace {

constexpr float kDefective = 0.3f;  // how much of a pixel is the defect's where the mask holds it

/// How much of each pixel is the defect's, 0 … 1, float [S, S].
struct Cover {
  int64_t size;
  std::vector<float> at;
  explicit Cover(int64_t side) : size(side), at(static_cast<size_t>(side * side), 0.0f) {}

  template <typename Of>
  static Cover of(int64_t side, Of value) {
    Cover cover(side);
    for (int64_t y = 0; y < side; ++y) {
      for (int64_t x = 0; x < side; ++x) {
        const double v = value(static_cast<double>(x), static_cast<double>(y));
        cover.at[static_cast<size_t>(y * side + x)] = static_cast<float>(std::clamp(v, 0.0, 1.0));
      }
    }
    return cover;
  }
};

/// The image with `paint`, float [S, S, 3] or a colour, over it where the cover is.
Defective blend(const at::Tensor& image, const at::Tensor& paint, const Cover& cover) {
  const at::Tensor share = at::from_blob(const_cast<float*>(cover.at.data()), {cover.size, cover.size, 1}, at::kFloat);
  const at::Tensor base = image.to(at::kFloat);
  const at::Tensor mixed = (base + share * (paint - base)).add_(0.5).clamp_(0, 255).to(at::kByte);
  return {mixed, share.squeeze(2).gt(kDefective).to(at::kByte).mul_(255)};
}

/// A blob: an ellipse whose outline waves. Its cover falls from 1 to 0 within `softness` of the radius at the outline.
Cover blob(int64_t size, double radius, double softness, Dice& dice) {
  const double side = static_cast<double>(size), margin = std::min(radius, 0.45 * side);
  const double cx = dice.uniform(margin, side - margin), cy = dice.uniform(margin, side - margin);
  const double stretch = dice.uniform(0.6, 1.0), turn = dice.uniform(0, std::numbers::pi);
  std::array<double, 4> wave, phase;
  for (size_t k = 0; k < wave.size(); ++k) {
    wave[k] = dice.uniform(0, 0.2 / static_cast<double>(k + 1));
    phase[k] = dice.uniform(0, 2 * std::numbers::pi);
  }
  return Cover::of(size, [=](double x, double y) {
    const double u = (x - cx) * std::cos(turn) + (y - cy) * std::sin(turn);
    const double v = ((y - cy) * std::cos(turn) - (x - cx) * std::sin(turn)) / stretch;
    const double angle = std::atan2(v, u);
    double outline = radius;
    for (size_t k = 0; k < wave.size(); ++k) {
      outline *= 1 + wave[k] * std::sin(static_cast<double>(k + 2) * angle + phase[k]);
    }
    return 0.5 + (1 - std::hypot(u, v) / outline) / softness;
  });
}

double random_radius(int64_t size, Dice& dice) { return static_cast<double>(size) * dice.uniform(0.06, 0.16); }

double distance_to_segment(double x, double y, const std::array<double, 2>& a, const std::array<double, 2>& b) {
  const double dx = b[0] - a[0], dy = b[1] - a[1];
  const double along = std::clamp(((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy + 1e-9), 0.0, 1.0);
  return std::hypot(x - a[0] - along * dx, y - a[1] - along * dy);
}

/// A thin bent line, bright or dark.
Defective scratch(const at::Tensor& image, const at::Tensor&, Dice& dice) {
  const int64_t size = image.size(0);
  const double side = static_cast<double>(size), step = side * dice.uniform(0.05, 0.10);
  const double width = std::max(1.0, side * dice.uniform(0.004, 0.012));
  std::vector<std::array<double, 2>> path = {{dice.uniform(0.2, 0.8) * side, dice.uniform(0.2, 0.8) * side}};
  double heading = dice.uniform(0, 2 * std::numbers::pi);
  for (int i = 0; i < 6; ++i) {
    heading += dice.uniform(-0.5, 0.5);
    path.push_back({path.back()[0] + step * std::cos(heading), path.back()[1] + step * std::sin(heading)});
  }
  const Cover cover = Cover::of(size, [&](double x, double y) {
    double nearest = side;
    for (size_t i = 1; i < path.size(); ++i) {
      nearest = std::min(nearest, distance_to_segment(x, y, path[i - 1], path[i]));
    }
    return width + 0.5 - nearest;
  });
  const double shade = dice.below(2) == 0 ? dice.uniform(220, 255) : dice.uniform(0, 30);
  return blend(image, at::full({3}, shade), cover);
}

/// A colour that the texture shines through, as of rust, oil or paint.
Defective stain(const at::Tensor& image, const at::Tensor&, Dice& dice) {
  Cover cover = blob(image.size(0), random_radius(image.size(0), dice), 0.35, dice);
  const double strength = dice.uniform(0.5, 0.8);
  const at::Tensor colour = at::empty({3});
  for (int64_t c = 0; c < 3; ++c) colour[c] = dice.uniform(0, 160);
  const at::Tensor base = image.to(at::kFloat);
  return blend(image, base + strength * (colour - base), cover);
}

/// A dark hole with a lit rim.
Defective hole(const at::Tensor& image, const at::Tensor&, Dice& dice) {
  const int64_t size = image.size(0);
  const Cover cover = blob(size, 0.7 * random_radius(size, dice), 0.25, dice);
  const at::Tensor share = at::from_blob(const_cast<float*>(cover.at.data()), {size, size, 1}, at::kFloat);
  // Dark within, and brightest where the cover is half.
  const at::Tensor paint = 15 + 150 * (4 * share * (1 - share));
  return blend(image, paint.expand({size, size, 3}), cover);
}

/// A piece of another texture.
Defective patch(const at::Tensor& image, const at::Tensor& other, Dice& dice) {
  return blend(image, other.to(at::kFloat), blob(image.size(0), random_radius(image.size(0), dice), 0.08, dice));
}

/// The texture wiped along a direction.
Defective smear(const at::Tensor& image, const at::Tensor&, Dice& dice) {
  const int64_t size = image.size(0), half = std::max<int64_t>(4, size / 12);
  const double turn = dice.uniform(0, std::numbers::pi);
  const at::Tensor base = image.to(at::kFloat);
  at::Tensor sum = at::zeros_like(base);
  for (int64_t k = -half; k <= half; ++k) {
    const auto dy = static_cast<int64_t>(std::lround(static_cast<double>(k) * std::sin(turn)));
    const auto dx = static_cast<int64_t>(std::lround(static_cast<double>(k) * std::cos(turn)));
    sum += base.roll({dy, dx}, {0, 1});
  }
  return blend(image, sum / static_cast<double>(2 * half + 1), blob(size, 1.2 * random_radius(size, dice), 0.15, dice));
}

constexpr DefectKind kKinds[] = {{"hole", false, hole},
                                 {"patch", true, patch},
                                 {"scratch", false, scratch},
                                 {"smear", false, smear},
                                 {"stain", false, stain}};

}  // namespace

std::span<const DefectKind> defect_kinds() { return kKinds; }

}  // namespace hivq
