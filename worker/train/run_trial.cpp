#include "worker/train/run_trial.h"

#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>

#include "worker/eval/evaluate.h"
#include "worker/figures/test_pictures.h"
#include "worker/train/checkpoint.h"
#include "worker/train/checkpoint_writer.h"
#include "worker/train/codebook_start.h"
#include "worker/train/sampler.h"
#include "worker/train/step.h"

namespace hivq {
namespace {

using Metrics = std::map<std::string, double>;
using Clock = std::chrono::steady_clock;

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

/// Trials side by side on one rank. A lane is a trial that still runs: its place in the batched model.
class Pack {
 public:
  Pack(std::span<const TrialRun> runs, const FeatureSet& features, Collective& collective)
      : runs_(runs), features_(features), collective_(collective), outcomes_(runs.size()) {}

  Result<std::vector<TrialOutcome>> run() {
    if (Status begun = begin(); !begun) return begun.error();
    while (!lanes_.empty() && training_.epoch < epochs()) {
      if (Status trained = train_epoch(); !trained) return trained.error();
    }
    // A checkpoint of the end, or no epoch at all.
    if (!lanes_.empty() && evaluated_step_ != training_.step) {
      if (Status evaluated = evaluate_now(); !evaluated) return evaluated.error();
    }
    writer_.finish();
    return std::move(outcomes_);
  }

 private:
  int64_t images() const { return features_.train.size(0); }
  int64_t epochs() const { return specs_[0].train.epochs; }
  bool leads() const { return collective_.rank() == 0; }
  const TrialHooks& hooks(size_t lane) const { return runs_[lanes_[lane]].hooks; }

  // ---- Lanes ----

  void end(size_t run, TrialOutcome::End how, std::string reason = {}) {
    outcomes_[run].end = how;
    outcomes_[run].reason = std::move(reason);
    ended_[run] = true;
    untold_.push_back(run);
  }
  /// Those that ended while others go on; all that was reported of them comes before.
  void tell_ended() {
    for (const size_t run : std::exchange(untold_, {})) {
      if (!leads() || !runs_[run].hooks.end) continue;
      writer_.finish();
      runs_[run].hooks.end(outcomes_[run]);
    }
  }
  void fail(size_t lane, std::string reason) { end(lanes_[lane], TrialOutcome::End::failed, std::move(reason)); }

  /// Goes on without the trials that have ended.
  void drop_ended() {
    std::vector<int64_t> kept;
    for (size_t lane = 0; lane < lanes_.size(); ++lane) {
      if (!ended_[lanes_[lane]]) kept.push_back(static_cast<int64_t>(lane));
    }
    if (kept.size() == lanes_.size()) return;
    if (!kept.empty()) training_ = copy_trials(training_, kept);
    keep(lanes_, kept);
    keep(specs_, kept);
    if (!lanes_.empty()) tell_ended();
  }
  template <typename T>
  static void keep(std::vector<T>& values, const std::vector<int64_t>& kept) {
    std::vector<T> some;
    for (const int64_t i : kept) some.push_back(std::move(values[static_cast<size_t>(i)]));
    values = std::move(some);
  }

  // ---- The beginning ----

  Status begin() {
    std::vector<std::string> checkpoints;
    std::vector<bool> warm;
    for (const TrialRun& run : runs_) {
      auto bytes = broadcast_bytes(run.start.checkpoint, collective_, features_.train.device());
      if (!bytes) return bytes.error();
      checkpoints.push_back(std::move(*bytes));
      auto flag = broadcast_bytes(run.start.warm ? "w" : "", collective_, features_.train.device());
      if (!flag) return flag.error();
      warm.push_back(!flag->empty());
    }
    ended_.resize(runs_.size(), false);
    for (size_t run = 0; run < runs_.size(); ++run) {
      if (Status possible = check_trial(runs_[run].spec, features_); !possible) {
        end(run, TrialOutcome::End::failed, possible.error().message);
        continue;
      }
      lanes_.push_back(run);
      specs_.push_back(runs_[run].spec);
    }
    if (lanes_.empty()) return {};
    tell_ended();
    training_ = make_training(specs_, shape_of(features_), features_.options());
    std::vector<Position> positions;
    for (size_t lane = 0; lane < lanes_.size(); ++lane) {
      positions.push_back(start(lane, checkpoints[lanes_[lane]], warm[lanes_[lane]]));
    }
    take_position(positions);
    drop_ended();
    if (lanes_.empty() || training_.step > 0) return {};  // from a checkpoint every rank has the same bits
    if (Status sent = broadcast_model(training_.model, collective_); !sent) return sent;
    return evaluate_now();
  }

  struct Position {
    int64_t step = 0, epoch = 0, batch = 0;
    bool operator==(const Position&) const = default;
  };

  Position start(size_t lane, const std::string& checkpoint, bool warm) {
    Training one = trial_of(training_, static_cast<int64_t>(lane));
    Status started;
    if (checkpoint.empty()) {
      if (leads() && specs_[lane].model.quantizer.start != "normal") {
        start_codebooks_from_data(one.model, features_, specs_[lane].train.seed);
      }
    } else if (warm) {
      started = warm_start(one.model, checkpoint);
    } else {
      started = restore_checkpoint(one, checkpoint, images());
    }
    if (!started) fail(lane, started.error().message);
    return {one.step, one.epoch, one.batch};
  }

  /// All go on from where the first does; the coordinator puts together only trials that stand at the same step.
  void take_position(const std::vector<Position>& positions) {
    std::optional<Position> common;
    for (size_t lane = 0; lane < lanes_.size(); ++lane) {
      if (ended_[lanes_[lane]]) continue;
      if (!common) common = positions[lane];
      if (positions[lane] != *common) fail(lane, "its checkpoint is not of the step of the trials beside it");
    }
    if (common) training_.step = common->step, training_.epoch = common->epoch, training_.batch = common->batch;
  }

  // ---- Training ----

  double learning_rate(size_t lane) const {
    const TrainSpec& train = specs_[lane].train;
    const bool dropped = train.lr_drop_epoch > 0 && training_.epoch >= train.lr_drop_epoch;
    return train.lr * (dropped ? train.lr_drop_factor : 1);
  }

  Status train_epoch() {
    std::vector<std::vector<int64_t>> orders(runs_.size());  // by run
    for (const size_t run : lanes_) orders[run] = epoch_order(images(), runs_[run].spec.train.seed, training_.epoch);
    const int64_t size = specs_[0].train.batch_size, batches = (images() + size - 1) / size;
    const auto begun = Clock::now();
    const int64_t skipped = std::min(images(), training_.batch * size);
    while (training_.batch < batches) {
      const int64_t first = training_.batch * size, count = std::min(size, images() - first);
      std::vector<int64_t> chosen;
      for (const size_t run : lanes_) {
        chosen.insert(chosen.end(), orders[run].begin() + first, orders[run].begin() + first + count);
      }
      if (Status done = step(chosen); !done || lanes_.empty()) return done;
    }
    const std::chrono::duration<double> seconds = Clock::now() - begun;
    for (size_t lane = 0; lane < lanes_.size(); ++lane) {
      Metrics metrics = codebook_metrics(lane);
      if (skipped < images()) metrics["images_per_second"] = static_cast<double>(images() - skipped) / seconds.count();
      report(lane, metrics);
    }
    finish_epoch();
    return after_epoch();
  }

  Status step(std::span<const int64_t> chosen) {
    std::vector<StepSetting> settings;
    for (size_t lane = 0; lane < lanes_.size(); ++lane) {
      settings.push_back({learning_rate(lane), leads() && hooks(lane).wish ? hooks(lane).wish() : Wish::go_on});
    }
    const Batch batch = load_batch(features_, chosen, collective_.rank(), collective_.size(), training_.trials());
    const auto reports = train_step(training_, specs_, batch, settings, collective_);
    if (!reports) return reports.error();
    ++training_.batch;
    for (size_t lane = 0; lane < lanes_.size(); ++lane) take(lane, (*reports)[lane], settings[lane].lr);
    drop_ended();
    const int64_t seconds = lanes_.empty() ? 0 : specs_[0].train.checkpoint_seconds;
    if (seconds > 0 && Clock::now() - saved_ >= std::chrono::seconds(seconds)) save_all();
    return {};
  }

  /// What a step means for a trial.
  void take(size_t lane, const StepReport& report, double lr) {
    if (report.wish == Wish::stop) return end(lanes_[lane], TrialOutcome::End::stopped);
    if (!report.applied) {
      return fail(lane, fmt::format("{} is not finite at step {}; lower train.lr (now {}) or set train.clip (now {})",
                                    report.losses.not_finite(), training_.step, lr, specs_[lane].train.clip));
    }
    report_losses(lane, report.losses, lr);
    if (report.wish != Wish::yield) return;
    save(lane);
    end(lanes_[lane], TrialOutcome::End::yielded);
  }

  void finish_epoch() {
    ++training_.epoch;
    training_.batch = 0;
    for (const at::Tensor& use : training_.use) use.zero_();
    training_.distance.zero_();
  }

  Status after_epoch() {
    if (lanes_.empty()) return {};
    const bool last = training_.epoch == epochs();
    const auto due = [&](int64_t every) { return last || (every > 0 && training_.epoch % every == 0); };
    if (due(specs_[0].train.eval_every)) {
      if (Status evaluated = evaluate_now(); !evaluated) return evaluated;
    }
    if (!lanes_.empty() && due(specs_[0].train.checkpoint_every)) save_all();
    return {};
  }

  void save_all() {
    for (size_t lane = 0; lane < lanes_.size(); ++lane) save(lane);
    saved_ = Clock::now();
  }

  void save(size_t lane) {
    if (!leads() || !hooks(lane).checkpoint) return;
    writer_.write(take_snapshot(trial_of(training_, static_cast<int64_t>(lane)), specs_[lane], features_),
                  hooks(lane).checkpoint);
  }

  // ---- What is told ----

  Status evaluate_now() {
    for (size_t lane = 0; lane < lanes_.size(); ++lane) {
      Model model = trial_of(training_.model, static_cast<int64_t>(lane));
      model.bfloat16 = false;  // the metrics are those of the model that is stored
      auto evaluated = evaluate(model, specs_[lane], features_, collective_);
      if (!evaluated) return evaluated.error();
      if (!evaluated->failure.empty()) {
        fail(lane, evaluated->failure);
        continue;
      }
      report(lane, evaluated->metrics);
      if (training_.epoch == epochs()) show_pictures(lane, model, evaluated->scores);
      outcomes_[lanes_[lane]].final_ = std::move(evaluated->metrics);
    }
    evaluated_step_ = training_.step;
    drop_ended();
    return {};
  }

  /// Pictures that cannot be made are no reason to lose the trial.
  void show_pictures(size_t lane, const Model& model, const TestScores& scores) {
    if (!leads() || !hooks(lane).picture || specs_[lane].eval.pictures == 0) return;
    auto pictures = test_pictures(model, specs_[lane].eval, features_, scores, training_.step);
    if (!pictures) {
      if (hooks(lane).warning) hooks(lane).warning("no pictures of test images: " + pictures.error().message);
      return;
    }
    for (PictureItem& picture : *pictures) hooks(lane).picture(std::move(picture));
  }

  void report(size_t lane, const Metrics& metrics) {
    if (leads() && hooks(lane).metrics) hooks(lane).metrics(training_.step, metrics);
  }

  void report_losses(size_t lane, const Losses& losses, double lr) {
    Metrics metrics = {{"loss", losses.total},
                       {"loss_reconstruction", losses.reconstruction},
                       {"loss_commitment", losses.commitment},
                       {"grad_norm", losses.gradient_norm},
                       {"lr", lr}};
    if (specs_[lane].loss.pot > 0) metrics["loss_pot"] = losses.pot;
    if (specs_[lane].loss.classification > 0) metrics["loss_classification"] = losses.classification;
    report(lane, metrics);
  }

  Metrics codebook_metrics(size_t lane) const {
    const Training one = trial_of(training_, static_cast<int64_t>(lane));
    Metrics metrics;
    for (size_t level = 0; level < one.use.size(); ++level) {
      const CodebookHealth health = codebook_health(one.use[level]);
      const double tokens = one.use[level].sum().item<double>();
      const double distance = one.distance[0][static_cast<int64_t>(level)].item<double>();
      metrics[fmt::format("codebook_perplexity/{}", level)] = health.perplexity;
      metrics[fmt::format("codebook_live/{}", level)] = health.live;
      metrics[fmt::format("codebook_distance/{}", level)] = std::sqrt(distance / std::max(tokens, 1.0));
    }
    return metrics;
  }

  const std::span<const TrialRun> runs_;
  const FeatureSet& features_;
  Collective& collective_;
  std::vector<TrialOutcome> outcomes_;  // by run
  std::vector<bool> ended_;             // by run
  std::vector<size_t> untold_;          // runs that have ended since others were told of last
  std::vector<size_t> lanes_;           // the run of each lane
  std::vector<TrialSpec> specs_;        // by lane
  Training training_;
  CheckpointWriter writer_;
  Clock::time_point saved_ = Clock::now();
  int64_t evaluated_step_ = -1;
};

}  // namespace

Result<std::vector<TrialOutcome>> run_trials(std::span<const TrialRun> runs, const FeatureSet& features,
                                             Collective& collective) {
  try {
    return Pack(runs, features, collective).run();
  } catch (const c10::Error& failure) {
    return error("the tensor library failed: {}", failure.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return error("out of memory; lower train.batch_size, model.width or gang.fuse");
  }
}

}  // namespace hivq
