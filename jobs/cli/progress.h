#pragma once

// How a job goes on, for people: what has changed as lines, what runs as bars, and how long it will take. Pure.

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

/// What differs between two views of a job, one line each: a trial that started, ended, lost its gang.
std::vector<std::string> changes(const JobDetail& before, const JobDetail& after);

/// `62 % · about 1 min 20 s left · 3 of 5 trials · 1 running · 2 min 10 s`.
std::string summary(const JobDetail& detail, Millis now, std::optional<Millis> left);

/// The running trials' bars and the overall one, at most `width` columns and about `rows` lines.
std::vector<std::string> bars(const JobDetail& detail, Millis now, std::optional<Millis> left, size_t width,
                              size_t rows, bool colour);

}  // namespace hivq::cli
