#include "worker/data/masks.h"

#include <torch/torch.h>

#include <mutex>

namespace hivq {
namespace {

using Bits = std::vector<uint8_t>;  // eight pixels a byte; empty: not decoded yet

Bits pack(const at::Tensor& mask) {
  const auto* pixels = mask.const_data_ptr<uint8_t>();
  Bits bits(static_cast<size_t>(mask.numel() + 7) / 8, 0);
  for (int64_t i = 0; i < mask.numel(); ++i) bits[static_cast<size_t>(i / 8)] |= (pixels[i] != 0) << (i % 8);
  return bits;
}

at::Tensor unpack(const Bits& bits, int64_t size) {
  at::Tensor mask = at::empty({size, size}, at::kByte);
  auto* pixels = mask.mutable_data_ptr<uint8_t>();
  for (int64_t i = 0; i < mask.numel(); ++i) pixels[i] = bits[static_cast<size_t>(i / 8)] >> (i % 8) & 1;
  return mask;
}

class MaskCache {
 public:
  MaskCache(std::shared_ptr<const ImageSet> images, std::vector<int64_t> positions, int64_t size)
      : images_(std::move(images)), positions_(std::move(positions)), size_(size), bits_(positions_.size()) {}

  Result<at::Tensor> get(int64_t i) {
    const int64_t position = positions_.at(static_cast<size_t>(i));
    if (!images_->test[static_cast<size_t>(position)].anomalous) return at::zeros({size_, size_}, at::kByte);
    Bits& bits = bits_.at(static_cast<size_t>(i));
    {
      const std::lock_guard lock(mutex_);
      if (!bits.empty()) return unpack(bits, size_);
    }
    const Result<at::Tensor> whole = images_->mask(position);
    if (!whole) return whole.error();
    // The pixel at each centre, as Pillow's NEAREST takes it.
    const at::Tensor mask =
        at::_upsample_nearest_exact2d(whole->unsqueeze(0).unsqueeze(0), {size_, size_}).contiguous();
    Bits packed = pack(mask);
    const std::lock_guard lock(mutex_);
    bits = std::move(packed);
    return mask.squeeze(0).squeeze(0);
  }

 private:
  std::shared_ptr<const ImageSet> images_;
  std::vector<int64_t> positions_;  // among the test images
  int64_t size_;
  std::mutex mutex_;  // guards bits_
  std::vector<Bits> bits_;
};

}  // namespace

std::function<Result<at::Tensor>(int64_t i)> cached_masks(std::shared_ptr<const ImageSet> images,
                                                          std::vector<int64_t> positions, int64_t image_size) {
  auto cache = std::make_shared<MaskCache>(std::move(images), std::move(positions), image_size);
  return [cache](int64_t i) { return cache->get(i); };
}

}  // namespace hivq
