#include "worker/train/revive.h"

#include <torch/torch.h>

#include <map>

#include "jobs/philox.h"

namespace hivq {
namespace {

/// Dead prototypes of one level and the tokens of the global batch that they move to.
struct Moves {
  std::vector<int64_t> prototype;  // among the rows of all codebooks
  std::vector<int64_t> trial;      // of the prototype
  std::vector<int64_t> token;      // image in the trial's batch · N + token

  int64_t count() const { return static_cast<int64_t>(token.size()); }
};

/// The tokens of each codebook in its trial's global batch.
std::map<int64_t, std::vector<int64_t>> tokens_of_codebooks(const Batch& batch, int64_t per_trial, int64_t tokens) {
  std::map<int64_t, std::vector<int64_t>> pools;
  const int64_t images = batch.global_images();
  for (int64_t i = 0; i < batch.trials * images; ++i) {
    const int64_t own = per_trial > 1 ? batch.global_classes[static_cast<size_t>(i)] : 0;
    std::vector<int64_t>& pool = pools[i / images * per_trial + own];
    for (int64_t token = 0; token < tokens; ++token) pool.push_back(i % images * tokens + token);
  }
  return pools;
}

/// Moves the first `count` of a random order of the pool to its front (Fisher and Yates).
void shuffle_front(std::vector<int64_t>& pool, size_t count, const Revival& revival, uint64_t place) {
  constexpr uint64_t kStream = 0x7265766976650000;  // keeps these draws apart from others of the seed
  for (size_t i = 0; i < count; ++i) {
    const uint64_t bits = random_bits(revival.seed ^ kStream, static_cast<uint64_t>(revival.step), place << 20 | i);
    std::swap(pool[i], pool[i + bits % (pool.size() - i)]);
  }
}

/// Different tokens for different prototypes, since of two equal ones only the first is ever nearest. Where the batch
/// has fewer tokens than there are dead, the last stay dead.
Moves plan_moves(const Codebook& codebook, const at::Tensor& rows, std::map<int64_t, std::vector<int64_t>> pools,
                 std::span<const Revival> revivals, uint64_t level) {
  const at::Tensor sizes = codebook.cluster_size.index_select(0, rows).to(at::kCPU);  // [R, K]
  const int64_t per_trial = codebook.codebooks() / static_cast<int64_t>(revivals.size());
  Moves moves;
  for (int64_t r = 0; r < sizes.size(0); ++r) {
    const int64_t row = rows[r].item<int64_t>(), trial = row / per_trial;
    const Revival& revival = revivals[static_cast<size_t>(trial)];
    const at::Tensor own = sizes[r].lt(revival.below).nonzero().squeeze(1);
    std::vector<int64_t>& pool = pools.at(row);
    const size_t count = std::min(static_cast<size_t>(own.numel()), pool.size());
    shuffle_front(pool, count, revival, level << 16 | static_cast<uint64_t>(row % per_trial));
    for (size_t i = 0; i < count; ++i) {
      moves.prototype.push_back(row * codebook.prototypes() + own.const_data_ptr<int64_t>()[i]);
      moves.trial.push_back(trial);
      moves.token.push_back(pool[i]);
    }
  }
  return moves;
}

/// Fills in the targets [n, d] whose tokens lie in this rank's share of the batch.
void put_own_tokens(const at::Tensor& targets, const Moves& moves, const at::Tensor& tokens, const Batch& batch) {
  std::vector<int64_t> to, from;
  const int64_t count = tokens.size(0) / batch.trials * tokens.size(1);  // of each trial
  const int64_t begin = batch.first * tokens.size(1);
  for (int64_t i = 0; i < moves.count(); ++i) {
    const int64_t token = moves.token[static_cast<size_t>(i)] - begin;
    if (token < 0 || token >= count) continue;
    to.push_back(i);
    from.push_back(moves.trial[static_cast<size_t>(i)] * count + token);
  }
  if (to.empty()) return;
  const at::Tensor where = at::tensor(to, at::kLong).to(targets.device());
  const at::Tensor which = at::tensor(from, at::kLong).to(targets.device());
  targets.index_copy_(0, where, tokens.flatten(0, 1).index_select(0, which));
}

void move_prototypes(Codebook& codebook, const Moves& moves, const at::Tensor& targets,
                     std::span<const Revival> revivals) {
  std::vector<double> each;
  for (const int64_t trial : moves.trial) each.push_back(revivals[static_cast<size_t>(trial)].below);
  const at::Tensor size = at::tensor(each, at::kDouble).to(targets.options());
  const at::Tensor where = at::tensor(moves.prototype, at::kLong).to(targets.device());
  codebook.embed.flatten(0, 1).index_copy_(0, where, targets);
  codebook.embed_avg.flatten(0, 1).index_copy_(0, where, targets * size.unsqueeze(1));
  codebook.cluster_size.flatten().index_copy_(0, where, size);
  refresh(codebook);
}

}  // namespace

Status revive_prototypes(Model& model, const std::vector<Quantized>& levels, const Batch& batch, const at::Tensor& rows,
                         std::span<const Revival> revivals, Collective& collective) {
  const at::NoGradGuard no_grad;
  const auto pools = tokens_of_codebooks(batch, model.codebooks_per_level(), model.tokens());
  std::vector<Moves> moves;  // the same on every rank, since the codebooks are
  int64_t floats = 0;
  for (const Codebook& codebook : model.codebooks) {
    moves.push_back(plan_moves(codebook, rows, pools, revivals, moves.size()));
    floats += moves.back().count() * codebook.width();
  }
  if (floats == 0) return {};

  at::Tensor packed = at::zeros({floats}, model.values.options());
  std::vector<at::Tensor> targets;
  int64_t at = 0;
  for (size_t level = 0; level < moves.size(); ++level) {
    const int64_t count = moves[level].count(), width = model.codebooks[level].width();
    targets.push_back(packed.narrow(0, at, count * width).view({count, width}));
    at += count * width;
    if (!levels.empty()) put_own_tokens(targets.back(), moves[level], levels[level].tokens.detach(), batch);
  }
  if (Status summed = collective.all_reduce_sum(packed); !summed) return summed;
  for (size_t level = 0; level < moves.size(); ++level) {
    if (moves[level].count() > 0) move_prototypes(model.codebooks[level], moves[level], targets[level], revivals);
  }
  return {};
}

}  // namespace hivq
