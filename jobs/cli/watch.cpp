#include "jobs/cli/watch.h"

#include <algorithm>
#include <cstdio>
#include <thread>

#include "jobs/cli/interrupt.h"
#include "jobs/cli/terminal.h"
#include "jobs/views/format.h"

namespace hivq::cli {

namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

constexpr size_t most_bars = 8;
constexpr Millis summary_every = 10'000;  // where there is no terminal
constexpr auto answer_limit = 3s;
constexpr uint64_t asked_points = 48;                   // of a loss: a few for each character of its sparkline
constexpr std::chrono::milliseconds longest_wait = 2s;  // for a change, so that the time in the display goes on
constexpr clock::duration least_wait = 200ms;           // between two questions

/// The training losses of the trials that are drawn; without those that there is no answer for in time.
std::map<TrialId, std::vector<double>> running_losses(Client& client, const JobDetail& detail) {
  const std::string name = "loss";
  std::map<TrialId, std::vector<double>> losses;
  for (const auto& trial : detail.trials) {
    if (trial.state != "running" || trial.step == 0) continue;
    if (losses.size() == most_bars) break;
    const auto answer = client.try_ask<MetricSeries>(QueryMetrics{trial.id, name, 0, asked_points}, answer_limit);
    if (!answer) break;
    auto& values = losses[trial.id];
    if (!*answer || !(*answer)->series.contains(name)) continue;
    for (const auto& point : (*answer)->series.at(name)) values.push_back(point.value);
  }
  return losses;
}

}  // namespace

void Display::clear() {
  if (block_lines_ > 0) std::fputs(fmt::format("\033[{}F\033[J", block_lines_).c_str(), stderr);
  block_lines_ = 0;
}

void Display::say(const std::string& line) {
  clear();
  std::fputs((printable(line) + "\n").c_str(), stderr);
}

bool Display::shows_losses() const { return terminal_of(2).interactive; }

void Display::show(const JobDetail& detail, Millis now, std::map<TrialId, std::vector<double>> losses) {
  const Terminal terminal = terminal_of(2);  // it may have been resized
  time_left_.observe(now, done_share(detail));
  throughput_.observe(now, detail);
  const Pace pace{time_left_.left(), throughput_.steps_per_second(), std::move(losses)};
  std::string text;
  if (last_) {
    for (const auto& line : changes(*last_, detail)) text += printable(line) + '\n';
    if (!terminal.interactive && detail.waiting != last_->waiting && !detail.waiting.empty()) {
      text += printable("waiting: " + detail.waiting) + '\n';
    }
  }
  if (!terminal.interactive) {
    if (now >= next_summary_ && !has_ended(detail.job.state)) {
      text += printable(detail.job.name + ": " + summary(detail, now, pace)) + '\n';
      next_summary_ = now + summary_every;
    }
    std::fputs(text.c_str(), stderr);
  } else {
    clear();
    auto block = bars(detail, now, pace, terminal.width - 1, most_bars, terminal.colour);
    for (const auto& line : block) text += line + '\n';
    std::fputs(text.c_str(), stderr);
    block_lines_ = block.size();
  }
  last_ = detail;
}

uint64_t wait_for_change(Client& client, JobId job, uint64_t version) {
  const auto begin = clock::now();
  auto answer = client.try_ask<Changed>(Watch{job, version, longest_wait.count()}, answer_limit);
  const auto rest = least_wait - (clock::now() - begin);
  if (rest.count() > 0 && interrupted() == 0) std::this_thread::sleep_for(rest);
  return answer && *answer ? (*answer)->version : 0;
}

Result<std::optional<JobDetail>> watch(Session& session, JobId job, Display& display) {
  double best = -1;
  uint64_t version = 0;
  while (interrupted() == 0) {
    auto begin = clock::now();
    auto answer = session.client().try_ask<JobDetail>(ShowJob{job}, answer_limit);
    if (!answer) {
      if (auto revived = session.revive([&](const std::string& line) { display.say(line); }); !revived)
        return revived.error();
      continue;
    }
    if (!*answer) return answer->error();
    const JobDetail& detail = **answer;
    display.show(
        detail, wall_clock(),
        display.shows_losses() ? running_losses(session.client(), detail) : std::map<TrialId, std::vector<double>>());
    session.answered(done_share(detail) > best);
    best = std::max(best, done_share(detail));
    if (has_ended(detail.job.state)) return std::optional(detail);
    // A large job's answer takes long: asking shall cost the coordinator little.
    const auto pause_until = clock::now() + 10 * (clock::now() - begin);
    version = wait_for_change(session.client(), job, version);
    while (clock::now() < pause_until && interrupted() == 0) std::this_thread::sleep_for(50ms);
  }
  return std::optional<JobDetail>();
}

}  // namespace hivq::cli
