#pragma once

// Painted defects of the texture set.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <random>
#include <span>

namespace hivq {

/// Random numbers that are the same wherever they are drawn; the standard library's distributions are not.
class Dice {
 public:
  explicit Dice(uint64_t seed) : bits_(seed) {}
  double uniform(double low, double high) { return low + (high - low) * static_cast<double>(bits_() >> 11) * 0x1p-53; }
  int64_t below(int64_t n) { return static_cast<int64_t>(bits_() % static_cast<uint64_t>(n)); }

 private:
  std::mt19937_64 bits_;
};

struct Defective {
  at::Tensor image;  // uint8 [S, S, 3]
  at::Tensor mask;   // uint8 [S, S]: 255 where the image is defective
};

/// A kind of defect. `image`: uint8 [S, S, 3], without a defect; `other`: the same of another texture, or undefined.
struct DefectKind {
  const char* name;
  bool needs_other;
  Defective (*paint)(const at::Tensor& image, const at::Tensor& other, Dice& dice);
};
std::span<const DefectKind> defect_kinds();

}  // namespace hivq
