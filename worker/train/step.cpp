#include "worker/train/step.h"

#include <ATen/record_function.h>
#include <torch/torch.h>

#include <algorithm>
#include <set>

#include "worker/gpu/branch.h"
#include "worker/gpu/kernels.h"
#include "worker/gpu/transfer.h"
#include "worker/model/jitter.h"
#include "worker/train/recorded_steps.h"
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

/// The codebooks that the global batches use, ascending.
std::vector<int64_t> used_codebooks(const Model& model, const Batch& batch) {
  const int64_t per_trial = model.codebooks_per_level();
  std::set<int64_t> used;
  for (int64_t i = 0; i < batch.trials * batch.global_images(); ++i) {
    const int64_t trial = i / batch.global_images();
    used.insert(trial * per_trial + (per_trial > 1 ? batch.global_classes[static_cast<size_t>(i)] : 0));
  }
  return {used.begin(), used.end()};
}

/// The codebooks whose statistics are summed: those that are used; on a GPU all of them, so that every step is alike.
struct Rows {
  at::Tensor which;        // [R] ascending
  at::Tensor of_codebook;  // [T·S] the row of each codebook
};
Rows rows_of(const Model& model, const std::vector<int64_t>& used) {
  const int64_t count = model.trials * model.codebooks_per_level();
  if (gpu_kernels_take(model.values)) {
    const at::Tensor all = at::arange(count, model.values.options().dtype(at::kLong));
    return {all, all};
  }
  std::vector<int64_t> of_codebook(static_cast<size_t>(count), 0);
  for (size_t row = 0; row < used.size(); ++row)
    of_codebook.at(static_cast<size_t>(used[row])) = static_cast<int64_t>(row);
  return {at::tensor(used, at::kLong), at::tensor(of_codebook, at::kLong)};
}

/// What the host gives to a step beside the batch: one tensor, and so one copy to a GPU.
struct StepNumbers {
  enum Column { lr, weight_decay, wish, clip, decay, commitment, pot, classification, columns };
  at::Tensor packed;  // float64

  at::Tensor step() const { return packed.select(0, 0); }  // [] steps done
  at::Tensor of_trials(int64_t trials, Column column) const {
    return packed.narrow(0, 1, trials * columns).view({trials, columns}).select(1, column);  // [T]
  }
  at::Tensor used(int64_t trials) const { return packed.slice(0, 1 + trials * columns).ne(0); }  // [R] by the batch
};

at::Tensor numbers_of(const Training& training, std::span<const TrialSpec> specs, std::span<const StepSetting> settings,
                      const std::vector<int64_t>& used, bool leads) {
  std::vector<double> numbers = {static_cast<double>(training.step)};
  for (size_t trial = 0; trial < specs.size(); ++trial) {
    const TrialSpec& spec = specs[trial];
    const double wish = leads ? static_cast<double>(settings[trial].wish) : 0;
    numbers.insert(numbers.end(),
                   {settings[trial].lr, spec.train.weight_decay, wish, spec.train.clip, spec.model.quantizer.decay,
                    spec.loss.commitment, spec.loss.pot, spec.loss.classification});
  }
  const Model& model = training.model;
  if (gpu_kernels_take(model.values)) {
    const size_t first = numbers.size();
    numbers.resize(first + static_cast<size_t>(model.trials * model.codebooks_per_level()), 0);
    for (const int64_t codebook : used) numbers[first + static_cast<size_t>(codebook)] = 1;
  } else {
    numbers.insert(numbers.end(), used.size(), 1);
  }
  return at::tensor(numbers, at::kDouble);
}

Dropout dropout_of(std::span<const TrialSpec> specs, int64_t step, int64_t first, const StepNumbers& numbers) {
  Dropout dropout;
  for (const TrialSpec& spec : specs) {
    dropout.streams.push_back({spec.model.dropout, spec.train.seed, static_cast<uint32_t>(step), first});
  }
  dropout.step = numbers.step().to(at::kLong);
  return dropout;
}

/// The noise that is added to the features, [T·b, N, C] float32 on the CPU; undefined: none.
at::Tensor jitter_of(std::span<const TrialSpec> specs, const Batch& batch, int64_t step) {
  const auto jitters = [](const TrialSpec& spec) { return spec.model.jitter != 0; };
  if (std::ranges::none_of(specs, jitters)) return {};
  std::vector<int64_t> shape = batch.h0.sizes().vec();
  shape[0] /= batch.trials;
  std::vector<at::Tensor> parts;
  for (const TrialSpec& spec : specs) {
    parts.push_back(jitter(shape, spec.model.jitter, {spec.train.seed, step, batch.first}));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

/// This rank's share of a step up to backward.
struct Pass {
  Forward out;
  at::Tensor total;
};

/// Forward and losses; fills in the sums but for the gradients.
Pass forward_pass(const Training& training, std::span<const TrialSpec> specs, const Batch& batch,
                  const at::Tensor& noise, const Rows& rows, const StepNumbers& numbers, Sums& sums) {
  const Model& model = training.model;
  Dropout dropout = dropout_of(specs, training.step, batch.first, numbers);
  const at::Tensor h0 = noise.defined() ? jittered(batch.h0, noise) : batch.h0;
  Pass pass{forward(model, h0, batch.classes, dropout), {}};
  const at::Tensor& place = pass.out.place;
  const at::Tensor row =
      model.codebooks[0].codebooks() == 1 ? at::zeros_like(place) : rows.of_codebook.index_select(0, place);
  beside(row.device(), {row}, [&] {
    for (size_t level = 0; level < pass.out.levels.size(); ++level) {
      add_statistics(sums.levels[level], pass.out.levels[level], row);
    }
  });
  const auto weight = [&](StepNumbers::Column column) { return numbers.of_trials(model.trials, column); };
  const LossSpec& loss = specs[0].loss;
  const LossWeights weights{weight(StepNumbers::commitment), weight(StepNumbers::pot),
                            weight(StepNumbers::classification), loss.pot > 0, loss.classification > 0};
  const ObjectiveValue eq1 = objective(model, weights, batch, pass.out);
  pass.total = eq1.total;
  sums.terms.copy_(eq1.terms);
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

/// Moves the parameters, the codebooks and the epoch's metrics of the trials with true in `applied` [T].
void update(Training& training, const Batch& batch, const Rows& rows, const StepNumbers& numbers, const Sums& sums,
            const at::Tensor& applied, const Clip& clip) {
  Model& model = training.model;
  adamw_step(model.values, model.gradients, training.optimizer, numbers.step() + 1,
             numbers.of_trials(model.trials, StepNumbers::lr), applied,
             numbers.of_trials(model.trials, StepNumbers::weight_decay), clip.factors);

  const at::Tensor trial = at::floor_divide(rows.which, model.codebooks_per_level());  // of each row
  const at::Tensor moves = numbers.used(model.trials).logical_and(applied.index_select(0, trial));
  const at::Tensor decay = numbers.of_trials(model.trials, StepNumbers::decay).index_select(0, trial);
  for (size_t level = 0; level < model.codebooks.size(); ++level) {
    ema_update(model.codebooks[level], sums.levels[level], rows.which, decay, moves);
    const at::Tensor counts = at::where(moves.unsqueeze(1), sums.levels[level].counts.to(at::kDouble), 0.0);
    if (gpu_kernels_take(model.values)) {
      training.use[level].add_(counts);  // all rows, in order
    } else {
      training.use[level].index_add_(0, rows.which, counts);
    }
    const auto elements = static_cast<double>(model.codebooks[level].width() * batch.global_images() * model.tokens());
    const at::Tensor commitment =
        sums.terms.select(1, ObjectiveValue::kTerms + static_cast<int64_t>(level)).to(at::kDouble);
    training.distance.select(1, static_cast<int64_t>(level)).add_(at::where(applied, commitment * elements, 0.0));
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
  return {tokens_of(features.train, on_device(at::tensor(mine, at::kLong), device)),
          on_device(at::tensor(classes, at::kLong), device), share.begin, std::move(global_classes), trials};
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
  training.distance =
      at::zeros({training.model.trials, training.model.levels()}, training.model.values.options().dtype(at::kDouble));
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
  one.recorded.reset();
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

namespace {

/// Puts a step on the device, from the features to the moved parameters and codebooks, without reading a number back:
/// what follows from losses, norms and wishes is decided there.
Result<StepOutput> put_step(Training& training, std::span<const TrialSpec> specs, const StepInput& input,
                            const std::vector<int64_t>& used, Collective& collective) {
  Model& model = training.model;
  const Batch& batch = input.batch;
  const StepNumbers numbers{input.numbers};
  const Rows rows = rows_of(model, used);
  Sums sums = unpack(training, rows.which.numel());
  const bool sets_all =
      gpu_kernels_take(model.values) && batch.h0.size(0) > 0;  // the kernels do not add to the statistics
  (sets_all ? model.gradients : sums.packed).zero_();

  Pass mine;
  if (batch.h0.size(0) > 0) {
    RECORD_USER_SCOPE("forward");
    mine = forward_pass(training, specs, batch, input.noise, rows, numbers, sums);
  }
  sums.wishes.copy_(numbers.of_trials(model.trials, StepNumbers::wish));
  if (!training.buckets) training.buckets = std::make_shared<GradientBuckets>(model, collective, bucket_bytes(collective.device()));
  training.buckets->arm();
  if (collective.size() > 1) join_beside(model.values.device());
  if (Status begun = collective.begin_sum(sums.tail); !begun) return begun.error();
  if (mine.total.defined()) {
    RECORD_USER_SCOPE("backward");
    backward(mine.total);
  }
  {
    RECORD_USER_SCOPE("all-reduce");
    join_beside(model.values.device());
    if (Status begun = training.buckets->begin_rest(); !begun) return begun.error();
    if (Status reduced = collective.finish_sums(); !reduced) return reduced.error();
  }

  RECORD_USER_SCOPE("update");
  const Clip clip = clip_of(model.gradients, numbers.of_trials(model.trials, StepNumbers::clip));
  const at::Tensor norms = clip.norms.unsqueeze(1);
  const at::Tensor finite = at::isfinite(at::cat({sums.terms, norms}, 1)).all(1);
  const at::Tensor applied = finite.logical_and(sums.wishes.ne(static_cast<int>(Wish::stop)));
  update(training, batch, rows, numbers, sums, applied, clip);
  const at::Tensor report = at::cat({norms, sums.wishes.unsqueeze(1), applied.unsqueeze(1), sums.terms}, 1);
  for (Quantized& level : mine.out.levels) {  // what is kept of them holds no history of the step
    for (at::Tensor* tensor : {&level.tokens, &level.output, &level.product}) *tensor = tensor->detach();
  }
  return StepOutput{report.to(at::kDouble), std::move(mine.out.levels)};
}

Result<StepOutput> run_step(Training& training, std::span<const TrialSpec> specs, const StepInput& input,
                            const std::vector<int64_t>& used, Collective& collective) {
  const auto put = [&](const StepInput& on) { return put_step(training, specs, on, used, collective); };
  if (!training.model.values.is_cuda() || !training.records) return put(input);
  if (!training.recorded) training.recorded = std::make_shared<RecordedSteps>();
  return training.recorded->run(specs, input, collective, put);
}

/// Of the trials that took the step, the codebooks that the batch used.
Status revive(Training& training, std::span<const TrialSpec> specs, const Batch& batch,
              const std::vector<StepReport>& reports, const std::vector<int64_t>& used,
              const std::vector<Quantized>& levels, Collective& collective) {
  std::vector<int64_t> rows;
  for (const int64_t codebook : used) {
    const auto trial = static_cast<size_t>(codebook / training.model.codebooks_per_level());
    if (reports[trial].applied) rows.push_back(codebook);
  }
  if (rows.empty()) return {};
  std::vector<Revival> revivals;
  for (const TrialSpec& spec : specs) {
    revivals.push_back({spec.model.quantizer.revive_below, spec.train.seed, training.step});
  }
  const at::Tensor which = on_device(at::tensor(rows, at::kLong), training.model.values.device());
  return revive_prototypes(training.model, levels, batch, which, revivals, collective);
}

}  // namespace

Result<std::vector<StepReport>> train_step(Training& training, std::span<const TrialSpec> specs, const Batch& batch,
                                           std::span<const StepSetting> settings, Collective& collective) {
  const Model& model = training.model;
  const at::Device device = model.values.device();
  const std::vector<int64_t> used = used_codebooks(model, batch);
  const at::Tensor numbers = numbers_of(training, specs, settings, used, collective.rank() == 0);
  StepInput input{batch, jitter_of(specs, batch, training.step), on_device(numbers, device)};
  if (input.noise.defined()) input.noise = on_device(input.noise, device);
  const auto output = run_step(training, specs, input, used, collective);
  if (!output) return output.error();

  const at::Tensor report = output->report.to(at::kCPU);  // here a GPU is waited for
  std::vector<StepReport> reports;
  for (int64_t trial = 0; trial < model.trials; ++trial) {
    const at::Tensor row = report[trial];
    const double* number = row.const_data_ptr<double>();
    reports.push_back({losses_of(row.slice(0, 3), specs[static_cast<size_t>(trial)].loss),
                       static_cast<Wish>(static_cast<int>(number[1])), number[2] != 0});
    reports.back().losses.gradient_norm = number[0];
  }
  if (std::ranges::any_of(reports, &StepReport::applied)) ++training.step;
  if (specs[0].model.quantizer.revive_below > 0) {
    if (Status revived = revive(training, specs, batch, reports, used, output->levels, collective); !revived) {
      return revived.error();
    }
  }
  return reports;
}

}  // namespace hivq
