#include "worker/train/step.h"

#include <ATen/record_function.h>
#include <torch/torch.h>

#include <algorithm>
#include <set>

#include "worker/model/jitter.h"
#include "worker/train/revive.h"

namespace hivq {
namespace {

/// The packed tensor [gradients | terms of Eq. 1 | wishes | counts and sums of each level], as views. Only the
/// codebooks that the global batch uses take part, so its length varies.
struct Sums {
  at::Tensor packed;
  at::Tensor tail;    // all but the gradients
  at::Tensor terms;   // [T, kTerms + levels]
  at::Tensor wishes;  // [T]
  std::vector<CodebookStatistics> levels;
};

int64_t packed_size(const Model& model, int64_t rows) {
  int64_t size = model.values.numel() + model.trials * (ObjectiveValue::kTerms + model.levels() + 1);
  for (const Codebook& codebook : model.codebooks) size += rows * codebook.prototypes() * (codebook.width() + 1);
  return size;
}

Sums unpack(const Training& training, int64_t rows) {
  const Model& model = training.model;
  Sums sums;
  sums.packed = training.sums.narrow(0, 0, packed_size(model, rows));
  int64_t at = model.values.numel();
  sums.tail = sums.packed.narrow(0, at, sums.packed.numel() - at);
  const auto next = [&](std::vector<int64_t> shape) {
    const int64_t count = c10::multiply_integers(shape);
    at += count;
    return sums.packed.narrow(0, at - count, count).view(shape);
  };
  sums.terms = next({model.trials, ObjectiveValue::kTerms + model.levels()});
  sums.wishes = next({model.trials});
  for (const Codebook& codebook : model.codebooks) {
    const at::Tensor counts = next({rows, codebook.prototypes()});
    sums.levels.push_back({counts, next({rows, codebook.prototypes(), codebook.width()})});
  }
  return sums;
}

/// The codebooks that the global batches use.
struct Rows {
  std::vector<int64_t> codebooks;  // ascending
  at::Tensor which;                // [R] the same
  at::Tensor of_codebook;          // [T·S] the row of each codebook
};
Rows rows_of(const Model& model, const Batch& batch) {
  const int64_t per_trial = model.codebooks_per_level();
  std::set<int64_t> present;
  for (int64_t i = 0; i < batch.trials * batch.global_images(); ++i) {
    const int64_t trial = i / batch.global_images();
    present.insert(trial * per_trial + (per_trial > 1 ? batch.global_classes[static_cast<size_t>(i)] : 0));
  }
  Rows rows;
  rows.codebooks.assign(present.begin(), present.end());
  std::vector<int64_t> of_codebook(static_cast<size_t>(model.trials * per_trial), 0);
  for (size_t row = 0; row < rows.codebooks.size(); ++row) {
    of_codebook.at(static_cast<size_t>(rows.codebooks[row])) = static_cast<int64_t>(row);
  }
  const at::Device device = model.values.device();
  rows.which = at::tensor(rows.codebooks, at::kLong).to(device);
  rows.of_codebook = at::tensor(of_codebook, at::kLong).to(device);
  return rows;
}

Dropout dropout_of(std::span<const TrialSpec> specs, int64_t step, int64_t first) {
  Dropout dropout;
  for (const TrialSpec& spec : specs) {
    dropout.streams.push_back({spec.model.dropout, spec.train.seed, static_cast<uint32_t>(step), first});
  }
  return dropout;
}

std::vector<LossSpec> weights_of(std::span<const TrialSpec> specs) {
  std::vector<LossSpec> weights;
  for (const TrialSpec& spec : specs) weights.push_back(spec.loss);
  return weights;
}

at::Tensor with_jitter(std::span<const TrialSpec> specs, const Batch& batch, int64_t step) {
  std::vector<at::Tensor> parts = batch.h0.chunk(batch.trials);
  for (size_t trial = 0; trial < parts.size(); ++trial) {
    const JitterSource noise{specs[trial].train.seed, step, batch.first};
    parts[trial] = jittered(parts[trial], specs[trial].model.jitter, noise);
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

/// This rank's share of a step up to backward.
struct Pass {
  Forward out;
  at::Tensor total;
};

/// Forward and losses; fills in the sums but for the gradients.
Pass forward_pass(const Training& training, std::span<const TrialSpec> specs, const Batch& batch, const Rows& rows,
                  Sums& sums) {
  const Model& model = training.model;
  Dropout dropout = dropout_of(specs, training.step, batch.first);
  Pass pass{forward(model, with_jitter(specs, batch, training.step), batch.classes, dropout), {}};
  const ObjectiveValue eq1 = objective(model, weights_of(specs), batch, pass.out);
  pass.total = eq1.total;
  sums.terms.copy_(eq1.terms);
  const at::Tensor& place = pass.out.place;
  const at::Tensor row =
      model.codebooks[0].codebooks() == 1 ? at::zeros_like(place) : rows.of_codebook.index_select(0, place);
  for (size_t level = 0; level < pass.out.levels.size(); ++level) {
    add_statistics(sums.levels[level], pass.out.levels[level], row);
  }
  return pass;
}

/// Autograd warns where a gradient is strided, as those of several trials side by side are.
void backward(const at::Tensor& total) {
  struct Quiet final : c10::WarningHandler {
    void process(const c10::Warning&) override {}
  };
  Quiet quiet;
  const c10::WarningUtils::WarningHandlerGuard guard(&quiet);
  total.backward();
}

/// Those of the trials that took the step: all of them, but for one that stopped or whose losses are not finite.
void update_codebooks(Training& training, std::span<const TrialSpec> specs, Sums& sums, Rows& rows,
                      const std::vector<StepReport>& reports) {
  Model& model = training.model;
  std::vector<int64_t> kept;
  std::vector<double> decay;  // of each that is kept
  for (size_t row = 0; row < rows.codebooks.size(); ++row) {
    const auto trial = static_cast<size_t>(rows.codebooks[row] / model.codebooks_per_level());
    if (!reports[trial].applied) continue;
    kept.push_back(static_cast<int64_t>(row));
    decay.push_back(specs[trial].model.quantizer.decay);
  }
  if (kept.size() < rows.codebooks.size()) {
    const at::Tensor which = at::tensor(kept, at::kLong).to(rows.which.device());
    rows.which = rows.which.index_select(0, which);
    for (CodebookStatistics& level : sums.levels) {
      level = {level.counts.index_select(0, which), level.sums.index_select(0, which)};
    }
  }
  for (size_t level = 0; level < model.codebooks.size(); ++level) {
    ema_update(model.codebooks[level], sums.levels[level], rows.which, decay);
    training.use[level].index_add_(0, rows.which, sums.levels[level].counts.to(at::kDouble));
  }
}

/// The epoch's distances, for the metrics.
void add_distances(Training& training, int64_t trial, const at::Tensor& commitments, int64_t images) {
  for (int64_t level = 0; level < training.model.levels(); ++level) {
    const auto elements = static_cast<double>(training.model.codebooks[static_cast<size_t>(level)].width() * images *
                                              training.model.tokens());
    training.distance[trial][level] += commitments[level] * elements;
  }
}

}  // namespace

at::Tensor tokens_of(const at::Tensor& features, const at::Tensor& images) {
  at::Tensor chosen = features.index_select(0, images);
  if (chosen.scalar_type() == at::kBFloat16) chosen = chosen.to(at::kFloat);
  return chosen.flatten(2).transpose(1, 2).contiguous();
}

Batch load_batch(const FeatureSet& features, std::span<const int64_t> images, int rank, int ranks, int64_t trials) {
  const auto of_trial = static_cast<int64_t>(images.size()) / trials;
  const Range share = share_of(of_trial, rank, ranks);
  std::vector<int64_t> mine, classes, global_classes;
  for (const int64_t image : images) global_classes.push_back(features.train_class[static_cast<size_t>(image)]);
  for (int64_t trial = 0; trial < trials; ++trial) {
    for (int64_t i = trial * of_trial + share.begin; i < trial * of_trial + share.end; ++i) {
      mine.push_back(images[static_cast<size_t>(i)]);
      classes.push_back(global_classes[static_cast<size_t>(i)]);
    }
  }
  const at::Device device = features.train.device();
  return {tokens_of(features.train, at::tensor(mine, at::kLong).to(device)), at::tensor(classes, at::kLong).to(device),
          share.begin, std::move(global_classes), trials};
}

namespace {

/// What derives from a model: the moments and sums of its training, at 0.
Training training_of(Model model) {
  Training training;
  training.model = std::move(model);
  training.optimizer = make_adamw(training.model.values);
  training.sums = at::zeros({packed_size(training.model, training.model.codebooks[0].codebooks())},
                            training.model.values.options());
  place_gradients(training.model,
                  training.sums.narrow(0, 0, training.model.values.numel()).view_as(training.model.values));
  for (const Codebook& codebook : training.model.codebooks) {
    training.use.push_back(at::zeros_like(codebook.cluster_size, at::kDouble));
  }
  training.distance = at::zeros({training.model.trials, training.model.levels()}, at::kDouble);
  return training;
}

}  // namespace

Training make_training(std::span<const TrialSpec> specs, const InputShape& input, const at::TensorOptions& options) {
  std::vector<uint64_t> seeds;
  for (const TrialSpec& spec : specs) seeds.push_back(spec.train.seed);
  Model model = make_model(specs[0].model, input, seeds, options);
  model.bfloat16 = specs[0].train.precision == "bfloat16";
  return training_of(std::move(model));
}

Training trial_of(const Training& training, int64_t trial) {
  Training one = training;
  one.model = trial_of(training.model, trial);
  one.optimizer = {training.optimizer.exp_avg.narrow(0, trial, 1), training.optimizer.exp_avg_sq.narrow(0, trial, 1)};
  const int64_t per_level = training.model.codebooks_per_level();
  for (at::Tensor& use : one.use) use = use.narrow(0, trial * per_level, per_level);
  one.distance = training.distance.narrow(0, trial, 1);
  one.sums = at::Tensor();
  one.buckets.reset();
  return one;
}

Training copy_trials(const Training& training, const std::vector<int64_t>& trials) {
  Training some = training_of(copy_trials(training.model, trials));
  some.step = training.step, some.epoch = training.epoch, some.batch = training.batch;
  for (size_t i = 0; i < trials.size(); ++i) {
    const Training from = trial_of(training, trials[i]), to = trial_of(some, static_cast<int64_t>(i));
    to.optimizer.exp_avg.copy_(from.optimizer.exp_avg);
    to.optimizer.exp_avg_sq.copy_(from.optimizer.exp_avg_sq);
    for (size_t level = 0; level < from.use.size(); ++level) to.use[level].copy_(from.use[level]);
    to.distance.copy_(from.distance);
  }
  return some;
}

Result<std::vector<StepReport>> train_step(Training& training, std::span<const TrialSpec> specs, const Batch& batch,
                                           std::span<const StepSetting> settings, Collective& collective) {
  Model& model = training.model;
  Rows rows = rows_of(model, batch);
  Sums sums = unpack(training, rows.which.numel());
  sums.packed.zero_();

  Pass mine;
  if (batch.h0.size(0) > 0) {
    RECORD_USER_SCOPE("forward");
    mine = forward_pass(training, specs, batch, rows, sums);
  }
  for (size_t i = 0; collective.rank() == 0 && i < settings.size(); ++i) {
    if (settings[i].wish != Wish::go_on) sums.wishes[static_cast<int64_t>(i)] = static_cast<int>(settings[i].wish);
  }
  if (!training.buckets) training.buckets = std::make_shared<GradientBuckets>(model, collective);
  training.buckets->arm();
  if (Status begun = collective.begin_sum(sums.tail); !begun) return begun.error();
  if (mine.total.defined()) {
    RECORD_USER_SCOPE("backward");
    backward(mine.total);
  }
  {
    RECORD_USER_SCOPE("all-reduce");
    if (Status begun = training.buckets->begin_rest(); !begun) return begun.error();
    if (Status reduced = collective.finish_sums(); !reduced) return reduced.error();
  }

  RECORD_USER_SCOPE("update");
  std::vector<double> clip;
  for (const TrialSpec& spec : specs) clip.push_back(spec.train.clip);
  const at::Tensor norms = clip_gradients(model.gradients, clip);
  const at::Tensor terms = sums.terms.to(at::kCPU, at::kDouble), wishes = sums.wishes.to(at::kCPU, at::kDouble);
  const int64_t step = training.step + 1;
  std::vector<StepReport> reports;
  for (int64_t trial = 0; trial < model.trials; ++trial) {
    const auto t = static_cast<size_t>(trial);
    StepReport report{losses_of(terms[trial], specs[t].loss), static_cast<Wish>(wishes[trial].item<int>())};
    report.losses.gradient_norm = norms[trial].item<double>();
    report.applied = report.wish != Wish::stop && report.losses.not_finite().empty();
    if (report.applied) {
      adamw_step(model.values, model.gradients, training.optimizer, trial, step, settings[t].lr,
                 specs[t].train.weight_decay);
      add_distances(training, trial, terms[trial].slice(0, ObjectiveValue::kTerms), batch.global_images());
    }
    reports.push_back(std::move(report));
  }
  if (std::ranges::any_of(reports, &StepReport::applied)) training.step = step;
  update_codebooks(training, specs, sums, rows, reports);
  if (specs[0].model.quantizer.revive_below > 0 && rows.which.numel() > 0) {
    std::vector<Revival> revivals;
    for (const TrialSpec& spec : specs) {
      revivals.push_back({spec.model.quantizer.revive_below, spec.train.seed, training.step});
    }
    if (Status revived = revive_prototypes(model, mine.out.levels, batch, rows.which, revivals, collective); !revived) {
      return revived.error();
    }
  }
  return reports;
}

}  // namespace hivq
