#include "coordinator/core.h"

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core_running.h"

namespace hivq {

Core::Core(CoreOptions options, Snapshot snapshot, ReadCheckpoints ended, Millis now, Effects& effects)
    : options_(options),
      first_event_(snapshot.first_event),
      next_event_(snapshot.next_event),
      next_epoch_(snapshot.next_epoch),
      scheduler_(options.policy),
      now_(now),
      drain_keys_(std::move(snapshot.drain_keys)),
      read_ended_(std::move(ended)) {
  Running run{now, effects};
  grace_until_ = now + options_.restart_grace;
  last_tick_ = now;
  for (auto& hello : snapshot.gangs) {
    GangState gang;
    gang.hello = std::move(hello);
    gang.heard = gang.busy = now;
    next_epoch_ = std::max(next_epoch_, gang.hello.epoch + 1);
    scheduler_.put_gang(gang.hello.gang, {gang.hello.ranks, gang.hello.labels}, now);
    gangs_.emplace(gang.hello.gang, std::move(gang));
  }
  for (auto& row : snapshot.drains) drains_.emplace(row.target, std::move(row));
  for (const auto& row : snapshot.usage) {
    scheduler_.restore_usage({row.project, row.user, row.whole, row.mean, row.at});
  }
  load_launches(run, std::move(snapshot.launches));
  load(run, snapshot);
  settle(run);
  keep_usage(run);
}

void Core::step(const Input& input, Millis now, Effects& effects) {
  Running run{now, effects};
  now_ = now;
  retry_due(run);
  std::visit([&](const auto& alternative) { on(run, alternative); }, input);
  do {
    settle(run);
    place(run);
  } while (!settling_.empty());
  keep_usage(run);
}

void Core::on(Running& run, const Received& received) {
  const auto& [id, body] = received.message;
  if (auto* hello = std::get_if<Hello>(&body)) return on(run, received.identity, *hello);
  if (auto* heartbeat = std::get_if<Heartbeat>(&body)) return on(run, received.identity, *heartbeat);
  if (auto* report = std::get_if<Report>(&body)) return on(run, received.identity, *report);
  if (auto* goodbye = std::get_if<Goodbye>(&body)) return on(run, received.identity, *goodbye);
  if (auto* submit = std::get_if<Submit>(&body)) return on(run, received.identity, *submit, id);
  if (auto* cancel = std::get_if<Cancel>(&body)) return on(run, received.identity, *cancel, id);
  if (auto* wish = std::get_if<SetPaused>(&body)) return on(run, received.identity, *wish, id);
  if (auto* wish = std::get_if<SetPriority>(&body)) return on(run, received.identity, *wish, id);
  if (auto* wish = std::get_if<SetDrained>(&body)) return on(run, received.identity, *wish, id);
  if (auto* pin = std::get_if<Pin>(&body)) return on(run, received.identity, *pin, id);
  if (auto* wish = std::get_if<AttachFigure>(&body)) return on(run, received.identity, *wish, id);
  if (auto* find = std::get_if<FindStudy>(&body)) return on(run, received.identity, *find, id);
  if (auto* ask = std::get_if<AskTrial>(&body)) return on(run, received.identity, *ask, id);
  if (auto* suggest = std::get_if<SuggestValue>(&body)) return on(run, received.identity, *suggest, id);
  if (auto* report = std::get_if<ReportTrial>(&body)) return on(run, received.identity, *report, id);
  if (auto* end = std::get_if<EndTrial>(&body)) return on(run, received.identity, *end, id);
  run.reply(received.identity, id, Failed{"this message is not for the coordinator"});
}

// ---- Lookup and writing ----

Core::Job* Core::job(JobId id) {
  auto found = jobs_.find(id);
  return found == jobs_.end() ? nullptr : &found->second;
}

Core::Trial* Core::trial(const TrialId& id) {
  Job* owner = job(id.job);
  if (owner == nullptr) return nullptr;
  auto found = owner->trials.find(id.index);
  return found == owner->trials.end() ? nullptr : &found->second;
}

void Core::put(Running& run, const JobRow& row) { run.put(Family::jobs, key_of(row.id), pack(row)); }
void Core::put(Running& run, const TrialRow& row) { run.put(Family::trials, key_of(row.id), pack(row)); }
void Core::put(Running& run, const LeaseRow& row) { run.put(Family::leases, key_of(row.lease.trial), pack(row)); }

void Core::event(Running& run, std::string text) {
  run.effects.log.push_back(text);
  run.put(Family::events, key_of(next_event_++), pack(EventRow{run.now, std::move(text)}));
  // Two, so that there are fewer where there are far too many.
  for (int i = 0; i < 2 && next_event_ - first_event_ > options_.most_events; ++i) {
    run.erase(Family::events, key_of(first_event_++));
  }
}

// ---- What queries ask ----

const GangState* Core::gang_of(const TrialId& id) const {
  const Trial* found = trial(id);
  if (found == nullptr || !found->lease || !found->lease->live) return nullptr;
  auto gang = gangs_.find(found->lease->gang);
  return gang == gangs_.end() ? nullptr : &gang->second;
}

bool Core::is_study(JobId id) const {
  auto found = jobs_.find(id);
  return found != jobs_.end() && found->second.spec.study;
}

const JobRow* Core::open_job(JobId id) const {
  auto found = jobs_.find(id);
  return found == jobs_.end() ? nullptr : &found->second.row;
}

uint64_t Core::running_trials(JobId id) const {
  auto found = jobs_.find(id);
  if (found == jobs_.end()) return 0;
  const auto& trials = found->second.trials;
  return std::count_if(trials.begin(), trials.end(),
                       [](const auto& t) { return t.second.row.state == State::running; });
}

bool Core::paused(JobId id) const {
  const JobRow* row = open_job(id);
  return row != nullptr && row->paused;
}

}  // namespace hivq
