#pragma once

// A gang for the simulation: the real GangSession, and a trainer that follows a script.

#include <map>
#include <string>
#include <vector>

#include "common/gang_session.h"
#include "common/messages.h"
#include "tests/coordinator/simulation.h"

namespace hivq {

/// What training gives: a function of (trial, step) alone, whichever gang runs it.
struct Script {
  uint64_t seed = 0;
  int64_t times_longer = 1;

  int64_t steps(const TrialId& trial) const;
  /// The trial fails half-way, by its own fault.
  bool fails(const TrialId& trial) const;
  double value(const TrialId& trial, std::string_view metric, int64_t step) const;
  MetricsItem metrics(const TrialId& trial, int64_t step) const;
  bool checkpoints_at(int64_t step) const { return step % 3 == 0; }
  /// A picture at the trial's end; trials of a job show the same image.
  PictureItem picture(const TrialId& trial) const;
  /// A checkpoint's chunks; the first is shared by all trials of a job, as content-addressing has it.
  std::vector<std::string> checkpoint(const TrialId& trial, int64_t step) const;
};

/// The items of every lease's stream that its gang has ever sent, for the checks.
using Streams = std::map<Lease, std::vector<Item>>;

class VirtualGang {
 public:
  VirtualGang(Hello hello, const Script& script, Millis step_time, Streams& streams, Bug bug);

  void receive(const Message& message, Millis now) { session_.receive(message, now); }
  /// Time passes: it trains and speaks.
  void tick(Millis now);
  std::vector<Message> take_outgoing();
  void goodbye() { session_.goodbye("its time is over"); }

  const Hello& hello() const { return hello_; }
  void set_labels(const std::map<std::string, std::string>& labels);
  const GangSession& session() const { return session_; }
  /// What is wrong with the checkpoint that it was given; empty: nothing.
  const std::string& complaint() const { return complaint_; }

 private:
  struct Training {
    int64_t step = -1;  // the last one that is done
    bool ended = false;
  };

  void begin(const Assignment& assignment);
  void train(const Lease& lease, Training& training, Millis now);
  void give_back(const Lease& lease, Training& training, Millis now);
  void report_checkpoint(const Lease& lease, int64_t step, Millis now);

  Hello hello_;
  const Script& script_;
  Streams& streams_;
  Millis step_time_;
  Bug bug_;
  GangSession session_;
  std::map<Lease, Training> pack_;
  Millis next_step_ = 0;
  std::string complaint_;
};

}  // namespace hivq
