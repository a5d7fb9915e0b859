#include "coordinator/core.h"

#include <fmt/format.h>

#include <algorithm>

namespace hivq {

namespace {

constexpr int64_t most_trials = 100'000;         // of one job
constexpr uint64_t most_fruitless_launches = 3;  // before the waiting trials fail

std::map<std::string, std::string> readable(const Params& params) {
  std::map<std::string, std::string> text;
  for (const auto& [key, value] : params) text[key] = to_string(value);
  return text;
}

std::string short_id(const GangId& gang) { return gang.substr(0, 8); }

}  // namespace

struct Core::Running {
  Millis now;
  Effects& effects;

  void reply(const std::string& peer, uint64_t request, Body body) {
    effects.sends.push_back({peer, {request, std::move(body)}});
  }
  void tell(const std::string& peer, Body body) { reply(peer, 0, std::move(body)); }
  void put(Family family, std::string key, std::string value) {
    effects.writes.push_back({family, std::move(key), std::move(value)});
  }
  void erase(Family family, std::string key) { effects.writes.push_back({family, std::move(key), std::nullopt}); }
};

// ---- Start ----

Core::Core(CoreOptions options, Snapshot snapshot, Millis now, Effects& effects)
    : options_(options), next_event_(snapshot.next_event), next_epoch_(snapshot.next_epoch) {
  Running run{now, effects};
  grace_until_ = now + options_.restart_grace;
  for (auto& row : snapshot.jobs) {
    submissions_[row.key] = row.id;
    next_job_ = std::max(next_job_, row.id + 1);
    if (ended(row.state)) continue;
    auto made = make_job(row);
    if (!made) {
      // Written by another version with other rules: the job cannot go on, the others can.
      row.state = State::failed;
      row.reason = "its specification is not valid in this version: " + made.error().message;
      row.ended = now;
      put(run, row);
      continue;
    }
    jobs_.emplace(row.id, std::move(*made));
  }
  for (auto& row : snapshot.trials) {
    Job* owner = job(row.id.job);
    if (owner == nullptr) continue;
    Trial trial{std::move(row), std::nullopt, 0};
    trial.ranks = ranks_of(*owner, trial.row.id.index);
    if (trial.row.state == State::pending) waiting_.insert({trial.row.id, trial.ranks});
    owner->trials.emplace(trial.row.id.index, std::move(trial));
  }
  for (auto& hello : snapshot.gangs) {
    GangState gang;
    gang.hello = std::move(hello);
    gang.heard = now;
    gangs_.emplace(gang.hello.gang, std::move(gang));
  }
  for (auto& launch : snapshot.launches) launches_.emplace(launch.id, std::move(launch));
  checkpoints_ = std::move(snapshot.checkpoints);
  for (const auto& [id, manifest] : checkpoints_) {
    for (const auto& chunk : manifest.chunks) ++chunk_uses_[chunk];
  }
  std::vector<TrialId> orphans;
  for (auto& row : snapshot.leases) {
    Trial* owner = trial(row.lease.trial);
    if (owner == nullptr) continue;
    for (const auto& chunk : row.staged) ++chunk_uses_[chunk];
    auto gang = gangs_.find(row.gang);
    if (row.live && gang == gangs_.end()) orphans.push_back(row.lease.trial);
    if (row.live && gang != gangs_.end()) gang->second.lease = row.lease;
    owner->lease = std::move(row);
  }
  for (const auto& id : orphans) lose_lease(run, *trial(id), "its gang is not known any more");
  for (const auto& hash : snapshot.blobs) {
    if (!chunk_uses_.contains(hash)) run.erase(Family::blobs, hash);
  }
}

Result<Core::Job> Core::make_job(JobRow row) const {
  auto spec = parse_job(row.yaml, row.name + ".yaml");
  if (!spec) return spec.error();
  Job made{std::move(row), std::move(*spec), nullptr, {}};
  made.searcher = make_searcher(made.spec);
  return made;
}

Result<TrialSpec> Core::spec_of(const Job& job, uint64_t index) const {
  auto proposal = job.searcher->propose(static_cast<int64_t>(index));
  if (!proposal) return error("trial {}/{} is not in the sweep", job.row.id, index);
  return with_params(job.spec.trial, proposal->params);
}

uint64_t Core::ranks_of(const Job& job, uint64_t index) const {
  auto spec = spec_of(job, index);
  return spec ? static_cast<uint64_t>(spec->gang.ranks) : 0;
}

// ---- Inputs ----

void Core::step(const Input& input, Millis now, Effects& effects) {
  Running run{now, effects};
  std::visit([&](const auto& alternative) { on(run, alternative); }, input);
  place(run);
}

void Core::on(Running& run, const Received& received) {
  const auto& [id, body] = received.message;
  if (auto* hello = std::get_if<Hello>(&body)) return on(run, received.identity, *hello);
  if (auto* heartbeat = std::get_if<Heartbeat>(&body)) return on(run, received.identity, *heartbeat);
  if (auto* report = std::get_if<Report>(&body)) return on(run, received.identity, *report);
  if (auto* goodbye = std::get_if<Goodbye>(&body)) return on(run, received.identity, *goodbye);
  if (auto* submit = std::get_if<Submit>(&body)) return on(run, received.identity, *submit, id);
  if (auto* cancel = std::get_if<Cancel>(&body)) return on(run, received.identity, *cancel, id);
  run.reply(received.identity, id, Failed{"this message is not for the coordinator"});
}

void Core::on(Running& run, const Tick&) {
  std::vector<GangId> lost;
  for (const auto& [id, gang] : gangs_) {
    Millis limit = gang.heard + options_.gang_timeout;
    if (!gang.connected) limit = std::max(limit, grace_until_);
    if (run.now > limit) lost.push_back(id);
  }
  for (const auto& id : lost) {
    lose_gang(run, id, fmt::format("it was silent for {} s", (run.now - gangs_[id].heard) / 1000));
  }
  for (const auto& [id, launch] : launches_) {
    bool spoke = std::any_of(gangs_.begin(), gangs_.end(), [&, &name = id](const auto& g) { return g.second.hello.launch == name; });
    if (!spoke && run.now > launch.at + options_.launch_timeout) run.effects.stops.push_back(id);
  }
}

// ---- Gangs ----

void Core::on(Running& run, const std::string& peer, const Hello& hello) {
  if (hello.gang != peer || hello.gang.empty()) {
    return run.tell(peer, Leave{"a gang's name must be its ZeroMQ identity"});
  }
  GangState& gang = gangs_[peer];
  bool fresh = gang.hello.gang.empty();
  gang.hello = hello;
  gang.connected = true;
  gang.heard = run.now;
  if (!hello.launch.empty()) fruitless_launches_ = 0;
  if (fresh) {
    run.put(Family::gangs, gang_key(peer), pack(hello));
    event(run, fmt::format("gang {} joined: {} ranks on {} ({})", short_id(peer), hello.ranks, hello.host, hello.devices));
  }
  run.tell(peer, Welcome{hello.program});
}

void Core::on(Running& run, const std::string& peer, const Heartbeat& heartbeat) {
  auto found = gangs_.find(peer);
  if (found == gangs_.end()) return run.tell(peer, HelloAgain{});
  GangState& gang = found->second;
  gang.connected = true;
  gang.heard = run.now;
  gang.progress = heartbeat;
  bool claims = heartbeat.lease.trial.job != 0;
  gang.idle = !claims && !gang.lease;
  if (claims && gang.lease != heartbeat.lease) {
    // Done and not heard of it, or lost: either way the answer ends it.
    Trial* claimed = trial(heartbeat.lease.trial);
    bool done = claimed && claimed->lease && claimed->lease->lease == heartbeat.lease && claimed->lease->done;
    if (done) {
      run.tell(peer, Ack{heartbeat.lease, claimed->lease->last});
    } else {
      run.tell(peer, Refused{heartbeat.lease, "the lease has ended"});
    }
  }
  if (!claims && gang.lease) {
    // It has not heard of its lease: the Assign, or the restart of the gang's memory, was lost.
    if (Trial* leased = trial(gang.lease->trial)) assign(run, *leased, gang);
  }
}

void Core::on(Running& run, const std::string& peer, const Goodbye& goodbye) {
  if (gangs_.contains(peer)) lose_gang(run, peer, goodbye.reason.empty() ? "it left" : goodbye.reason);
}

void Core::on(Running& run, const std::string& peer, const Report& report) {
  Trial* found = trial(report.lease.trial);
  LeaseRow* lease = found && found->lease ? &*found->lease : nullptr;
  bool ours = lease && lease->lease == report.lease && lease->gang == peer;
  if (ours && lease->done) return run.tell(peer, Ack{report.lease, lease->last});
  if (!ours || !lease->live) return run.tell(peer, Refused{report.lease, "the lease has ended"});
  if (auto gang = gangs_.find(peer); gang != gangs_.end()) gang->second.heard = run.now;
  Job& owner = *job(report.lease.trial.job);
  uint64_t number = report.first;
  for (const auto& bytes : report.items) {
    if (number == lease->last + 1) {
      auto item = unpack_item(bytes);
      if (!item) {
        lose_lease(run, *found, "it sent an item that cannot be read: " + item.error().message);
        return run.tell(peer, Refused{report.lease, item.error().message});
      }
      lease->last = number;
      // An end of the job takes the trial and its lease out of memory.
      if (!apply(run, owner, *found, number, *item)) return run.tell(peer, Ack{report.lease, number});
    }
    ++number;
  }
  put(run, *lease);
  run.tell(peer, Ack{report.lease, lease->last});
}

/// False when the item ended the trial.
bool Core::apply(Running& run, Job& owner, Trial& trial, uint64_t number, const Item& item) {
  LeaseRow& lease = *trial.lease;
  if (auto* metrics = std::get_if<MetricsItem>(&item)) {
    for (const auto& [name, value] : metrics->values) {
      run.put(Family::metrics, metric_key(trial.row.id, name, metrics->step), pack(value));
    }
    if (metrics->values.contains(owner.row.metric)) {
      (metrics->step == 0 ? trial.row.initial : trial.row.final) = metrics->values;
      put(run, trial.row);
    }
  } else if (auto* line = std::get_if<LogItem>(&item)) {
    run.put(Family::logs, log_key(lease.lease, number), pack(EventRow{run.now, line->text}));
  } else if (auto* chunk = std::get_if<ChunkItem>(&item)) {
    if (++chunk_uses_[chunk->hash] == 1) run.put(Family::blobs, chunk->hash, chunk->bytes);
    lease.staged.push_back(chunk->hash);
  } else if (auto* checkpoint = std::get_if<CheckpointItem>(&item)) {
    apply_checkpoint(run, trial, *checkpoint);
  } else if (auto* end = std::get_if<EndItem>(&item)) {
    if (!end->final.empty()) trial.row.final = end->final;
    lease.live = false;
    lease.done = true;
    auto gang = gangs_.find(lease.gang);
    if (gang != gangs_.end()) {
      gang->second.lease.reset();
      gang->second.idle = true;  // the end is the last item, so nothing of the trial is left there
    }
    end_trial(run, owner, trial, end->failed ? State::failed : State::finished, end->reason);
    return false;
  }
  return true;
}

void Core::apply_checkpoint(Running& run, Trial& trial, const CheckpointItem& item) {
  Manifest manifest{item.step, item.size, item.chunks};
  for (const auto& chunk : manifest.chunks) {
    if (!chunk_uses_.contains(chunk)) return;  // not whole: a gang that breaks the protocol keeps its older checkpoint
  }
  for (const auto& chunk : manifest.chunks) ++chunk_uses_[chunk];
  auto old = checkpoints_.find(trial.row.id);
  if (old != checkpoints_.end()) {
    for (const auto& chunk : old->second.chunks) release(run, chunk);
  }
  run.put(Family::checkpoints, key_of(trial.row.id), pack(manifest));
  checkpoints_[trial.row.id] = std::move(manifest);
  drop_staged(run, *trial.lease);
}

// ---- Clients ----

void Core::on(Running& run, const std::string& peer, const Submit& submit, uint64_t request) {
  if (auto known = submissions_.find(submit.key); known != submissions_.end()) {
    return run.reply(peer, request, Submitted{known->second});
  }
  auto spec = parse_job(submit.yaml, submit.file);
  if (!spec) return run.reply(peer, request, Failed{spec.error().message});
  JobRow row;
  row.id = next_job_;
  row.key = submit.key;
  row.name = spec->name;
  row.yaml = submit.yaml;
  row.metric = spec->sweep ? spec->sweep->metric : SweepSpec{}.metric;
  row.goal = spec->sweep ? spec->sweep->goal : SweepSpec{}.goal;
  row.submitted = run.now;
  row.state = State::running;
  Job made{std::move(row), std::move(*spec), nullptr, {}};
  made.searcher = make_searcher(made.spec);
  int64_t size = made.searcher->size();
  if (size > most_trials) {
    return run.reply(peer, request, Failed{fmt::format("{}: the sweep has {} trials; the most is {}: narrow its parameters",
                                                       submit.file, size, most_trials)});
  }
  made.row.trials = static_cast<uint64_t>(size);
  ++next_job_;
  for (int64_t index = 0; index < size; ++index) {
    auto proposal = made.searcher->propose(index);
    Trial trial;
    trial.row.id = {made.row.id, static_cast<uint64_t>(index)};
    trial.row.variant = proposal->variant;
    trial.row.params = readable(proposal->params);
    trial.ranks = ranks_of(made, trial.row.id.index);
    put(run, trial.row);
    waiting_.insert({trial.row.id, trial.ranks});
    made.trials.emplace(trial.row.id.index, std::move(trial));
  }
  submissions_[submit.key] = made.row.id;
  put(run, made.row);
  event(run, fmt::format("job {} '{}' submitted: {} trials", made.row.id, made.row.name, size));
  run.reply(peer, request, Submitted{made.row.id});
  JobId id = made.row.id;
  jobs_.emplace(id, std::move(made));
}

void Core::on(Running& run, const std::string& peer, const Cancel& cancel, uint64_t request) {
  Job* owner = job(cancel.job);
  if (owner == nullptr) {
    bool known = cancel.job != 0 && cancel.job < next_job_;
    return run.reply(peer, request, Failed{known ? fmt::format("job {} has ended already", cancel.job)
                                                 : fmt::format("there is no job {}; `hivq list` shows them", cancel.job)});
  }
  std::vector<uint64_t> open;
  for (const auto& [index, trial] : owner->trials) {
    if (!ended(trial.row.state)) open.push_back(index);
  }
  event(run, fmt::format("job {} cancelled: {} trials had not ended", cancel.job, open.size()));
  for (uint64_t index : open) {
    Trial& trial = owner->trials.at(index);
    if (trial.lease && trial.lease->live) {
      run.tell(trial.lease->gang, Refused{trial.lease->lease, "the job was cancelled"});
      if (auto gang = gangs_.find(trial.lease->gang); gang != gangs_.end()) gang->second.lease.reset();
      trial.lease->live = false;
    }
    // The last one ends the job and takes it out of memory.
    end_trial(run, *owner, trial, State::cancelled, "cancelled");
  }
  run.reply(peer, request, Cancelled{open.size()});
}

// ---- Placing trials ----

void Core::place(Running& run) {
  if (waiting_.empty()) return;
  std::vector<IdleGang> idle;
  for (const auto& [id, gang] : gangs_) {
    if (gang.connected && gang.idle && !gang.lease) idle.push_back({id, gang.hello.ranks});
  }
  for (const auto& placement : schedule(waiting_, std::move(idle))) {
    Trial& chosen = *trial(placement.trial);
    GangState& gang = gangs_.at(placement.gang);
    waiting_.erase({chosen.row.id, chosen.ranks});
    if (chosen.lease) drop_staged(run, *chosen.lease);
    chosen.lease = LeaseRow{{chosen.row.id, next_epoch_++}, placement.gang, 0, true, false, {}};
    run.put(Family::meta, "next_epoch", key_of(next_epoch_));
    chosen.row.state = State::running;
    chosen.row.attempts += 1;
    if (chosen.row.started == 0) chosen.row.started = run.now;
    put(run, chosen.row);
    put(run, *chosen.lease);
    gang.lease = chosen.lease->lease;
    gang.idle = false;
    event(run, fmt::format("trial {} leased to gang {} (attempt {})", to_string(chosen.row.id), short_id(placement.gang),
                           chosen.row.attempts));
    assign(run, chosen, gang);
  }
  launch_gangs(run);
}

void Core::assign(Running& run, Trial& trial, GangState& gang) {
  Job& owner = *job(trial.row.id.job);
  auto spec = spec_of(owner, trial.row.id.index);
  if (!spec) {
    trial.lease->live = false;
    gang.lease.reset();
    return end_trial(run, owner, trial, State::failed, spec.error().message);
  }
  Assign assign{trial.lease->lease, to_yaml(*spec), false, {}};
  if (auto checkpoint = checkpoints_.find(trial.row.id); checkpoint != checkpoints_.end()) {
    assign.resume = true;
    assign.checkpoint = checkpoint->second;
  }
  run.tell(gang.hello.gang, std::move(assign));
}

/// Starts local gangs for trials that wait although no gang that fits them is there or on its way.
void Core::launch_gangs(Running& run) {
  if (options_.local_gangs == 0 || run.now < next_launch_) return;
  for (const auto& trial : waiting_) {
    uint64_t ranks = trial.ranks == 0 ? options_.local_ranks : trial.ranks;
    uint64_t fitting = 0;
    for (const auto& [id, gang] : gangs_) fitting += fits(trial, gang.hello.ranks);
    for (const auto& [id, launch] : launches_) {
      bool spoke = std::any_of(gangs_.begin(), gangs_.end(), [&, &name = id](const auto& g) { return g.second.hello.launch == name; });
      fitting += !spoke && launch.ranks == ranks;
    }
    if (fitting >= std::min<uint64_t>(options_.local_gangs, waiting_.size())) continue;
    if (launches_.size() < options_.local_gangs) {
      LaunchRow launch{std::to_string(next_event_), ranks, 0, 0, run.now};
      event(run, fmt::format("launching a local gang of {} ranks", ranks));
      run.put(Family::gangs, launch_key(launch.id), pack(launch));
      run.effects.launches.push_back({launch.id, ranks});
      launches_.emplace(launch.id, std::move(launch));
    } else if (fitting == 0) {
      // No room: an idle gang of another size makes place.
      for (auto& [id, gang] : gangs_) {
        if (gang.idle && !gang.lease && !gang.hello.launch.empty() && !fits(trial, gang.hello.ranks)) {
          gang.idle = false;
          run.effects.stops.push_back(gang.hello.launch);
          run.tell(id, Leave{"a gang of another size is needed"});
          break;
        }
      }
    }
    return;  // one decision a step; the next step makes the next
  }
}

void Core::on(Running& run, const LaunchStarted& started) {
  auto found = launches_.find(started.launch);
  if (found == launches_.end()) return;
  found->second.pid = started.pid;
  found->second.start_time = started.start_time;
  run.put(Family::gangs, launch_key(started.launch), pack(found->second));
}

void Core::on(Running& run, const LaunchEnded& end) {
  if (launches_.erase(end.launch) == 0) return;
  run.erase(Family::gangs, launch_key(end.launch));
  std::vector<GangId> gone;
  for (const auto& [id, gang] : gangs_) {
    if (gang.hello.launch == end.launch) gone.push_back(id);
  }
  for (const auto& id : gone) lose_gang(run, id, end.reason);
  if (!gone.empty()) return;
  // It ended before its gang said a word: wait a little longer each time, then give up.
  ++fruitless_launches_;
  next_launch_ = run.now + 1000 * static_cast<Millis>(fruitless_launches_);
  event(run, fmt::format("a local gang could not be started: {}", end.reason));
  if (fruitless_launches_ >= most_fruitless_launches) give_up_launching(run, end.reason);
}

void Core::give_up_launching(Running& run, const std::string& reason) {
  auto waiting = waiting_;
  for (const auto& entry : waiting) {
    bool served = std::any_of(gangs_.begin(), gangs_.end(), [&](const auto& g) { return fits(entry, g.second.hello.ranks); });
    Trial* stuck = trial(entry.id);
    if (served || stuck == nullptr) continue;
    end_trial(run, *job(entry.id.job), *stuck, State::failed,
              fmt::format("no gang could be started, {} times in a row: {}", fruitless_launches_, reason));
  }
  fruitless_launches_ = 0;
}

// ---- Ends ----

void Core::lose_gang(Running& run, const GangId& id, const std::string& reason) {
  auto node = gangs_.extract(id);
  const GangState& gang = node.mapped();
  run.erase(Family::gangs, gang_key(id));
  event(run, fmt::format("gang {} lost: {}", short_id(id), reason));
  if (launches_.contains(gang.hello.launch)) run.effects.stops.push_back(gang.hello.launch);
  if (!gang.lease) return;
  if (Trial* leased = trial(gang.lease->trial)) lose_lease(run, *leased, reason);
}

void Core::lose_lease(Running& run, Trial& trial, const std::string& reason) {
  trial.lease->live = false;
  put(run, *trial.lease);
  for (auto& [id, gang] : gangs_) {
    if (gang.lease == trial.lease->lease) gang.lease.reset();
  }
  Job& owner = *job(trial.row.id.job);
  if (trial.row.attempts >= static_cast<uint64_t>(owner.spec.max_attempts)) {
    return end_trial(run, owner, trial, State::failed,
                     fmt::format("lost its gang {} times; the last one: {}", trial.row.attempts, reason));
  }
  trial.row.state = State::pending;
  put(run, trial.row);
  waiting_.insert({trial.row.id, trial.ranks});
  event(run, fmt::format("trial {} waits for another gang: {}", to_string(trial.row.id), reason));
}

void Core::end_trial(Running& run, Job& owner, Trial& trial, State state, const std::string& reason) {
  waiting_.erase({trial.row.id, trial.ranks});
  trial.row.state = state;
  trial.row.reason = reason;
  trial.row.ended = run.now;
  put(run, trial.row);
  if (trial.lease) {
    drop_staged(run, *trial.lease);
    put(run, *trial.lease);
  }
  JobRow& row = owner.row;
  row.finished += state == State::finished;
  row.failed += state == State::failed;
  row.cancelled += state == State::cancelled;
  event(run, fmt::format("trial {} {}{}{}", to_string(trial.row.id), to_string(state), reason.empty() ? "" : ": ", reason));
  if (row.finished + row.failed + row.cancelled == row.trials) {
    row.ended = run.now;
    row.state = row.cancelled > 0 ? State::cancelled : row.finished > 0 ? State::finished : State::failed;
    if (row.state == State::failed) row.reason = reason;
    event(run, fmt::format("job {} {}", row.id, to_string(row.state)));
    put(run, row);
    jobs_.erase(row.id);
    return;
  }
  put(run, row);
}

void Core::drop_staged(Running& run, LeaseRow& lease) {
  for (const auto& chunk : lease.staged) release(run, chunk);
  lease.staged.clear();
}

void Core::release(Running& run, const std::string& chunk) {
  auto uses = chunk_uses_.find(chunk);
  if (uses == chunk_uses_.end() || --uses->second > 0) return;
  chunk_uses_.erase(uses);
  run.erase(Family::blobs, chunk);
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
}

// ---- What queries ask ----

const GangState* Core::gang_of(const TrialId& trial) const {
  for (const auto& [id, gang] : gangs_) {
    if (gang.lease && gang.lease->trial == trial) return &gang;
  }
  return nullptr;
}

std::string Core::waiting_reason(JobId id) const {
  auto entry = std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& w) { return w.id.job == id; });
  if (entry == waiting_.end()) return "";
  std::string sizes;
  bool fitting = false;
  for (const auto& [name, gang] : gangs_) {
    if (!gang.connected) continue;
    fitting |= fits(*entry, gang.hello.ranks);
    sizes += (sizes.empty() ? "" : ", ") + std::to_string(gang.hello.ranks);
  }
  if (fitting) return "";
  if (options_.local_gangs > 0) return "a local gang is starting";
  std::string need = entry->ranks == 0 ? "a gang" : fmt::format("a gang of {} ranks", entry->ranks);
  return fmt::format("it waits for {}; connected gangs have {} ranks. Start one: mpirun -np {} hivq-worker --coordinator …", need,
                     sizes.empty() ? "no" : sizes, std::max<uint64_t>(1, entry->ranks));
}

}  // namespace hivq
