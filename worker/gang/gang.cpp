#include "worker/gang/gang.h"

#include <chrono>
#include <optional>
#include <set>

#include "common/wire.h"
#include "jobs/fusion.h"
#include "worker/gang/device.h"

namespace hivq {
namespace {

/// What rank 0 tells the others to do next: run trials side by side, or end.
struct OrderedTrial {
  std::string name;  // for errors
  std::string spec;
  HIVQ_FIELDS(name, spec)
};
struct Order {
  std::vector<OrderedTrial> trials;  // none: the gang ends
  int exit_code = 0;
  std::string reason;
  HIVQ_FIELDS(trials, exit_code, reason)
};

std::string name_of(const Assignment& assignment) { return "trial " + to_string(assignment.lease.trial); }

int64_t steps_of(const TrialSpec& spec, const FeatureSet& features) {
  const int64_t images = features.train.size(0), batch = spec.train.batch_size;
  return spec.train.epochs * ((images + batch - 1) / batch);
}

/// Whether the pack is asked back, looked up once a step: its trials shall stop at the same one, so that they can go on
/// side by side.
class YieldWatch {
 public:
  explicit YieldWatch(const Leader* leader) : leader_(leader) {}

  bool yields(const Lease& lease) {
    if (asked_.contains(lease)) asked_.clear();  // this is the next step
    if (asked_.empty()) yields_ = leader_->yields(lease);
    asked_.insert(lease);
    return yields_;
  }

 private:
  const Leader* leader_;
  std::set<Lease> asked_;  // at this step
  bool yields_ = false;
};

/// Reports one trial through the leader; on the other ranks, which have none, it does nothing.
class Reporter {
 public:
  Reporter(Leader* leader, const Lease& lease) : leader_(leader), lease_(lease) {}

  const Lease& lease() const { return lease_; }
  void log(std::string text) const {
    if (leader_) leader_->report(lease_, LogItem{std::move(text)});
  }
  void progress(int64_t step, int64_t total_steps, std::string phase) const {
    if (leader_) leader_->set_progress(lease_, step, total_steps, std::move(phase));
  }
  void end(Item item) const {
    if (leader_) leader_->report(lease_, std::move(item));
  }
  /// They refer to the reporter and to the watch.
  TrialHooks hooks(int64_t total_steps, YieldWatch& watch) const {
    if (leader_ == nullptr) return {};
    using Wish = TrialHooks::Wish;
    TrialHooks hooks;
    hooks.metrics = [this, total_steps](int64_t step, const std::map<std::string, double>& values) {
      leader_->report(lease_, MetricsItem{step, values});
      progress(step, total_steps, "training");
    };
    hooks.checkpoint = [this](int64_t step, std::string bytes) {
      leader_->report_checkpoint(lease_, step, std::move(bytes));
    };
    hooks.picture = [this](PictureItem picture) { leader_->report(lease_, std::move(picture)); };
    hooks.warning = [this](const std::string& text) { log("warning: " + text); };
    hooks.wish = [this, &watch] {
      if (!leader_->holds(lease_)) return Wish::stop;
      return watch.yields(lease_) ? Wish::yield : Wish::go_on;
    };
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
      std::vector<Assignment> pack;
      if (leader_) pack = next();
      const Result<Order> order = share(pack);
      if (!order) return order.error();
      if (order->trials.empty()) return Ending{order->exit_code, order->reason};
      if (Status ran = run(*order, std::move(pack)); !ran) return ran.error();
    }
  }

 private:
  /// Rank 0's next pack, without the trials that cannot be run. Empty when the gang is to end.
  std::vector<Assignment> next() {
    for (;;) {
      std::vector<Assignment> pack = leader_->next();
      if (pack.empty()) return pack;
      std::string shape;  // of the pack
      std::erase_if(pack, [&](const Assignment& assignment) {
        const Status possible = check_part(assignment, shape);
        if (!possible) fail(name_of(assignment), Reporter(leader_, assignment.lease), possible.error().message);
        return !possible;
      });
      if (!pack.empty()) return pack;
    }
  }

  static Status check_part(const Assignment& assignment, std::string& shape) {
    const Result<TrialSpec> spec = parse_trial(assignment.spec, name_of(assignment));
    if (!spec) return spec.error();
    const std::string key = fusion_key(*spec);
    if (shape.empty()) shape = key;
    if (key == shape) return {};
    return error(
        "it cannot train beside the other trials of its pack: coordinator and worker are of different versions");
  }

  /// Rank 0's order on every rank. The others wait here for their next pack.
  Result<Order> share(const std::vector<Assignment>& assignments) {
    Order order;
    for (const Assignment& each : assignments) order.trials.push_back({name_of(each), each.spec});
    if (leader_ && assignments.empty()) {
      const Ending ending = leader_->ending().value_or(Ending{});
      order.exit_code = ending.exit_code;
      order.reason = ending.reason;
    }
    std::string bytes = pack(order);
    if (Status sent = world_.broadcast(bytes); !sent) return sent.error();
    return unpack<Order>(bytes);
  }

  /// An Error is the gang's failure; a trial's own failure is reported and over.
  Status run(const Order& order, std::vector<Assignment> pack) {
    pack.resize(order.trials.size());  // the other ranks know no leases
    std::vector<Reporter> reporters;
    for (const Assignment& assignment : pack) reporters.emplace_back(leader_, assignment.lease);
    std::vector<TrialRun> runs;
    const Status read = read_specs(order, runs);
    if (read && leader_) {
      for (size_t i = 0; i < runs.size(); ++i) announce(reporters[i], runs[i].spec, pack[i], runs.size() - 1);
    }
    const Result<Status> ready = world_.agree(read ? load_features(runs.front().spec, reporters) : read);
    if (!ready) return ready.error();
    if (!*ready) {
      features_of_.clear();  // some rank has none
      for (size_t i = 0; i < runs.size(); ++i) fail(order.trials[i].name, reporters[i], ready->error().message);
      return {};
    }
    const int64_t steps = steps_of(runs.front().spec, features_);
    YieldWatch watch(leader_);
    std::vector<bool> told(runs.size());  // that they have ended, before the others
    for (size_t i = 0; i < runs.size(); ++i) {
      report_warnings(reporters[i]);
      reporters[i].progress(pack[i].warm ? 0 : std::max<int64_t>(0, pack[i].checkpoint_step), steps, "training");
      runs[i].start = {std::move(pack[i].checkpoint), pack[i].warm};
      runs[i].hooks = reporters[i].hooks(steps, watch);
      runs[i].hooks.end = [&, i](const TrialOutcome& outcome) {
        finish(order.trials[i].name, reporters[i], outcome);
        told[i] = true;
      };
    }
    const auto outcomes = work_.run_trials(runs, features_, collective_);
    if (!outcomes) return outcomes.error();
    check(outcomes->size() == runs.size(), "run_trials gives an outcome for every run");
    if (Status settled = settle(); !settled) return settled;
    for (size_t i = 0; i < runs.size(); ++i) {
      if (!told[i]) finish(order.trials[i].name, reporters[i], (*outcomes)[i]);
    }
    return {};
  }

  static Status read_specs(const Order& order, std::vector<TrialRun>& runs) {
    runs.resize(order.trials.size());
    for (size_t i = 0; i < runs.size(); ++i) {
      Result<TrialSpec> spec = parse_trial(order.trials[i].spec, order.trials[i].name);
      if (!spec) return spec.error();
      runs[i].spec = std::move(*spec);
    }
    return {};
  }

  void announce(const Reporter& reporter, const TrialSpec& spec, const Assignment& assignment, size_t others) const {
    std::string how;
    if (assignment.warm) {
      how = fmt::format(" with the model of trial {}", spec.train.start_from);
    } else if (!assignment.checkpoint.empty()) {
      how = fmt::format(" from step {}", assignment.checkpoint_step);
    }
    log_.info("{} starts{}", name_of(assignment), how);
    if (others > 0) how += fmt::format(" side by side with {} other{}", others, others == 1 ? "" : "s");
    reporter.log(fmt::format("starts{} on {}", how, describe_devices(collective_)));
  }

  /// Stays loaded for the next pack: those of a sweep mostly share it.
  Status load_features(const TrialSpec& spec, const std::vector<Reporter>& reporters) {
    TrialSpec what;
    what.data = spec.data;
    what.backbone = spec.backbone;
    const std::string key = to_yaml(what);
    if (key == features_of_) return {};
    features_of_.clear();
    features_ = {};  // before the next set takes its memory
    const auto tell = [&](const std::string& phase) {
      for (const Reporter& reporter : reporters) reporter.progress(0, 0, phase);
    };
    tell("features");
    using clock = std::chrono::steady_clock;
    const auto begin = clock::now();
    auto told = begin;
    Result<FeatureSet> loaded = work_.load_features(spec.data, spec.backbone, [&](int64_t done, int64_t total) {
      if (clock::now() - told < std::chrono::milliseconds(200)) return;
      told = clock::now();
      tell(fmt::format("features {}/{}", done, total));
    });
    if (!loaded) return loaded.error();
    Result<FeatureSet> here = move_to(std::move(*loaded), collective_.device());
    if (!here) return here.error();
    features_ = std::move(*here);
    features_of_ = key;
    const std::chrono::duration<double> took = clock::now() - begin;
    for (const Reporter& reporter : reporters) {
      reporter.log(fmt::format("features of {} training and {} test images ready after {:.1f} s",
                               features_.train.size(0), features_.test.size(0), took.count()));
    }
    return {};
  }

  /// Of the images that were left out, in the log of each trial that trains without them.
  void report_warnings(const Reporter& reporter) const {
    constexpr size_t kMost = 20;
    const std::vector<std::string>& warnings = features_.warnings;
    for (size_t i = 0; i < std::min(kMost, warnings.size()); ++i) reporter.log("warning: " + warnings[i]);
    if (warnings.size() > kMost) reporter.log(fmt::format("warning: {} more were left out", warnings.size() - kMost));
  }

  /// On a GPU operations are still under way when run_trials returns: what it found counts only if none of them failed.
  Status settle() {
    at::Tensor probe = at::zeros({1}, at::TensorOptions(at::kFloat).device(collective_.device()));
    if (Status summed = collective_.all_reduce_sum(probe); !summed) return summed;
    probe.item();
    return collective_.all_reduce_sum(probe);
  }

  void fail(const std::string& name, const Reporter& reporter, const std::string& reason) const {
    if (leader_) log_.warning("{} failed: {}", name, reason);
    reporter.log("failed: " + reason);
    reporter.end(EndItem{true, reason, {}});
  }

  void finish(const std::string& name, const Reporter& reporter, const TrialOutcome& outcome) const {
    using End = TrialOutcome::End;
    if (outcome.end == End::failed) return fail(name, reporter, outcome.reason);
    if (leader_ == nullptr) return;
    if (outcome.end == End::finished) {
      log_.info("{} finished", name);
      reporter.log("finished");
      reporter.end(EndItem{false, "", outcome.final_});
    } else if (!leader_->holds(reporter.lease())) {
      const std::optional<Ending> ending = leader_->ending();
      log_.info("{} stopped: {}", name, ending ? ending->reason : leader_->refusal());
    } else if (outcome.end == End::yielded) {
      log_.info("{} gives way, as the coordinator asked", name);
      reporter.log("gives way, with a checkpoint of its last step");
      reporter.end(YieldItem{});
    } else {
      fail(name, reporter, "the training stopped although nobody asked it to");
    }
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
