#include "worker/gang/gang.h"

#include <chrono>
#include <optional>

#include "common/wire.h"
#include "worker/gang/device.h"

namespace hivq {
namespace {

/// What rank 0 tells the others to do next: run a trial, or end.
struct Order {
  bool run = false;
  std::string trial;  // its name, for errors
  std::string spec;
  int exit_code = 0;
  std::string reason;
  HIVQ_FIELDS(run, trial, spec, exit_code, reason)
};

int64_t steps_of(const TrialSpec& spec, const FeatureSet& features) {
  const int64_t images = features.train.size(0), batch = spec.train.batch_size;
  return spec.train.epochs * ((images + batch - 1) / batch);
}

/// Reports one trial through the leader; on the other ranks, which have none, it does nothing.
class Reporter {
 public:
  Reporter(Leader* leader, const Lease& lease) : leader_(leader), lease_(lease) {}

  void log(std::string text) const {
    if (leader_) leader_->report(lease_, LogItem{std::move(text)});
  }
  void progress(int64_t step, int64_t total_steps, std::string phase) const {
    if (leader_) leader_->set_progress(lease_, step, total_steps, std::move(phase));
  }
  void end(EndItem item) const {
    if (leader_) leader_->report(lease_, std::move(item));
  }
  TrialHooks hooks(int64_t total_steps) const {
    if (leader_ == nullptr) return {};
    TrialHooks hooks;
    hooks.metrics = [this, total_steps](int64_t step, const std::map<std::string, double>& values) {
      leader_->report(lease_, MetricsItem{step, values});
      progress(step, total_steps, "training");
    };
    hooks.checkpoint = [this](int64_t step, std::string bytes) {
      leader_->report_checkpoint(lease_, step, std::move(bytes));
    };
    hooks.stop = [this] { return !leader_->holds(lease_); };
    return hooks;
  }

 private:
  Leader* leader_;
  Lease lease_;
};

class Gang {
 public:
  Gang(const World& world, Collective& collective, Leader* leader, const Work& work, const Log& log)
      : world_(world), collective_(collective), leader_(leader), work_(work), log_(log) {}

  Result<Ending> live() {
    for (;;) {
      std::optional<Assignment> assignment = leader_ ? leader_->next() : std::nullopt;
      const Result<Order> order = share(assignment);
      if (!order) return order.error();
      if (!order->run) return Ending{order->exit_code, order->reason};
      if (Status ran = run(*order, assignment.value_or(Assignment{})); !ran) return ran.error();
    }
  }

 private:
  /// Rank 0's order on every rank. The others wait here for their next trial.
  Result<Order> share(const std::optional<Assignment>& assignment) {
    std::string bytes;
    if (assignment) {
      bytes = pack(Order{true, to_string(assignment->lease.trial), assignment->spec, 0, ""});
    } else if (leader_) {
      const Ending ending = leader_->ending().value_or(Ending{});
      bytes = pack(Order{false, "", "", ending.exit_code, ending.reason});
    }
    if (Status sent = world_.broadcast(bytes); !sent) return sent.error();
    return unpack<Order>(bytes);
  }

  /// An Error is the gang's failure; the trial's own failure is reported and over.
  Status run(const Order& order, const Assignment& assignment) {
    const Reporter reporter(leader_, assignment.lease);
    if (leader_) {
      const std::string from =
          assignment.checkpoint.empty() ? "" : fmt::format(" from step {}", assignment.checkpoint_step);
      log_.info("trial {} starts{}", order.trial, from);
      reporter.log(fmt::format("starts{} on {}", from, describe_devices(collective_)));
    }
    const Result<TrialSpec> spec = parse_trial(order.spec, "trial " + order.trial);
    const Result<Status> ready = world_.agree(spec ? load_features(*spec, reporter) : spec.error());
    if (!ready) return ready.error();
    if (!*ready) {
      features_of_.clear();  // some rank has none
      return fail(order, reporter, ready->error().message);
    }
    report_warnings(reporter);
    const int64_t steps = steps_of(*spec, features_);
    reporter.progress(std::max<int64_t>(0, assignment.checkpoint_step), steps, "training");
    const Result<TrialOutcome> outcome =
        work_.run_trial(*spec, features_, collective_, assignment.checkpoint, reporter.hooks(steps));
    if (!outcome) return outcome.error();
    if (Status settled = settle(); !settled) return settled;
    return finish(order, assignment.lease, reporter, *outcome);
  }

  /// Stays loaded for the next trial: those of a sweep mostly share it.
  Status load_features(const TrialSpec& spec, const Reporter& reporter) {
    TrialSpec what;
    what.data = spec.data;
    what.backbone = spec.backbone;
    const std::string key = to_yaml(what);
    if (key == features_of_) return {};
    features_of_.clear();
    features_ = {};  // before the next set takes its memory
    reporter.progress(0, 0, "features");
    using clock = std::chrono::steady_clock;
    const auto begin = clock::now();
    auto told = begin;
    Result<FeatureSet> loaded = work_.load_features(spec.data, spec.backbone, [&](int64_t done, int64_t total) {
      if (clock::now() - told < std::chrono::milliseconds(200)) return;
      told = clock::now();
      reporter.progress(0, 0, fmt::format("features {}/{}", done, total));
    });
    if (!loaded) return loaded.error();
    Result<FeatureSet> here = move_to(std::move(*loaded), collective_.device());
    if (!here) return here.error();
    features_ = std::move(*here);
    features_of_ = key;
    reporter.log(fmt::format("features of {} training and {} test images ready after {:.1f} s", features_.train.size(0),
                             features_.test.size(0), std::chrono::duration<double>(clock::now() - begin).count()));
    return {};
  }

  /// Of the images that were left out, in the log of each trial that trains without them.
  void report_warnings(const Reporter& reporter) const {
    constexpr size_t kMost = 20;
    const std::vector<std::string>& warnings = features_.warnings;
    for (size_t i = 0; i < std::min(kMost, warnings.size()); ++i) reporter.log("warning: " + warnings[i]);
    if (warnings.size() > kMost) reporter.log(fmt::format("warning: {} more were left out", warnings.size() - kMost));
  }

  /// On a GPU operations are still under way when run_trial returns: what it found counts only if none of them failed.
  Status settle() {
    at::Tensor probe = at::zeros({1}, at::TensorOptions(at::kFloat).device(collective_.device()));
    if (Status summed = collective_.all_reduce_sum(probe); !summed) return summed;
    probe.item();
    return collective_.all_reduce_sum(probe);
  }

  Status fail(const Order& order, const Reporter& reporter, const std::string& reason) {
    if (leader_) log_.warning("trial {} failed: {}", order.trial, reason);
    reporter.log("failed: " + reason);
    reporter.end({true, reason, {}});
    return {};
  }

  Status finish(const Order& order, const Lease& lease, const Reporter& reporter, const TrialOutcome& outcome) {
    if (outcome.end == TrialOutcome::End::failed) return fail(order, reporter, outcome.reason);
    if (leader_ == nullptr) return {};
    if (outcome.end == TrialOutcome::End::finished) {
      log_.info("trial {} finished", order.trial);
      reporter.log("finished");
      reporter.end({false, "", outcome.final_});
    } else if (!leader_->holds(lease)) {
      const std::optional<Ending> ending = leader_->ending();
      log_.info("trial {} stopped: {}", order.trial, ending ? ending->reason : leader_->refusal());
    } else {
      return fail(order, reporter, "the training stopped although nobody asked it to");
    }
    return {};
  }

  const World& world_;
  Collective& collective_;
  Leader* leader_;
  const Work& work_;
  const Log& log_;
  std::string features_of_;  // what features_ holds; empty: nothing
  FeatureSet features_;
};

}  // namespace

Result<Ending> run_gang(const World& world, Collective& collective, Leader* leader, const Work& work, const Log& log) {
  return Gang(world, collective, leader, work, log).live();
}

}  // namespace hivq
