#pragma once

// How a job goes on, for people: what has changed as lines, what runs as bars, and how long it will take. Pure.

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/messages.h"

namespace hivq::cli {

/// The share of a job that is done: ended trials, and the steps of those that run. In [0, 1].
double done_share(const JobDetail& detail);

/// Estimates from how fast the share grew since it first grew.
class TimeLeft {
 public:
  void observe(Millis now, double share);
  /// Nothing as long as too little is known.
  std::optional<Millis> left() const;

 private:
  Millis first_at_ = 0, last_at_ = 0;
  double first_ = -1, last_ = 0;
  bool growing_ = false;
};

/// Steps of the optimiser that all trials together make in a second, of the last while.
class Throughput {
 public:
  void observe(Millis now, const JobDetail& detail);
  /// 0 as long as too little is known.
  double steps_per_second() const;

 private:
  struct Seen {
    Millis at;
    int64_t steps;
  };
  std::map<TrialId, int64_t> last_;  // steps of those that run
  std::deque<Seen> seen_;            // the oldest first
};

/// What a display knows beyond the job's state.
struct Pace {
  std::optional<Millis> left;
  double steps_per_second = 0;
  std::map<TrialId, std::vector<double>> losses = {};  // the training loss until now, thinned
};

/// What differs between two views of a job, one line each: a trial that started, ended, lost its gang.
std::vector<std::string> changes(const JobDetail& before, const JobDetail& after);

/// `62 % · about 1 min 20 s left · 3 of 5 trials · 1 running · 41 steps/s · 2 min 10 s`.
std::string summary(const JobDetail& detail, Millis now, const Pace& pace);

/// The running trials' bars, each with its loss as a sparkline, and the overall one: at most `width` columns and about
/// `rows` lines.
std::vector<std::string> bars(const JobDetail& detail, Millis now, const Pace& pace, size_t width, size_t rows,
                              bool colour);

}  // namespace hivq::cli
