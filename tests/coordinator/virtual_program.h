#pragma once

// A program of a user's own for the simulation: it runs trials of a study, follows a script, and asks again what is not
// answered.

#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "common/messages.h"
#include "tests/coordinator/map_store.h"
#include "tests/coordinator/virtual_gang.h"

namespace hivq {

/// What programs were told: it must stay true whatever happens.
struct Promises {
  std::map<TrialId, std::string> holders;                              // the key of the question that it answers
  std::map<std::pair<TrialId, std::string>, std::string> values;       // of parameters
  std::map<std::tuple<TrialId, std::string, int64_t>, double> points;  // by metric and step
  std::map<TrialId, std::string> ends;                                 // their states

  /// Errors: a sentence that begins with the number of the invariant that is broken; empty: none is.
  std::string broken(const MapStore& store) const;
};

class VirtualProgram {
 public:
  VirtualProgram(std::string identity, const Script& script, Promises& promises)
      : identity_(std::move(identity)), script_(script), promises_(promises) {}

  const std::string& identity() const { return identity_; }
  /// Of the question at hand; a new one for each.
  uint64_t request() const { return request_; }
  /// What it asks now; nothing: there are no more trials.
  std::optional<Body> question(JobId study) const;
  /// Errors: as of Promises::broken().
  std::string receive(const Message& answer);
  /// It is started anew, and knows nothing of its trial.
  void die();

 private:
  enum class Phase { asks, suggests, reports, ends, done };

  std::string receive(const AskedTrial&);
  std::string receive(const SuggestedValue&);
  std::string receive(const TrialReported&);
  std::string receive(const TrialEnded&);
  std::string receive(const Failed&);
  template <typename Other>
  std::string receive(const Other&) {
    return "5: a program was answered with something else";
  }
  void begin_anew();
  std::vector<std::pair<std::string, std::string>> parameters() const;
  std::string key() const { return identity_ + "/" + std::to_string(lives_); }

  std::string identity_;
  const Script& script_;
  Promises& promises_;
  uint64_t request_ = 1, lives_ = 1;
  Phase phase_ = Phase::asks;
  Lease lease_;
  size_t parameter_ = 0;
  int64_t step_ = 0;
  bool stopped_ = false;
};

}  // namespace hivq
