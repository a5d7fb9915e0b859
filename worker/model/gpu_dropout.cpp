#include "worker/model/gpu_dropout.h"

#include <torch/torch.h>

#include "worker/gpu/kernels.h"

namespace hivq {

GpuMasks gpu_masks(const Dropout& dropout, int64_t images) {
  const auto trials = static_cast<int64_t>(dropout.streams.size());
  GpuMasks masks;
  masks.streams.images = std::max<int64_t>(1, images);
  if (!dropout.active()) {
    std::fill_n(masks.streams.scale, DropoutStreams::kMost, 1.0);
    return masks;
  }
  check(trials <= DropoutStreams::kMost, "the kernels take the masks of so many trials");
  check(dropout.step.defined(), "dropout on a GPU finds its step in memory");
  masks.step = dropout.step.const_data_ptr();
  masks.streams.images = std::max<int64_t>(1, images / trials);
  masks.streams.site = dropout.site;
  for (size_t trial = 0; trial < dropout.streams.size(); ++trial) {
    const DropoutStream& stream = dropout.streams[trial];
    const DropoutMask mask = mask_of_rate(stream.rate);
    masks.streams.first_image[trial] = static_cast<unsigned>(stream.first_image);
    masks.streams.key0[trial] = static_cast<unsigned>(stream.seed);
    masks.streams.key1[trial] = static_cast<unsigned>(stream.seed >> 32);
    masks.streams.threshold[trial] = mask.threshold;
    masks.streams.scale[trial] = mask.scale;
  }
  return masks;
}

at::Tensor gpu_dropout(const Dropout& dropout, const at::Tensor& x) {
  const at::Tensor in = x.contiguous();
  at::Tensor out = at::empty_like(in);
  const int64_t images = in.size(0), count = images == 0 ? 0 : in.numel() / images, blocks = (count + 255) / 256 * 32;
  const GpuMasks masks = gpu_masks(dropout, images);
  start_gpu_kernel("dropout", {x.scalar_type(), x.scalar_type()}, x.device(), gpu_threads(images * blocks),
                   {kGpuThreads}, in.const_data_ptr(), out.mutable_data_ptr(), count, blocks, images, masks.streams,
                   masks.step);
  return out;
}

}  // namespace hivq
