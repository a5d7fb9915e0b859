#include "worker/train/step.h"

#include <torch/torch.h>

#include <set>

#include "worker/model/jitter.h"
#include "worker/train/revive.h"

namespace hivq {
namespace {

/// The packed tensor [gradients | terms of Eq. 1 | stop | counts and sums of each level], as views. Only the codebooks
/// that the global batch uses take part, so its length varies.
struct Sums {
  at::Tensor packed, terms, stop;
  std::vector<CodebookStatistics> levels;
};

int64_t packed_size(const Model& model, int64_t rows) {
  int64_t size = model.values.numel() + Objective::kTerms + model.levels() + 1;
  for (const Codebook& codebook : model.codebooks) size += rows * codebook.prototypes() * (codebook.width() + 1);
  return size;
}

Sums unpack(const Training& training, int64_t rows) {
  const Model& model = training.model;
  Sums sums;
  sums.packed = training.sums.narrow(0, 0, packed_size(model, rows));
  int64_t at = model.values.numel();
  const auto next = [&](std::vector<int64_t> shape) {
    const int64_t count = c10::multiply_integers(shape);
    at += count;
    return sums.packed.narrow(0, at - count, count).view(shape);
  };
  sums.terms = next({Objective::kTerms + model.levels()});
  sums.stop = next({1});
  for (const Codebook& codebook : model.codebooks) {
    const at::Tensor counts = next({rows, codebook.prototypes()});
    sums.levels.push_back({counts, next({rows, codebook.prototypes(), codebook.width()})});
  }
  return sums;
}

/// The codebooks that the global batch uses: their indices, and the row of each class among them.
struct Rows {
  at::Tensor codebooks;  // [R] int64
  at::Tensor of_class;   // [classes] int64
};
Rows rows_of(const Model& model, const Batch& batch, at::Device device) {
  std::vector<int64_t> codebooks = {0}, of_class(static_cast<size_t>(model.input.classes), 0);
  if (model.codebooks[0].codebooks() > 1) {
    const std::set<int64_t> present(batch.global_classes.begin(), batch.global_classes.end());
    codebooks.assign(present.begin(), present.end());
    for (size_t row = 0; row < codebooks.size(); ++row) {
      of_class.at(static_cast<size_t>(codebooks[row])) = static_cast<int64_t>(row);
    }
  }
  return {at::tensor(codebooks, at::kLong).to(device), at::tensor(of_class, at::kLong).to(device)};
}

/// The epoch's use of the prototypes, for the metrics.
void count_use(Training& training, const Sums& sums, const Rows& rows, const Batch& batch) {
  const at::Tensor commitments = sums.terms.to(at::kCPU, at::kDouble).slice(0, Objective::kTerms);
  for (size_t level = 0; level < sums.levels.size(); ++level) {
    training.use[level].index_add_(0, rows.codebooks, sums.levels[level].counts.to(at::kDouble));
    training.distance[level] += commitments[static_cast<int64_t>(level)].item<double>() *
                                static_cast<double>(training.model.codebooks[level].width()) *
                                static_cast<double>(batch.global_images() * training.model.tokens());
  }
}

}  // namespace

at::Tensor tokens_of(const at::Tensor& features, const at::Tensor& images) {
  return features.index_select(0, images).flatten(2).transpose(1, 2).contiguous();
}

Batch load_batch(const FeatureSet& features, std::span<const int64_t> images, int rank, int ranks) {
  const auto class_of = [&](int64_t image) { return features.train_class[static_cast<size_t>(image)]; };
  const Range share = share_of(static_cast<int64_t>(images.size()), rank, ranks);
  const auto mine = images.subspan(static_cast<size_t>(share.begin), static_cast<size_t>(share.size()));
  std::vector<int64_t> classes, global_classes;
  for (const int64_t image : mine) classes.push_back(class_of(image));
  for (const int64_t image : images) global_classes.push_back(class_of(image));
  const at::Device device = features.train.device();
  const at::Tensor chosen = at::tensor(c10::ArrayRef<int64_t>(mine.data(), mine.size()), at::kLong);
  return {tokens_of(features.train, chosen.to(device)), at::tensor(classes, at::kLong).to(device), share.begin,
          std::move(global_classes)};
}

Training make_training(const TrialSpec& spec, const InputShape& input, const at::TensorOptions& options) {
  Training training;
  training.model = make_model(spec.model, input, spec.train.seed, options);
  training.optimizer = make_adamw(training.model.values);
  const int64_t codebooks = training.model.codebooks[0].codebooks();
  training.sums = at::zeros({packed_size(training.model, codebooks)}, options);
  place_gradients(training.model, training.sums.narrow(0, 0, training.model.values.numel()));
  for (const Codebook& codebook : training.model.codebooks) {
    training.use.push_back(at::zeros_like(codebook.cluster_size, at::kDouble));
    training.distance.push_back(0);
  }
  return training;
}

Result<StepReport> train_step(Training& training, const TrialSpec& spec, const Batch& batch, double lr, bool stop,
                              Collective& collective) {
  Model& model = training.model;
  const Rows rows = rows_of(model, batch, model.values.device());
  Sums sums = unpack(training, rows.codebooks.numel());
  sums.packed.zero_();

  Forward out;
  if (batch.h0.size(0) > 0) {
    Dropout dropout{spec.model.dropout, spec.train.seed, static_cast<uint32_t>(training.step), batch.first};
    const JitterSource noise{spec.train.seed, training.step, batch.first};
    out = forward(model, jittered(batch.h0, spec.model.jitter, noise), batch.classes, dropout);
    const Objective eq1 = objective(model, spec.loss, batch, out);
    eq1.total.backward();
    sums.terms.copy_(eq1.terms);
    const at::Tensor row = rows.of_class.index_select(0, batch.classes);
    for (size_t level = 0; level < out.levels.size(); ++level) {
      add_statistics(sums.levels[level], out.levels[level], row);
    }
  }
  if (stop && collective.rank() == 0) sums.stop.fill_(1);
  if (Status reduced = collective.all_reduce_sum(sums.packed); !reduced) return reduced.error();

  StepReport report{losses_of(sums.terms, spec.loss)};
  report.stop = sums.stop.item<double>() != 0;
  report.losses.gradient_norm = clip_gradient(model.gradients, spec.train.clip);
  if (report.stop || !report.losses.not_finite().empty()) return report;

  adamw_step(model.values, model.gradients, training.optimizer, ++training.step, lr, spec.train.weight_decay);
  for (size_t level = 0; level < model.codebooks.size(); ++level) {
    ema_update(model.codebooks[level], sums.levels[level], rows.codebooks, spec.model.quantizer.decay);
  }
  if (spec.model.quantizer.revive_below > 0) {
    const Revival revival{spec.model.quantizer.revive_below, spec.train.seed, training.step};
    if (Status revived = revive_prototypes(model, out.levels, batch, rows.codebooks, revival, collective); !revived) {
      return revived.error();
    }
  }
  count_use(training, sums, rows, batch);
  report.applied = true;
  return report;
}

}  // namespace hivq
