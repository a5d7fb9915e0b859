#include "jobs/cli/progress.h"

#include <algorithm>

#include "jobs/plot_text.h"
#include "jobs/table.h"
#include "jobs/views/format.h"
#include "jobs/views/results.h"

namespace hivq::cli {

namespace {

constexpr Millis least_time = 3000;   // of watching, before a guess is made
constexpr double least_share = 0.01;  // that must have been done in it
constexpr Millis rate_time = 15'000;  // over which steps are counted
constexpr Millis least_rate_time = 2000;
constexpr size_t spark_width = 12;

double share_of(const TrialView& trial) {
  if (has_ended(trial.state)) return 1;
  if (trial.total_steps <= 0) return 0;
  return std::clamp(static_cast<double>(trial.step) / static_cast<double>(trial.total_steps), 0.0, 1.0);
}

// What is not done is a dim line.
std::string bar(double share, size_t width, Tint tint, bool colour) {
  const std::string text = text_bar(share, width);
  std::string rest;
  for (size_t i = display_width(text); i < width; ++i) rest += "─";
  return tinted(text, tint, colour) + tinted(rest, Tint::dim, colour);
}

std::string metric_change(const TrialView& trial, const std::string& metric) {
  auto before = value_of(trial.initial, metric), after = value_of(trial.final, metric);
  return before || after ? fmt::format("{} {}", metric, change_text(before, after)) : "";
}

std::string name_of(const TrialView& trial, const Results& names) {
  std::string label = trial_label(trial, names);
  return to_string(trial.id) + (label == to_string(trial.id) ? "" : " " + label);
}

/// `epoch 4/10`; the steps where the epochs are not known.
std::string place_of(const TrialView& trial, const std::map<TrialId, std::string>& epochs) {
  if (trial.total_steps <= 0) return "";
  const auto said = epochs.find(trial.id);
  const int64_t all = said == epochs.end() ? 0 : std::atoll(said->second.c_str());
  if (all <= 0) return fmt::format("  step {}/{}", trial.step, trial.total_steps);
  const int64_t epoch = trial.step * all / trial.total_steps + 1;
  return fmt::format("  epoch {}/{}", std::clamp<int64_t>(epoch, 1, all), all);
}

std::string loss_of(const TrialView& trial, const Pace& pace) {
  const auto losses = pace.losses.find(trial.id);
  if (losses == pace.losses.end() || losses->second.empty()) return "";
  return fmt::format("  loss {} {:.4g}", sparkline(losses->second, spark_width), losses->second.back());
}

std::string end_line(const TrialView& trial, const std::string& name, const std::string& metric) {
  std::string line = fmt::format("trial {} {}", name, trial.state);
  if (trial.started != 0) line += " after " + duration_text(trial.ended - trial.started);
  if (trial.state == "finished") {
    std::string change = metric_change(trial, metric);
    return line + (change.empty() ? "" : ": " + change);
  }
  return line + (trial.reason.empty() || trial.reason == trial.state ? "" : ": " + trial.reason);
}

}  // namespace

double done_share(const JobDetail& detail) {
  if (detail.trials.empty()) return 0;
  double sum = 0;
  for (const auto& trial : detail.trials) sum += share_of(trial);
  return sum / static_cast<double>(detail.trials.size());
}

void TimeLeft::observe(Millis now, double share) {
  // What comes before the first growth is preparation. A share that falls (a trial lost its gang) starts it all again.
  if (first_ < 0 || share < last_) {
    growing_ = false;
    first_ = share;
    first_at_ = now;
  } else if (!growing_ && share > first_) {
    growing_ = true;
    first_ = share;
    first_at_ = now;
  }
  last_at_ = now;
  last_ = share;
}

std::optional<Millis> TimeLeft::left() const {
  if (first_ < 0 || last_at_ - first_at_ < least_time || last_ - first_ < least_share) return std::nullopt;
  double rate = (last_ - first_) / static_cast<double>(last_at_ - first_at_);
  return static_cast<Millis>((1 - last_) / rate);
}

void Throughput::observe(Millis now, const JobDetail& detail) {
  int64_t steps = seen_.empty() ? 0 : seen_.back().steps;
  std::map<TrialId, int64_t> running;
  for (const auto& trial : detail.trials) {
    if (trial.state != "running") continue;
    running[trial.id] = trial.step;
    // What it had done before it was first seen does not count, nor do steps that are made again.
    if (const auto found = last_.find(trial.id); found != last_.end()) {
      steps += std::max<int64_t>(0, trial.step - found->second);
    }
  }
  last_ = std::move(running);
  seen_.push_back({now, steps});
  while (seen_.size() > 2 && seen_[1].at <= now - rate_time) seen_.pop_front();
}

double Throughput::steps_per_second() const {
  if (seen_.size() < 2 || seen_.back().at - seen_.front().at < least_rate_time) return 0;
  return 1000.0 * static_cast<double>(seen_.back().steps - seen_.front().steps) /
         static_cast<double>(seen_.back().at - seen_.front().at);
}

std::vector<std::string> changes(const JobDetail& before, const JobDetail& after) {
  std::vector<std::string> lines;
  const Results names = make_results(after, {}, 0);
  std::map<TrialId, const TrialView*> known;
  for (const auto& trial : before.trials) known[trial.id] = &trial;
  for (const auto& trial : after.trials) {
    auto found = known.find(trial.id);
    if (found == known.end()) continue;
    const TrialView& old = *found->second;
    std::string name = name_of(trial, names);
    const std::string step = trial.checkpoint_step >= 0 ? fmt::format("step {}", trial.checkpoint_step) : "the start";
    if (trial.attempts > old.attempts && trial.attempts > 1) {
      lines.push_back(fmt::format("trial {} goes on from {} (attempt {})", name, step, trial.attempts));
    } else if (trial.attempts > old.attempts && trial.state == "running") {
      lines.push_back(trial.checkpoint_step >= 0 ? fmt::format("trial {} goes on from {}", name, step)
                                                 : fmt::format("trial {} started", name));
    }
    if (old.state == "running" && trial.state == "paused")
      lines.push_back(fmt::format("trial {} paused at {}", name, step));
    if (has_ended(trial.state) && !has_ended(old.state)) lines.push_back(end_line(trial, name, after.job.metric));
    if (old.state == "running" && trial.state == "waiting")
      lines.push_back(fmt::format("trial {} lost its gang", name));
  }
  return lines;
}

std::string summary(const JobDetail& detail, Millis now, const Pace& pace) {
  const JobView& job = detail.job;
  uint64_t ended = job.finished + job.failed + job.cancelled;
  std::string text = fmt::format("{:3.0f} %", 100 * done_share(detail));
  // What matters most comes first: the end may not fit.
  if (pace.left) {
    text += fmt::format(" · about {} left", duration_text(std::max<Millis>(*pace.left / 1000 * 1000, 1000)));
  }
  text += fmt::format(" · {} of {}", ended, count_text(job.trials, "trial"));
  if (job.failed > 0) text += fmt::format(" · {} failed", job.failed);
  if (job.running > 0) text += fmt::format(" · {} running", job.running);
  if (pace.steps_per_second > 0) text += fmt::format(" · {:.3g} steps/s", pace.steps_per_second);
  text += fmt::format(" · {}", duration_text(now - job.submitted));
  return text;
}

std::vector<std::string> bars(const JobDetail& detail, Millis now, const Pace& pace, size_t width, size_t rows,
                              bool colour) {
  const Results names = make_results(detail, {}, now);
  const size_t bar_width = std::clamp<size_t>(width / 6, 8, 24);
  std::vector<const TrialView*> running;
  for (const auto& trial : detail.trials) {
    if (trial.state == "running") running.push_back(&trial);
  }
  std::map<TrialId, std::string> epochs;
  for (const auto& row : names.rows) epochs[row.trial.id] = row.epochs;
  size_t label_width = 0;
  const size_t shown = std::min(running.size(), rows);
  for (size_t i = 0; i < shown; ++i)
    label_width = std::max(label_width, display_width(printable(name_of(*running[i], names))));
  label_width = std::min(label_width, width / 4);

  std::vector<std::string> lines;
  auto add = [&](const std::string& label, double share, const std::string& rest, Tint tint) {
    std::string text = elide(printable(label), label_width);
    text += std::string(label_width - display_width(text), ' ') + "  ";
    size_t room = width - std::min(width, display_width(text) + bar_width + 3);
    lines.push_back(text + bar(share, bar_width, tint, colour) + "  " + elide(printable(rest), room));
  };
  for (size_t i = 0; i < shown; ++i) {
    const TrialView& trial = *running[i];
    std::string rest = fmt::format("{:3.0f} %", 100 * share_of(trial));
    std::string metric = metric_change(trial, detail.job.metric);
    if (!metric.empty()) rest += fmt::format("  {}", metric);
    rest += place_of(trial, epochs) + loss_of(trial, pace);
    if (!trial.phase.empty()) rest += fmt::format("  {}", trial.phase);
    add(name_of(trial, names), share_of(trial), rest, Tint::accent);
  }
  if (running.size() > shown) lines.push_back(elide(fmt::format("and {} more", running.size() - shown), width));
  if (!detail.waiting.empty())
    lines.push_back(tinted(elide(printable("waiting: " + detail.waiting), width), Tint::dim, colour));
  label_width = std::max(label_width, std::min(display_width(printable(detail.job.name)), width / 4));
  add(detail.job.name, done_share(detail), summary(detail, now, pace), Tint::good);
  return lines;
}

}  // namespace hivq::cli
