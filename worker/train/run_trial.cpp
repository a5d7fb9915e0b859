#include "worker/train/run_trial.h"

#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>

#include "worker/eval/evaluate.h"
#include "worker/train/checkpoint.h"
#include "worker/train/codebook_start.h"
#include "worker/train/sampler.h"
#include "worker/train/step.h"

namespace hivq {
namespace {

using Metrics = std::map<std::string, double>;

InputShape shape_of(const FeatureSet& features) {
  return {features.train.size(1), features.train.size(2), static_cast<int64_t>(features.trained_classes.size())};
}

/// A classifier that is not trained must not choose codebooks and heads.
Status check_switch(const TrialSpec& spec, const FeatureSet& features) {
  const bool switches = spec.model.quantizer.codebook_switching || spec.model.expert_switching;
  if (!switches || spec.loss.classification > 0) return {};
  constexpr const char* kRemedy =
      "set loss.classification above 0, or model.quantizer.codebook_switching and model.expert_switching to false";
  if (spec.model.switch_by == "predicted") {
    return error("model.switch is predicted, but loss.classification is 0, so that no classifier is trained; {}",
                 kRemedy);
  }
  if (features.protocol == Protocol::defects) return {};
  return error(
      "images of classes that are not trained are switched by the classifier, but loss.classification is 0; {}",
      kRemedy);
}

/// What cannot be trained, as a sentence. What the specification alone can tell, it has told.
Status check_trial(const TrialSpec& spec, const FeatureSet& features) {
  if (features.train.size(0) == 0)
    return error("there are no training images; check data.path and data.normal_classes");
  if (spec.train.batch_size < 1) return error("train.batch_size is {}; it must be at least 1", spec.train.batch_size);
  for (size_t c = 0; c < features.trained_classes.size(); ++c) {
    if (std::ranges::count(features.train_class, static_cast<int64_t>(c)) > 0) continue;
    return error("class `{}` has no training images; add some, or leave the class out",
                 features.class_names[static_cast<size_t>(features.trained_classes[c])]);
  }
  if (Status switched = check_switch(spec, features); !switched) return switched;
  if (Status model = check_model(spec.model, shape_of(features)); !model) return model;
  return check_prototypes(spec.model, features);
}

/// Rank 0's bytes on every rank.
Result<std::string> broadcast_bytes(std::string_view bytes, Collective& collective, at::Device device) {
  at::Tensor size = at::full({1}, static_cast<int64_t>(bytes.size()), at::kLong).to(device);
  if (Status sent = collective.broadcast(size); !sent) return sent.error();
  at::Tensor data = at::empty({size.item<int64_t>()}, at::kByte);
  if (collective.rank() == 0) std::copy(bytes.begin(), bytes.end(), data.mutable_data_ptr<uint8_t>());
  data = data.to(device);
  if (data.numel() > 0) {
    if (Status sent = collective.broadcast(data); !sent) return sent.error();
  }
  data = data.to(at::kCPU);
  const auto* begin = reinterpret_cast<const char*>(data.const_data_ptr<uint8_t>());
  return std::string(begin, begin + data.numel());
}

/// Rank 0's untrained model on every rank, so that the replicas start from the same bits.
Status broadcast_model(Model& model, Collective& collective) {
  std::vector<at::Tensor> tensors = {model.values};
  for (Codebook& codebook : model.codebooks) {
    tensors.insert(tensors.end(), {codebook.embed, codebook.cluster_size, codebook.embed_avg, codebook.squared_norm});
  }
  for (at::Tensor& tensor : tensors) {
    if (Status sent = collective.broadcast(tensor); !sent) return sent;
  }
  return {};
}

/// One trial on one rank.
class Trial {
 public:
  Trial(const TrialRun& run, const FeatureSet& features, Collective& collective)
      : spec_(run.spec), start_(run.start), hooks_(run.hooks), features_(features), collective_(collective) {}

  Result<TrialOutcome> run() {
    const auto bytes = broadcast_bytes(start_.checkpoint, collective_, features_.train.device());
    if (!bytes) return bytes.error();
    const auto warm = broadcast_bytes(start_.warm ? "warm" : "", collective_, features_.train.device());
    if (!warm) return warm.error();
    if (Status possible = check_trial(spec_, features_); !possible) return failed(possible.error().message);
    make();
    if (bytes->empty() || !warm->empty()) {
      const auto ended = start(*bytes);
      if (!ended) return ended.error();
      if (*ended) return outcome_;
    } else if (Status restored = restore_checkpoint(training_, *bytes, images()); !restored) {
      return failed(restored.error().message);
    }
    while (training_.epoch < spec_.train.epochs) {
      const auto ended = train_epoch();
      if (!ended) return ended.error();
      if (*ended) return outcome_;
    }
    if (evaluated_step_ != training_.step) {  // a checkpoint of the end, or no epoch at all
      if (const auto ended = evaluate_now(); !ended) return ended.error();
    }
    return outcome_;
  }

 private:
  int64_t images() const { return features_.train.size(0); }
  bool leads() const { return collective_.rank() == 0; }

  TrialOutcome failed(std::string reason) {
    outcome_.end = TrialOutcome::End::failed;
    outcome_.reason = std::move(reason);
    return outcome_;
  }

  void make() { training_ = make_training(spec_, shape_of(features_), features_.train.options()); }

  /// True where the trial ended within.
  Result<bool> start(std::string_view others_checkpoint) {
    if (!others_checkpoint.empty()) {
      Training other = make_training(spec_, shape_of(features_), features_.train.options());
      if (Status restored = restore_checkpoint(other, others_checkpoint, images()); !restored) {
        failed(restored.error().message);
        return true;
      }
      training_.model = std::move(other.model);
    } else if (leads() && spec_.model.quantizer.start != "normal") {
      start_codebooks_from_data(training_.model, features_, spec_.train.seed);
    }
    if (Status sent = broadcast_model(training_.model, collective_); !sent) return sent.error();
    return evaluate_now();
  }

  void report(const Metrics& metrics) {
    if (leads() && hooks_.metrics) hooks_.metrics(training_.step, metrics);
  }

  /// True where that failed the trial.
  Result<bool> evaluate_now() {
    const auto evaluated = evaluate(training_.model, spec_, features_, collective_);
    if (!evaluated) return evaluated.error();
    if (!evaluated->failure.empty()) {
      failed(evaluated->failure);
      return true;
    }
    outcome_.final_ = evaluated->metrics;
    evaluated_step_ = training_.step;
    report(evaluated->metrics);
    return false;
  }

  double learning_rate() const {
    const bool dropped = spec_.train.lr_drop_epoch > 0 && training_.epoch >= spec_.train.lr_drop_epoch;
    return spec_.train.lr * (dropped ? spec_.train.lr_drop_factor : 1);
  }

  /// True where the trial ended within.
  Result<bool> train_epoch() {
    const std::vector<int64_t> order = epoch_order(images(), spec_.train.seed, training_.epoch);
    const int64_t size = spec_.train.batch_size, batches = (images() + size - 1) / size;
    const auto begin = std::chrono::steady_clock::now();
    const int64_t skipped = training_.batch * size;
    while (training_.batch < batches) {
      const int64_t first = training_.batch * size, count = std::min(size, images() - first);
      const auto ended = step(std::span(order).subspan(static_cast<size_t>(first), static_cast<size_t>(count)));
      if (!ended || *ended) return ended;
      ++training_.batch;
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    report(epoch_metrics(static_cast<double>(images() - skipped) / seconds.count()));
    finish_epoch();
    return after_epoch();
  }

  Result<bool> step(std::span<const int64_t> chosen) {
    using Wish = TrialHooks::Wish;
    const Wish wish = leads() && hooks_.wish ? hooks_.wish() : Wish::go_on;
    const Batch batch = load_batch(features_, chosen, collective_.rank(), collective_.size());
    const double lr = learning_rate();
    const auto done = train_step(training_, spec_, batch, lr, wish != Wish::go_on, collective_);
    if (!done) return done.error();
    if (done->stop) {
      outcome_.end = wish == Wish::yield ? TrialOutcome::End::yielded : TrialOutcome::End::stopped;
      if (wish == Wish::yield) give_checkpoint();
      return true;
    }
    if (!done->applied) {
      failed(fmt::format("{} is not finite at step {}; lower train.lr (now {}) or set train.clip (now {})",
                         done->losses.not_finite(), training_.step + 1, lr, spec_.train.clip));
      return true;
    }
    report_losses(done->losses, lr);
    return false;
  }

  void report_losses(const Losses& losses, double lr) {
    Metrics metrics = {{"loss", losses.total},
                       {"loss_reconstruction", losses.reconstruction},
                       {"loss_commitment", losses.commitment},
                       {"grad_norm", losses.gradient_norm},
                       {"lr", lr}};
    if (spec_.loss.pot > 0) metrics["loss_pot"] = losses.pot;
    if (spec_.loss.classification > 0) metrics["loss_classification"] = losses.classification;
    report(metrics);
  }

  Metrics epoch_metrics(double images_per_second) const {
    Metrics metrics = {{"images_per_second", images_per_second}};
    for (size_t level = 0; level < training_.use.size(); ++level) {
      const CodebookHealth health = codebook_health(training_.use[level]);
      const double tokens = training_.use[level].sum().item<double>();
      metrics[fmt::format("codebook_perplexity/{}", level)] = health.perplexity;
      metrics[fmt::format("codebook_live/{}", level)] = health.live;
      metrics[fmt::format("codebook_distance/{}", level)] =
          std::sqrt(training_.distance[level] / std::max(tokens, 1.0));
    }
    return metrics;
  }

  void finish_epoch() {
    ++training_.epoch;
    training_.batch = 0;
    for (const at::Tensor& use : training_.use) use.zero_();
    std::fill(training_.distance.begin(), training_.distance.end(), 0.0);
  }

  Result<bool> after_epoch() {
    const bool last = training_.epoch == spec_.train.epochs;
    const auto due = [&](int64_t every) { return last || (every > 0 && training_.epoch % every == 0); };
    if (due(spec_.train.eval_every)) {
      if (const auto ended = evaluate_now(); !ended || *ended) return ended;
    }
    if (due(spec_.train.checkpoint_every)) give_checkpoint();
    return false;
  }

  void give_checkpoint() const {
    if (leads() && hooks_.checkpoint) hooks_.checkpoint(training_.step, save_checkpoint(training_, spec_, features_));
  }

  const TrialSpec& spec_;
  const TrialStart& start_;
  const TrialHooks& hooks_;
  const FeatureSet& features_;
  Collective& collective_;
  Training training_;
  TrialOutcome outcome_;
  int64_t evaluated_step_ = -1;
};

}  // namespace

Result<std::vector<TrialOutcome>> run_trials(std::span<const TrialRun> runs, const FeatureSet& features,
                                             Collective& collective) {
  std::vector<TrialOutcome> outcomes;
  for (const TrialRun& run : runs) {
    auto outcome = run_trial(run, features, collective);
    if (!outcome) return outcome.error();
    outcomes.push_back(std::move(*outcome));
  }
  return outcomes;
}

Result<TrialOutcome> run_trial(const TrialRun& run, const FeatureSet& features, Collective& collective) {
  try {
    return Trial(run, features, collective).run();
  } catch (const c10::Error& failure) {
    return error("the tensor library failed: {}", failure.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return error("out of memory; lower train.batch_size or model.width");
  }
}

}  // namespace hivq
