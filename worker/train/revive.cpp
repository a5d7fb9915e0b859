#include "worker/train/revive.h"

#include <torch/torch.h>

#include <map>

#include "jobs/philox.h"

namespace hivq {
namespace {

/// Which image of the global batch, and which of its tokens, a dead prototype moves to.
struct Draw {
  int64_t image, token;
};
Draw draw(const std::vector<int64_t>& images, int64_t tokens, const Revival& revival, int64_t level,
          int64_t prototype) {
  const uint64_t place = static_cast<uint64_t>(level) << 32 | static_cast<uint64_t>(prototype);
  const uint64_t bits = random_bits(revival.seed ^ 0x7265766976650000, static_cast<uint64_t>(revival.step), place);
  return {images[(bits >> 32) % images.size()],
          static_cast<int64_t>((bits & 0xffffffff) % static_cast<uint64_t>(tokens))};
}

/// The images of the global batch that use each codebook.
std::map<int64_t, std::vector<int64_t>> images_of(const Batch& batch, bool switching) {
  std::map<int64_t, std::vector<int64_t>> images;
  for (int64_t i = 0; i < batch.global_images(); ++i) {
    images[switching ? batch.global_classes[static_cast<size_t>(i)] : 0].push_back(i);
  }
  return images;
}

}  // namespace

Status revive_prototypes(Model& model, const std::vector<Quantized>& levels, const Batch& batch, const at::Tensor& rows,
                         const Revival& revival, Collective& collective) {
  const at::NoGradGuard no_grad;
  const auto images = images_of(batch, model.codebooks[0].codebooks() > 1);
  const int64_t mine = batch.h0.size(0), tokens = model.tokens();

  // Which are dead is the same on every rank, since the codebooks are.
  std::vector<at::Tensor> index;
  int64_t floats = 0;
  for (const Codebook& codebook : model.codebooks) {
    at::Tensor dead = codebook.cluster_size.index_select(0, rows).lt(revival.below).nonzero();  // [n, 2]
    dead = rows.index_select(0, dead.select(1, 0)) * codebook.prototypes() + dead.select(1, 1);
    floats += dead.numel() * codebook.width();
    index.push_back(dead.to(at::kCPU));
  }
  if (floats == 0) return {};

  at::Tensor packed = at::zeros({floats}, model.values.options());
  std::vector<at::Tensor> targets;
  int64_t at = 0;
  for (size_t level = 0; level < index.size(); ++level) {
    const Codebook& codebook = model.codebooks[level];
    const int64_t count = index[level].numel();
    targets.push_back(packed.narrow(0, at, count * codebook.width()).view({count, codebook.width()}));
    at += count * codebook.width();
    std::vector<int64_t> to, from;  // this rank's part
    for (int64_t i = 0; i < count; ++i) {
      const int64_t prototype = index[level].const_data_ptr<int64_t>()[i];
      const Draw drawn =
          draw(images.at(prototype / codebook.prototypes()), tokens, revival, static_cast<int64_t>(level), prototype);
      if (drawn.image < batch.first || drawn.image >= batch.first + mine) continue;
      to.push_back(i);
      from.push_back((drawn.image - batch.first) * tokens + drawn.token);
    }
    if (to.empty()) continue;
    const at::Device device = packed.device();
    targets.back().index_copy_(
        0, at::tensor(to, at::kLong).to(device),
        levels[level].tokens.flatten(0, 1).index_select(0, at::tensor(from, at::kLong).to(device)));
  }
  if (Status summed = collective.all_reduce_sum(packed); !summed) return summed;

  for (size_t level = 0; level < index.size(); ++level) {
    if (index[level].numel() == 0) continue;
    Codebook& codebook = model.codebooks[level];
    const at::Tensor where = index[level].to(packed.device());
    codebook.embed.flatten(0, 1).index_copy_(0, where, targets[level]);
    codebook.embed_avg.flatten(0, 1).index_copy_(0, where, targets[level] * revival.below);
    codebook.cluster_size.flatten().index_fill_(0, where, revival.below);
    refresh(codebook);
  }
  return {};
}

}  // namespace hivq
