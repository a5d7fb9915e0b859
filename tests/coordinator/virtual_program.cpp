#include "tests/coordinator/virtual_program.h"

#include <algorithm>

#include "coordinator/series.h"

namespace hivq {

std::string Promises::broken(const MapStore& store) const {
  const auto row_of = [&](const TrialId& trial) -> std::optional<TrialRow> {
    if (!store.rows(Family::trials).contains(key_of(trial))) return std::nullopt;
    return store.row<TrialRow>(Family::trials, key_of(trial));
  };
  for (const auto& [trial, key] : holders) {
    const bool there = row_of(trial) && store.rows(Family::leases).contains(key_of(trial));
    if (!there) return fmt::format("1: trial {} was given to a program and is lost", to_string(trial));
    if (store.row<LeaseRow>(Family::leases, key_of(trial)).gang != "study/" + key) {
      return fmt::format("2: trial {} was given to another program too", to_string(trial));
    }
  }
  for (const auto& [parameter, value] : values) {
    const auto& [trial, name] = parameter;
    const auto params = row_of(trial)->params;
    const auto found = params.find(name);
    if (found == params.end() || found->second != value) {
      return fmt::format("1: {} of trial {} was {}, which is not stored", name, to_string(trial), value);
    }
  }
  for (const auto& [point, value] : points) {
    const auto& [trial, name, step] = point;
    const std::string key = points_key(trial, name, step);
    const auto row = store.rows(Family::points).find(key);
    const auto is_it = [step_ = step, value_ = value](const MetricPoint& p) {
      return p.step == step_ && p.value == value_;
    };
    if (row == store.rows(Family::points).end() || std::ranges::none_of(points_of(key, row->second).value(), is_it)) {
      return fmt::format("1: {} of trial {} at step {} was acknowledged and is lost", name, to_string(trial), step);
    }
  }
  for (const auto& [trial, state] : ends) {
    if (to_string(row_of(trial)->state) != state) {
      return fmt::format("1: the end of trial {} was acknowledged and is lost", to_string(trial));
    }
  }
  return "";
}

void VirtualProgram::die() {
  ++request_;
  begin_anew();
}

void VirtualProgram::begin_anew() {
  if (phase_ == Phase::done) return;
  ++lives_;
  phase_ = Phase::asks;
  parameter_ = 0;
  step_ = 0;
  stopped_ = false;
}

/// Not the same in all trials.
std::vector<std::pair<std::string, std::string>> VirtualProgram::parameters() const {
  std::vector<std::pair<std::string, std::string>> all{{"x", "{uniform: [0, 1]}"}};
  if (lease_.trial.index % 3 == 1) all.push_back({"a", "[p, q, 1]"});
  if (lease_.trial.index % 3 == 2) all.push_back({"b", "{log_uniform: [1e-5, 1]}"});
  if (lease_.trial.index % 5 == 4) all.push_back({"c", "{integer: [1, 8]}"});
  return all;
}

std::optional<Body> VirtualProgram::question(JobId study) const {
  switch (phase_) {
    case Phase::asks:
      return AskTrial{study, key()};
    case Phase::suggests: {
      const auto [name, range] = parameters()[parameter_];
      return SuggestValue{lease_, name, range};
    }
    case Phase::reports:
      return ReportTrial{lease_, {script_.metrics(lease_.trial, step_)}};
    case Phase::ends:
      if (stopped_) return EndTrial{lease_, "stopped", {}, ""};
      if (script_.fails(lease_.trial)) return EndTrial{lease_, "failed", {}, "as the script has it"};
      return EndTrial{lease_, "finished", {}, ""};
    case Phase::done:
      break;
  }
  return std::nullopt;
}

std::string VirtualProgram::receive(const Message& answer) {
  if (answer.id != request_) return "";  // to an earlier question
  ++request_;
  return std::visit([&](const auto& body) { return receive(body); }, answer.body);
}

std::string VirtualProgram::receive(const AskedTrial& asked) {
  if (asked.state == "ended") phase_ = Phase::done;
  if (asked.state != "trial") return "";
  const auto [holder, fresh] = promises_.holders.try_emplace(asked.lease.trial, key());
  if (!fresh && holder->second != key()) {
    return fmt::format("2: trial {} was given to two programs", to_string(asked.lease.trial));
  }
  lease_ = asked.lease;
  phase_ = Phase::suggests;
  return "";
}

std::string VirtualProgram::receive(const SuggestedValue& suggested) {
  const std::string name = parameters()[parameter_].first;
  const auto [value, fresh] = promises_.values.try_emplace({lease_.trial, name}, suggested.value);
  if (!fresh && value->second != suggested.value) {
    return fmt::format("3: {} of trial {} was {}, and is {}", name, to_string(lease_.trial), value->second,
                       suggested.value);
  }
  if (++parameter_ == parameters().size()) phase_ = Phase::reports;
  return "";
}

std::string VirtualProgram::receive(const TrialReported& told) {
  if (told.ended) {
    begin_anew();
    return "";
  }
  for (const auto& [name, value] : script_.metrics(lease_.trial, step_).values) {
    promises_.points[{lease_.trial, name, step_}] = value;
  }
  stopped_ = told.stop;
  if (stopped_ || step_ == script_.steps(lease_.trial)) {
    phase_ = Phase::ends;
  } else {
    ++step_;
  }
  return "";
}

std::string VirtualProgram::receive(const TrialEnded& ended) {
  promises_.ends[lease_.trial] = ended.state;
  begin_anew();
  return "";
}

/// The trial was cancelled, or given up for silence.
std::string VirtualProgram::receive(const Failed& failed) {
  if (failed.reason.find("has ended") == failed.reason.npos) return "5: a program was refused: " + failed.reason;
  begin_anew();
  return "";
}

}  // namespace hivq
